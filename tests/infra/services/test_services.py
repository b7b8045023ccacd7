"""PostgreSQL, S3 and MLflow from packages: all or none, who is let in, what stays."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from infra.services import storage, tracking
from infra.services.processes import Process, is_alive, listens
from infra.services.services import NAMES, Services
from qure.errors import BadInput, StageFailed
from qure.profile import read_profile

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def _mlflow(variables: dict[str, str], *, password: str | None = None) -> requests.Response:
    user = variables["MLFLOW_TRACKING_USERNAME"]
    return requests.post(
        f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/search",
        json={"max_results": 10},
        auth=(user, password) if password else None,
        timeout=60,
    )


def _s3(variables: dict[str, str]) -> Any:
    import boto3

    return boto3.session.Session().client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )


def _numbers(services: Services) -> dict[str, int | None]:
    return {one.name: one.process for one in services.status()}


def test_from_the_first_start_to_the_last_stop(services: Services) -> None:
    from botocore.exceptions import ClientError

    assert services.start()
    first, variables = _numbers(services), read_profile(services.profile)
    assert all(one.is_running and not one.wrong for one in services.status())

    assert not services.start(), "they run already"
    assert _numbers(services) == first

    # Who is let in.
    password = variables["MLFLOW_TRACKING_PASSWORD"]
    assert _mlflow(variables, password=password).status_code == 200
    assert _mlflow(variables).status_code == 401
    assert _mlflow(variables, password="password1234").status_code == 401
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _s3(variables | {"AWS_SECRET_ACCESS_KEY": "another"}).list_buckets()
    import psycopg

    port = next(int(one.address.split(":")[1]) for one in services.status() if one.name == "PostgreSQL")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host="127.0.0.1", port=port, user="qure", password="another", dbname="mlflow")

    # Who can read a password.
    for name in ("profile.env", "passwords.json", "sign-in.ini"):
        assert stat.S_IMODE((services.folder / name).stat().st_mode) == 0o600, name
    secrets = [value for name, value in variables.items() if name.endswith(("PASSWORD", "SECRET_ACCESS_KEY"))]
    assert len(secrets) == 2
    told = "".join(services.log(name).read_text() for name in NAMES)
    told += " ".join(_command_lines(first.values()))
    assert not [secret for secret in secrets if secret in told]

    # What stays, through a death and a stop.
    _s3(variables).put_object(Bucket="qure-data", Key="a/b", Body=b"kept")
    experiment = f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments"
    made = requests.post(f"{experiment}/create", json={"name": "kept"}, auth=("qure", password), timeout=60)
    assert made.status_code == 200
    number = first["MLflow"]
    assert number is not None
    os.killpg(number, signal.SIGKILL)
    psutil.Process(number).wait(timeout=30)
    assert [one.name for one in services.status() if one.wrong] == ["MLflow"]
    assert services.start()
    assert services.stop()
    assert not services.profile.exists()
    assert not [one for one in services.status() if one.is_running or listens(int(one.address.split(":")[1]))]
    assert not services.stop(), "nothing is left to stop"
    assert services.start()
    assert read_profile(services.profile) == variables, "the same ports and passwords"
    assert _s3(variables).get_object(Bucket="qure-data", Key="a/b")["Body"].read() == b"kept"
    names = [one["name"] for one in _mlflow(variables, password=password).json()["experiments"]]
    assert "kept" in names


def _command_lines(numbers: Iterable[int | None]) -> list[str]:
    """Those of the processes and of all that they have started."""
    lines = []
    for number in numbers:
        assert number is not None
        lines.append(" ".join(psutil.Process(number).cmdline()))
        for child in psutil.Process(number).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go
                lines.append(" ".join(child.cmdline()))
    return lines


@pytest.mark.parametrize("broken", ["S3", "MLflow"])
def test_where_one_does_not_start_none_runs(
    services: Services, broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'cannot do this' >&2\nexit 3\n")
    program.chmod(0o755)
    if broken == "S3":
        monkeypatch.setattr(storage, "program", lambda: program)
    else:
        rclone = storage.program()  # it is looked for beside Python
        monkeypatch.setattr(storage, "program", lambda: rclone)
        monkeypatch.setattr(tracking.sys, "executable", str(program))
    begun: list[Process] = []
    remember = Services._remember

    def watch(self: Services, **changes: Any) -> None:
        begun.extend(changes.get("processes", {}).values())
        remember(self, **changes)

    monkeypatch.setattr(Services, "_remember", watch)
    with pytest.raises(
        StageFailed, match=rf"{broken} ended before it answered: cannot do this\. .*{broken.lower()}.log"
    ):
        services.start()
    assert len({one.number for one in begun}) == NAMES.index(broken) + 1
    assert not [one for one in begun if is_alive(one)]
    assert not services.profile.exists()


def test_a_killed_start_leaves_nothing_that_the_next_one_trips_over(services: Services) -> None:
    program = "import sys; from infra.services.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "start", "--folder", str(services.folder)]
    starter = subprocess.Popen(command, start_new_session=True)
    while "MLflow" not in services._processes():
        assert starter.poll() is None
    starter.kill()
    starter.wait()
    left = services._processes()
    assert not services.profile.exists()
    assert services.start()
    assert not [name for name, one in left.items() if is_alive(one)], "they were ended and begun again"


def test_a_folder_that_postgresql_may_not_enter_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("PostgreSQL runs as the present user, unless that is root")
    closed = tmp_path / "closed"
    closed.mkdir()
    tmp_path.chmod(0o700)
    closed.chmod(0o700)
    with pytest.raises(BadInput, match=r"PostgreSQL runs as the user 'postgres' .*\. chmod o\+x "):
        Services(closed / "services").start()
    assert not [one for one in Services(closed / "services").status() if one.is_running]


def test_status_of_what_was_never_started_makes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.services", "status", "--folder", str(tmp_path / "services")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.count("it does not run") == len(NAMES)
    assert list(tmp_path.iterdir()) == []
