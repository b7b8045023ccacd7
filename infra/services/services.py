"""The three services together: all of them answer, or none runs."""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from infra.services import postgres, storage, tracking
from infra.services.processes import PATIENCE, Process, end, free_port, is_alive, wait_until
from infra.services.secret_files import passwords, write_secret
from qure.files import read_json, write_json
from qure.profile import FILE, profile_text

#: In the order in which they start.
NAMES = (postgres.NAME, storage.NAME, tracking.NAME)
_PASSWORDS = ("postgres", "s3", "mlflow", "pages")


class Status(NamedTuple):
    """One service.

    Attributes:
        name: of the service.
        is_running: whether its process is alive.
        wrong: why it does not answer as it should; "" when it does.
        address: where it listens; "" before the first start.
        process: its process number.
    """

    name: str
    is_running: bool
    wrong: str
    address: str
    process: int | None


class Services:
    """PostgreSQL, S3 and MLflow in a folder.

    `profile.env` there is what `QURE_PROFILE` reads, while they run; `services.json` has ports and processes,
    `passwords.json` what was drawn at the first start. Data stays when they are stopped: `postgres/`, `s3/`.

    Args:
        folder: theirs alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        self.profile = self.folder / FILE
        self._state = self.folder / "services.json"

    def start(self) -> bool:
        """Starts what does not run; all of it, or nothing runs afterwards.

        Returns:
            whether there was something to start.

        Raises:
            BadInput: a program or package is missing; says how to install it.
            StageFailed: a server does not start or answer; names its log. None is left running.
        """
        postgres.programs()
        storage.program()
        tracking.require_installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if self.profile.is_file() and not any(one.wrong for one in self._look(mend=True)):
                return False
            self._end_all()
            try:
                self._start_all()
            except BaseException:
                self._end_all()
                raise
        return True

    def stop(self) -> bool:
        """Stops what runs; data, passwords and ports stay.

        Returns:
            whether something ran.
        """
        if not self.folder.is_dir():
            return False
        with self._alone():
            ran = any(is_alive(one) for one in self._processes().values())
            self._end_all()
        return ran

    def status(self) -> list[Status]:
        """Each service, asked whether it answers."""
        return self._look()

    def variables(self) -> dict[str, str]:
        """What the profile says."""
        ports, secret = self._ports(), self._passwords()
        return {
            **tracking.variables(ports[tracking.NAME], secret["mlflow"]),
            **storage.variables(ports[storage.NAME], secret["s3"]),
            # A remote of the user's own configuration alone would be asked instead of this one.
            "DVC_GLOBAL_CONFIG_DIR": str(self.folder / "dvc"),
        }

    def log(self, name: str) -> Path:
        """What a service has said."""
        return self.folder / f"{name.lower()}.log"

    def _start_all(self) -> None:
        ports = {name: free_port(self._ports().get(name)) for name in NAMES}
        self._remember(ports=ports, processes={})
        secret = self._passwords()
        postgres.make(self.folder / "postgres", secret["postgres"], self.log(postgres.NAME))
        database = {name: postgres.uri(ports[postgres.NAME], secret["postgres"], name) for name in postgres.DATABASES}
        artifacts, data = storage.BUCKETS
        starts: dict[str, Callable[[Path], Process]] = {
            postgres.NAME: lambda log: postgres.start(self.folder / "postgres", ports[postgres.NAME], log),
            storage.NAME: lambda log: storage.start(self.folder / "s3", ports[storage.NAME], secret["s3"], log),
            tracking.NAME: lambda log: tracking.start(
                self.folder,
                ports[tracking.NAME],
                log,
                database=database["mlflow"],
                users=database["mlflow_auth"],
                password=secret["mlflow"],
                key=secret["pages"],
                bucket=artifacts,
                storage=storage.variables(ports[storage.NAME], secret["s3"]),
            ),
        }
        wrong = self._wrong(ports, secret, mend=True)
        for name in NAMES:
            process = starts[name](self.log(name))
            self._remember(processes={**self._processes(), name: process})
            wait_until(wrong[name], process, self.log(name), name=name, patience=PATIENCE)
        self._write_remote(data)
        write_secret(self.profile, profile_text(self.variables()))

    def _write_remote(self, bucket: str) -> None:
        """DVC's configuration under the profile: a default remote, which the variables lead to and let in."""
        file = self.folder / "dvc" / "config"
        file.parent.mkdir(exist_ok=True)
        write_secret(file, f"[core]\n    remote = services\n['remote \"services\"']\n    url = s3://{bucket}\n")

    def _wrong(self, ports: dict[str, int], secret: dict[str, str], *, mend: bool) -> dict[str, Callable[[], str]]:
        """What is wrong with each, to be asked."""
        return {
            postgres.NAME: lambda: postgres.wrong(ports[postgres.NAME], secret["postgres"], mend=mend),
            storage.NAME: lambda: storage.wrong(ports[storage.NAME], secret["s3"], mend=mend),
            tracking.NAME: lambda: tracking.wrong(ports[tracking.NAME], secret["mlflow"]),
        }

    def _look(self, *, mend: bool = False) -> list[Status]:
        ports, processes = self._ports(), self._processes()
        asked = self._wrong(ports, self._passwords(), mend=mend) if ports else {}
        found = []
        for name in NAMES:
            process = processes.get(name)
            alive = is_alive(process)
            wrong = asked[name]() if alive else "it does not run"
            place = f"127.0.0.1:{ports[name]}" if ports else ""
            found.append(Status(name, alive, wrong, place, process.number if process and alive else None))
        return found

    def _end_all(self) -> None:
        """The last to start first. PostgreSQL ends its sessions at SIGINT; at SIGTERM it waits for them."""
        self.profile.unlink(missing_ok=True)
        processes = self._processes()
        for name in reversed(NAMES):
            end(processes.get(name), by=signal.SIGINT if name == postgres.NAME else signal.SIGTERM)
        if processes:
            self._remember(processes={})

    def _passwords(self) -> dict[str, str]:
        return passwords(self.folder / "passwords.json", _PASSWORDS)

    def _ports(self) -> dict[str, int]:
        return {name: int(port) for name, port in self._known().get("ports", {}).items()}

    def _processes(self) -> dict[str, Process]:
        return {name: Process(*one) for name, one in self._known().get("processes", {}).items()}

    def _known(self) -> dict[str, Any]:
        return dict(read_json(self._state)) if self._state.is_file() else {}

    def _remember(self, **changes: Any) -> None:
        write_json(self._state, self._known() | changes)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One start or stop at a time; a second one waits for the first."""
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
