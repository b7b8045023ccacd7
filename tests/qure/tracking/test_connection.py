"""Where MLflow is, and what is said when it is not there."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from qure.config import Settings, TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.tracking import connect, connection, database, tracking_uri


def test_the_variable_wins_and_null_means_no_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(TrackingSettings(uri="sqlite:///a.db")) == "sqlite:///a.db"
    assert tracking_uri(TrackingSettings(uri="none")) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(TrackingSettings(uri="sqlite:///a.db")) == "http://server"
    assert tracking_uri(TrackingSettings(uri=None)) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    assert tracking_uri(TrackingSettings(uri="sqlite:///a.db")) is None


def test_postgresql_means_the_driver_that_is_installed() -> None:
    uri = tracking_uri(TrackingSettings(uri="postgresql://u@h/d"))
    assert uri == "postgresql+psycopg://u@h/d"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("./mlruns", "does not take the tracking URI"),
        ("file:///somewhere/mlruns", "does not take the tracking URI"),
        ("ftp://user:hunter2@host/x", r"ftp://\*\*\*@host"),
        ("http://", "names no host"),
        ("http://host:notaport", "not a URI"),
        ("sqlite:////no/such/folder/mlflow.db", "'/no/such/folder'"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_uri_that_cannot_be_right_is_bad_input(uri: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as error:
        connect(TrackingSettings(uri=uri))
    assert "hunter2" not in str(error.value)


def test_a_variable_that_cannot_be_right_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2hunter2@[::1")
    with pytest.raises(BadInput, match=r"not a URI: .*Invalid IPv6 URL") as error:
        connect(TrackingSettings(uri="sqlite:///mlflow.db"))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_server_that_is_down_is_told_soon_and_without_its_password(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "2")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(StageFailed, match=rf"{address}.* cannot be reached.*MLFLOW_TRACKING_URI") as error:
        connect(TrackingSettings(uri=f"{kind}://qure:hunter2@{address}/mlflow"))
    assert "hunter2" not in str(error.value)
    assert time.monotonic() - begun < 5


def test_what_mlflow_raises_becomes_one_line(sqlite_uri: str) -> None:
    client = connect(TrackingSettings(uri=sqlite_uri))
    with (
        pytest.raises(StageFailed, match=r"MLflow at sqlite:.*: .*no-such-run") as error,
        connection.translated(sqlite_uri),
    ):
        client.get_run("no-such-run")
    assert "\n" not in str(error.value)


def test_a_connection_does_not_decide_where_the_next_one_goes(sqlite_uri: str, tmp_path: Path) -> None:
    first = connect(TrackingSettings(uri=sqlite_uri))
    assert not {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"} & set(os.environ)
    shutil.copy(sqlite_uri.removeprefix("sqlite:///"), tmp_path / "second.db")
    second = connect(TrackingSettings(uri=f"sqlite:///{tmp_path}/second.db"))
    first.create_experiment("only in the first")
    assert second.get_experiment_by_name("only in the first") is None
    import mlflow

    assert mlflow.get_tracking_uri() == mlflow.get_registry_uri() == f"sqlite:///{tmp_path}/second.db"


def test_the_variable_of_whoever_set_it_stays_as_it_was(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    connect(TrackingSettings(uri="sqlite:///elsewhere.db"))
    assert os.environ["MLFLOW_TRACKING_URI"] == sqlite_uri
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_a_database_that_is_locked_is_told(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY", 0.01)
    settings = TrackingSettings(uri=sqlite_uri)
    with closing(sqlite3.connect(sqlite_uri.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StageFailed, match=r"mlflow\.db': database is locked\. Stop what uses it"):
            connection.prepare_database(sqlite_uri, settings)


def test_errors_that_are_not_mlflows_stay_themselves() -> None:
    with pytest.raises(ZeroDivisionError), connection.translated("http://x"):
        _ = 1 / 0
    with pytest.raises(BadInput, match="mine"), connection.translated("http://x"):
        raise BadInput("mine")


def test_a_deleted_experiment_is_told(sqlite_uri: str) -> None:
    settings = TrackingSettings(uri=sqlite_uri, experiment="gone")
    client = connect(settings)
    client.delete_experiment(connection.experiment_id(client, settings))
    with pytest.raises(BadInput, match="'gone' has been deleted"):
        connection.experiment_id(client, settings)


def test_artifacts_lie_beside_the_database(sqlite_uri: str) -> None:
    settings = TrackingSettings(uri=sqlite_uri)
    client = connect(settings)
    location = client.get_experiment(connection.experiment_id(client, settings)).artifact_location
    assert Path(location) == Path(sqlite_uri.removeprefix("sqlite:///")).parent / "mlruns" / "qure"
    elsewhere = TrackingSettings(uri=sqlite_uri, experiment="other", artifacts="s3://bucket/mlflow")
    assert client.get_experiment(connection.experiment_id(client, elsewhere)).artifact_location == "s3://bucket/mlflow"


def test_without_mlflow_the_way_out_is_told(sqlite_uri: str) -> None:
    program = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from qure.config import TrackingSettings\n"
        "from qure.errors import BadInput\n"
        "from qure.tracking import connect, stage_run\n"
        "with stage_run(TrackingSettings(uri=None), stage='train') as run:\n"
        "    run.log_metrics({'loss': 1.0}); run.set_tags({}); run.log_artifact('x'); run.log_inputs({})\n"
        "    assert run.run_id is None\n"
        f"try:\n    connect(TrackingSettings(uri={sqlite_uri!r}))\n"
        "except BadInput as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'qure[tracking]'" in done.stdout


def test_importing_the_package_does_not_import_mlflow() -> None:
    program = "import qure.tracking, sys; assert not {'mlflow', 'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_nothing_is_reported_and_nothing_unpickled(sqlite_uri: str) -> None:
    connect(TrackingSettings(uri=sqlite_uri))
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_a_relative_database_lies_beside_its_params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / "params.yaml").write_text("training: {}\ntracking: {uri: 'sqlite:///mlflow.db'}\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = Settings.load(Path("../project/params.yaml"))
    assert tracking_uri(settings.tracking) == f"sqlite:///{tmp_path}/project/mlflow.db"
    assert settings.model_dump()["tracking"]["uri"] == "sqlite:///mlflow.db", "a pipeline run is known by its settings"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    assert tracking_uri(settings.tracking) == "sqlite:///own.db", "the variable is whoever's who set it"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.chdir(tmp_path / "project")
    assert tracking_uri(Settings.load(Path("params.yaml")).tracking) == "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://host.example", ("host.example", 80)),
        ("https://host.example/base", ("host.example", 443)),
        ("http://host.example:8080", ("host.example", 8080)),
        ("postgresql://u@host.example/d", ("host.example", 5432)),
        ("postgresql+psycopg://u@host.example:6000/d", ("host.example", 6000)),
        ("mysql+pymysql://u@host.example/d", ("host.example", 3306)),
        ("mssql://u@host.example/d", ("host.example", 1433)),
    ],
)
def test_it_is_asked_whether_the_server_answers_where_its_clients_will_ask(
    uri: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(place: tuple[str, int], timeout: float) -> None:
        asked.append((place, timeout))
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "0")
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(StageFailed, match="cannot be reached: Connection refused"):
        connect(TrackingSettings(uri=uri))
    assert asked == [(address, 5.0)]


@pytest.mark.parametrize("uri", ["databricks", "databricks://profile", "uc"])
def test_what_has_no_address_is_not_asked(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it was asked"))
    connection._require_reachable(uri)


def test_behind_a_proxy_only_the_proxy_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "0")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy.example:3128"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host == "inside.example")
    monkeypatch.setattr(connection, "_require_answer", lambda *place: asked.append(place[:2]))
    for uri in ("http://host.example", "https://host.example", "http://inside.example", "mysql://host.example/d"):
        connection._require_reachable(uri)
    assert asked == [("host.example", 443), ("inside.example", 80), ("host.example", 3306)]


def test_an_experiment_has_its_note_and_keeps_what_a_person_has_written(sqlite_uri: str) -> None:
    from qure.tracking.pages import EXPERIMENT_NOTE, KIND, MODEL_DEVELOPMENT, NOTE

    settings = TrackingSettings(uri=sqlite_uri, experiment="older")
    client = connect(settings)
    older = client.create_experiment("older")
    assert connection.experiment_id(client, settings) == older
    tags = client.get_experiment(older).tags
    assert (tags[KIND], tags[NOTE]) == (MODEL_DEVELOPMENT, EXPERIMENT_NOTE)
    client.set_experiment_tag(older, NOTE, "a person's word")
    assert connection.experiment_id(client, settings) == older
    assert client.get_experiment(older).tags[NOTE] == "a person's word"


def test_an_experiment_that_another_process_makes_meanwhile_is_taken(sqlite_uri: str) -> None:
    settings = TrackingSettings(uri=sqlite_uri, experiment="new")
    client = connect(settings)
    made = []

    class Slow:
        """Looks, and another process is faster."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def get_experiment_by_name(self, name: str) -> Any:
            found = client.get_experiment_by_name(name)
            if not made:
                made.append(client.create_experiment(name))
            return found

    slow: Any = Slow()
    assert [connection.experiment_id(slow, settings)] == made


def test_an_experiment_that_cannot_be_made_is_no_lost_race() -> None:
    from mlflow.exceptions import MlflowException

    class Full:
        def get_experiment_by_name(self, name: str) -> None:
            """There is none."""

        def create_experiment(self, *_: Any) -> None:
            raise MlflowException("the disk is full")

    full: Any = Full()
    with pytest.raises(MlflowException, match="the disk is full"):
        connection.experiment_id(full, TrackingSettings(uri="sqlite:///x.db"))


def test_a_search_gives_all_its_pages(sqlite_uri: str) -> None:
    client = connect(TrackingSettings(uri=sqlite_uri))
    for number in range(7):
        client.create_experiment(f"number {number}")
    found = connection.every(client.search_experiments, max_results=3)
    assert sorted(one.name for one in found) == ["Default", *(f"number {number}" for number in range(7))]


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("sqlite:///mlflow.db?timeout=5", "mlflow.db"),
        ("sqlite+pysqlite:///a/b.db", "a/b.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql:///d", None),
        ("http://host", None),
    ],
)
def test_the_file_of_a_database(uri: str, file: str | None) -> None:
    assert connection.sqlite_file(uri) == (None if file is None else Path(file))
