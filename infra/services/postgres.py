"""PostgreSQL from its package: programs in /usr/lib/postgresql/*/bin, or on PATH. It asks for its password.

PostgreSQL refuses to run as root. Where root starts it, it runs as the user `postgres` of Debian's package, which must
be able to reach the folder.
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from infra.services.processes import HOST, Process, as_user, begin, last_line
from infra.services.secret_files import write_secret
from qure.errors import BadInput, StageFailed

NAME = "PostgreSQL"
USER = "qure"
#: Runs and models; users and what they may do.
DATABASES = ("mlflow", "mlflow_auth")

_PACKAGES = Path("/usr/lib/postgresql")
_SYSTEM_USER = "postgres"


def programs() -> Path:
    """The folder of `initdb` and `postgres`.

    Raises:
        BadInput: they are not installed.
    """
    found = shutil.which("initdb")
    newest = sorted(_PACKAGES.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in [*([Path(found).resolve().parent] if found else []), *newest]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise BadInput("PostgreSQL is not installed", remedy="Install Debian's package: apt-get install postgresql")


def make(folder: Path, password: str, log: Path) -> None:
    """Makes a database cluster in `folder`/data, whole or not at all; one that is there stays.

    Raises:
        BadInput: PostgreSQL is not installed, or root starts it and its user cannot reach the folder.
        StageFailed: `initdb` failed; with its last line.
    """
    data, new = folder / "data", folder / "data.new"
    initdb, user = programs() / "initdb", _user()
    folder.mkdir(exist_ok=True)
    if user is not None:
        shutil.chown(folder, user, user)
        _require_reachable(folder, user)
    if data.is_dir():
        return
    shutil.rmtree(new, ignore_errors=True)
    secret = folder / "password"
    write_secret(secret, password)
    try:
        if user is not None:
            shutil.chown(secret, user, user)
        options = ["--auth", "scram-sha-256", "--username", USER, "--pwfile", str(secret), "--encoding", "UTF8"]
        with log.open("ab") as output:
            done = subprocess.run(
                [initdb, "--pgdata", str(new), "--locale", "C.UTF-8", *options],
                stdout=output,
                stderr=output,
                env=_environment(),
                cwd=folder,
                check=False,
                **as_user(user),
            )
    finally:
        secret.unlink()
    if done.returncode:
        raise StageFailed(f"PostgreSQL's database cannot be made: {last_line(log)}. All it said: {log}")
    new.rename(data)


def start(folder: Path, port: int, log: Path) -> Process:
    """Starts the server on the cluster in `folder`/data."""
    options = {"port": port, "listen_addresses": HOST, "unix_socket_directories": "", "logging_collector": "off"}
    arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return begin(
        [programs() / "postgres", "-D", folder / "data", *arguments],
        log,
        environment=_environment(),
        user=_user(),
        folder=folder,
    )


def uri(port: int, password: str, database: str) -> str:
    """The address of a database, for SQLAlchemy."""
    return f"postgresql+psycopg://{USER}:{password}@{HOST}:{port}/{database}"


def wrong(port: int, password: str, *, mend: bool = False) -> str:
    """What is wrong with the server, "" for nothing.

    Args:
        port, password: of the server.
        mend: make the databases that it lacks.
    """
    import psycopg

    try:
        with psycopg.connect(
            host=HOST, port=port, user=USER, password=password, dbname="postgres", connect_timeout=5, autocommit=True
        ) as connection:
            there = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            missing = [name for name in DATABASES if name not in there]
            for name in missing if mend else ():
                connection.execute(f'CREATE DATABASE "{name}"')
    except psycopg.Error as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return "" if mend or not missing else f"no database {', '.join(missing)}"


def _user() -> str | None:
    """Who PostgreSQL runs as, where that is not the present user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER).pw_name
    except KeyError:
        raise BadInput(
            "PostgreSQL refuses to run as root, and there is no user 'postgres'",
            remedy="Install Debian's package postgresql, or start the services as another user",
        ) from None


def _require_reachable(folder: Path, user: str) -> None:
    for place in (*reversed(folder.resolve().parents), folder.resolve()):
        if subprocess.run(["test", "-x", place], check=False, cwd="/", **as_user(user)).returncode:
            raise BadInput(
                f"PostgreSQL runs as the user {user!r} where root starts it, and that one may not pass here",
                file=place,
                remedy=f"chmod o+x {place}, or start the services as another user than root",
            )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
