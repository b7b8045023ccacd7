"""Real servers for tests: MLflow's database (SQLite, PostgreSQL), an MLflow server, an S3 API over HTTP."""

import contextlib
import copy
import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

#: Not secrets: the servers live as long as the tests. The values are searched for in whatever is logged.
S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "qure-test-access", "AWS_SECRET_ACCESS_KEY": "qure-test-secret-9d1c"}


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set outside must not lead a test to somebody's tracking server or storage."""
    for name in (
        "QURE_PROFILE",
        "MLFLOW_TRACKING_URI",
        "QURE_PIPELINE_RUN",
        "QURE_COMMIT",
        "AWS_ENDPOINT_URL",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _commands_are_put_together_once() -> Iterator[None]:
    """typer does so each time that an application is called, in 40 ms; a process of a user's calls it once."""
    import typer.main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MLflow's tables in a SQLite file; making them takes seconds.

    From then on the revision that MLflow wants is known: to find it out, it reads 67 files for each database.
    """
    from mlflow.store.db import utils

    from qure.config import TrackingSettings
    from qure.tracking import connect

    file = tmp_path_factory.mktemp("mlflow") / "empty.db"
    connect(TrackingSettings(uri=f"sqlite:///{file}"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_get_latest_schema_revision", functools.cache(utils._get_latest_schema_revision))
        yield file


@pytest.fixture
def sqlite_uri(_empty_database: Path, tmp_path: Path) -> str:
    """A tracking URI of this test's own."""
    file = tmp_path / "tracking" / "mlflow.db"
    file.parent.mkdir()
    shutil.copy(_empty_database, file)
    return f"sqlite:///{file}"


def _postgres_programs() -> Path:
    found = shutil.which("initdb")
    folders = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("needs PostgreSQL's programs: initdb and postgres, on PATH or in /usr/lib/postgresql/*/bin")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server: its URI up to the database's name."""
    programs = _postgres_programs()
    folder = tmp_path_factory.mktemp("postgres")
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
        for parent in folder.parents:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o755)
        as_user = ["runuser", "-u", "postgres", "--"]
    subprocess.run(
        [*as_user, programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "qure", "--no-sync"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    port = free_port()
    quick = ("fsync=off", "synchronous_commit=off", f"port={port}", "listen_addresses=127.0.0.1")
    options = [part for option in (*quick, f"unix_socket_directories={folder}") for part in ("-c", option)]
    server = subprocess.Popen(
        [*as_user, programs / "postgres", "-D", folder / "data", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    wait_for_port(port, server)
    _wait_for_database(port)
    # The server itself, not `runuser` before it; read now, so that clearing temporary files makes no orphan of it.
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    yield f"postgresql+psycopg://qure:any-password@127.0.0.1:{port}/"
    with contextlib.suppress(ProcessLookupError):  # it ends by itself when its files are cleared away first
        os.kill(postmaster, signal.SIGINT)
    server.wait(timeout=30)


@pytest.fixture(scope="session")
def _postgres_template(postgres: str) -> str:
    """Name of a database with MLflow's tables."""
    from qure.config import TrackingSettings
    from qure.tracking import connect

    _execute(f"{postgres}postgres", "CREATE DATABASE mlflow_empty")
    client = connect(TrackingSettings(uri=f"{postgres}mlflow_empty"))
    # A database that somebody is connected to cannot be copied.
    client._tracking_client.store.engine.dispose()
    client._get_registry_client().store.engine.dispose()
    return "mlflow_empty"


@pytest.fixture
def postgres_uri(postgres: str, _postgres_template: str) -> str:
    """A tracking URI of this test's own, on PostgreSQL."""
    name = f"mlflow_{uuid.uuid4().hex[:10]}"
    _execute(f"{postgres}postgres", f"CREATE DATABASE {name} TEMPLATE {_postgres_template}")
    return f"{postgres}{name}"


def _execute(uri: str, statement: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(uri, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def wait_for_port(port: int, server: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    """Returns when something listens on a port."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, f"the server ended with {server.returncode}"
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.1)


def _wait_for_database(port: int, seconds: float = 60) -> None:
    """Returns when PostgreSQL takes connections: on a busy machine it listens some time before."""
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="qure", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3 API (moto's server)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Leads boto3 to an endpoint, makes a bucket there and gives its URI."""

    def make(endpoint: str) -> str:
        import boto3

        for name, value in (S3_CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}).items():
            monkeypatch.setenv(name, value)
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        boto3.client("s3").create_bucket(Bucket=bucket)
        return f"s3://{bucket}"

    return make


@pytest.fixture
def s3(s3_endpoint: str, bucket_at: Callable[[str], str]) -> str:
    """A fresh bucket as URI; the environment leads boto3 to it."""
    return bucket_at(s3_endpoint)


@pytest.fixture
def mlflow_server(postgres_uri: str, s3: str, s3_endpoint: str, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts an MLflow server on PostgreSQL that keeps artifacts on S3: clients need no S3 credentials."""
    servers: list[subprocess.Popen[bytes]] = []

    def start() -> str:
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", postgres_uri, "--artifacts-destination", f"{s3}/mlflow", "--workers", "1"]
        environment = {**os.environ, **S3_CREDENTIALS, "AWS_ENDPOINT_URL": s3_endpoint, "MLFLOW_DISABLE_TELEMETRY": "1"}
        with (tmp_path / "server.log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        servers.append(server)
        wait_for_port(port, server, seconds=120)
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60).close()
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Opens a page in headless Chromium, in a window of some (width, height); there is one browser per size.

    A window narrower than 600 is a telephone's: the page decides how wide it wants to be.
    """
    pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    browsers: dict[tuple[int, int], Any] = {}

    def open_page(page: Path, size: tuple[int, int] = (1400, 1000)) -> Any:
        if size not in browsers:
            browsers[size] = _browser(chromium, driver, size, tmp_path_factory.mktemp("profile"))
        browser = browsers[size]
        # Leaves the page before, or the browser's own first page, and what both have logged.
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(page.as_uri())
        return browser

    yield open_page
    for browser in browsers.values():
        browser.quit()


def _browser(chromium: str, driver: str, size: tuple[int, int], profile: Path) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in (*flags.split(), "disable-component-update", "disable-sync", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    if size[0] < 600:
        metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.fixture(scope="session")
def copied_downloads() -> Iterator[None]:
    """A folder that MLflow keeps on this machine comes in one copy: file by file, a package's 370 take 0.3 s."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    download: Callable[..., str] = LocalArtifactRepository.download_artifacts

    def copy_whole(kept: Any, artifact_path: str, dst_path: str | None = None) -> str:
        source = Path(kept.artifact_dir)
        if artifact_path or dst_path is None or not Path(dst_path).is_dir() or not source.is_dir():
            return download(kept, artifact_path, dst_path)
        return str(shutil.copytree(source, dst_path, copy_function=shutil.copyfile, dirs_exist_ok=True))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "download_artifacts", copy_whole)
        yield


def pytest_collection_finish(session: pytest.Session) -> None:
    """Who asks packages is copied from this process before it has threads and files of tests."""
    if not session.config.option.collectonly and any("ask_by_fork" in item.fixturenames for item in session.items):
        session.config.stash[_ASKER] = _asked_by_fork().Asker()


_ASKER: pytest.StashKey[Any] = pytest.StashKey()


def _asked_by_fork() -> ModuleType:
    """A helper module of this folder: tests are no package, so it is loaded by its path."""
    file = Path(__file__).with_name("asked_by_fork.py")
    spec = importlib.util.spec_from_file_location("qure_tests_asked_by_fork", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ask_by_fork(pytestconfig: pytest.Config) -> Iterator[Callable[..., dict[str, Any]]]:
    """In place of `qure.registry.packaging._ask`: in a fork of a process that has imported torch and no qure.

    A package that was asked before, to the byte, is not asked again.
    """
    answered: dict[str, dict[str, Any]] = {}
    asker = pytestconfig.stash[_ASKER]

    def ask(python: str, folder: Path, scratch: Path) -> dict[str, Any]:
        from qure.files import read_json

        content = _content(folder, scratch)
        if content not in answered:
            output = scratch / "answer.json"
            assert asker.ask(folder.resolve(), output) == 0
            answered[content] = dict(read_json(output))
        return copy.deepcopy(answered[content])

    yield ask
    asker.end()


def _content(package: Path, scratch: Path) -> str:
    """What a package holds, hidden files too, but for the asker's scratch and what is said of the single upload.

    Beside the scratch lies its lock (qure/scratch.py), of another name each time.
    """
    upload = ("model_id:", "model_uuid:", "run_id:", "utc_time_created:", "artifact_path:")
    digest = hashlib.sha256()
    left_out = {package / "registered_model_meta", scratch, *scratch.parent.glob("*.lock")}
    for file in sorted(set(package.rglob("*")) - left_out):
        content = file.read_bytes() if file.is_file() else b""
        if file == package / "MLmodel":
            content = b"".join(line for line in content.splitlines() if not line.decode().startswith(upload))
        digest.update(f"{file.relative_to(package)} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()
