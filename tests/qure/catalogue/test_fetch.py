"""Fetching data by git revision and DVC hash, against a real git repository with a real DVC remote (a folder)."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest

from qure.catalogue.fetch import CATALOGUE, Pinned, fetch, pin
from qure.config import Settings
from qure.errors import BadInput, StageFailed

ENVIRONMENT = {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
SETTINGS = Settings.model_validate({"training": {}, "catalogue": {"scale": 0.02}})


@dataclass(frozen=True)
class Repository:
    """A project with two versions of its data: branch `main` and, before it, tag `v1`."""

    path: Path
    store: Path
    old: str
    new: str


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def dvc(folder: Path, *arguments: str) -> None:
    """In this process: as one of its own most of its time is importing."""
    from dvc.cli import main

    with contextlib.chdir(folder), patch.dict(os.environ, ENVIRONMENT):
        assert main([*arguments, "--quiet"]) == 0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("project")
    path, store = root / "project", root / "store"
    path.mkdir()
    run(path, "git", "init", "--initial-branch", "main")
    for name, value in (("user.email", "tests@example.com"), ("user.name", "tests")):
        run(path, "git", "config", name, value)
    dvc(path, "init")
    dvc(path, "remote", "add", "--default", "store", "../store")
    commits = []
    for version in ("one", "two"):
        (path / "data").mkdir(exist_ok=True)
        (path / "data" / "captions.json").write_text(version)
        (path / "data" / "same.txt").write_text("same")
        dvc(path, "add", "data")
        dvc(path, "push")
        run(path, "git", "add", "--all")
        run(path, "git", "commit", "--message", version)
        commits.append(run(path, "git", "rev-parse", "HEAD"))
        if version == "one":
            run(path, "git", "tag", "v1")
    return Repository(path, store, *commits)


@pytest.fixture
def quick_dvc(monkeypatch: pytest.MonkeyPatch, dvc_by_fork: Callable[..., None]) -> None:
    """No process of its own for each of half a dozen calls: whoever does without this fixture has them."""
    monkeypatch.setattr("qure.catalogue.fetch._dvc", dvc_by_fork)


def test_a_revision_becomes_a_fixed_commit_and_hash(repository: Repository) -> None:
    newest, oldest = pin(str(repository.path), "main"), pin(str(repository.path), "v1")
    assert (newest.commit, oldest.commit) == (repository.new, repository.old)
    assert newest.data_hash != oldest.data_hash
    assert newest.data_hash.endswith(".dir")
    assert pin(str(repository.path), repository.old) == oldest


@pytest.mark.usefixtures("quick_dvc")
def test_data_of_a_revision_is_fetched_once(repository: Repository, tmp_path: Path) -> None:
    pinned, output = pin(str(repository.path), "v1"), tmp_path / "output"
    fingerprint = fetch(SETTINGS, str(repository.path), pinned, output, cache=tmp_path / "cache")
    assert fingerprint == f"md5:{pinned.data_hash}"
    assert (output / "data" / "captions.json").read_text() == "one"
    assert sorted(one.name for one in output.iterdir()) == ["data", "data.dvc"]
    before = (output / "data" / "captions.json").stat().st_ctime_ns
    assert fetch(SETTINGS, "/nowhere", pinned, output) == fingerprint
    assert (output / "data" / "captions.json").stat().st_ctime_ns == before


@pytest.mark.usefixtures("quick_dvc")
def test_data_is_fetched_by_its_hash(repository: Repository, tmp_path: Path) -> None:
    wanted = pin(str(repository.path), "v1").data_hash
    pinned = pin(str(repository.path), wanted.removesuffix(".dir"))
    assert pinned.data_hash == wanted
    fetch(SETTINGS, str(repository.path), pinned, tmp_path / "output")
    assert (tmp_path / "output" / "data" / "captions.json").read_text() == "one"


@pytest.mark.integration
def test_other_data_takes_the_place_of_what_was_there(repository: Repository, tmp_path: Path) -> None:
    for revision, content in (("v1", "one"), ("main", "two")):
        fetch(SETTINGS, str(repository.path), pin(str(repository.path), revision), tmp_path / "output")
        assert (tmp_path / "output" / "data" / "captions.json").read_text() == content


def test_a_remote_without_the_data_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    missing = Pinned(repository.new, "0" * 32 + ".dir")
    with pytest.raises(StageFailed, match="dvc pull"):
        fetch(SETTINGS, str(repository.path), missing, tmp_path / "output")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("revision", ["nothing", "v2", "0" * 40])
def test_an_unknown_revision_is_named(repository: Repository, revision: str) -> None:
    with pytest.raises(BadInput, match=revision):
        pin(str(repository.path), revision)


@pytest.fixture
def git_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A web server that answers with `answers`, one after the other, then with the last again."""

    class Handler(BaseHTTPRequestHandler):
        answers: ClassVar[list[int]] = []
        asked: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self.asked.append(self.path)
            self.send_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("qure.tracking.retrying._FIRST_PAUSE", 0.01)
    Handler.address = f"http://user:sentinel-password@127.0.0.1:{server.server_port}/x.git"  # type: ignore[attr-defined]
    yield Handler
    server.shutdown()
    server.server_close()


def test_a_repository_that_is_none_is_named_at_once_without_its_credentials(git_server: Any) -> None:
    git_server.answers[:] = [404]
    git_server.asked.clear()
    with pytest.raises(BadInput, match="cannot be cloned") as refusal:
        pin(git_server.address, "main")
    assert "sentinel-password" not in str(refusal.value)
    assert len(git_server.asked) == 1


def test_a_git_server_that_is_not_well_is_asked_again(git_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    git_server.answers[:] = [503, 429, 404]
    git_server.asked.clear()
    with pytest.raises(BadInput, match="cannot be cloned"):
        pin(git_server.address, "main")
    assert len(git_server.asked) == 3
    assert caplog.text.count("trying again") == 2
    assert "sentinel-password" not in caplog.text


def test_a_git_server_that_never_answers_is_no_mistake_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "0")
    with pytest.raises(StageFailed, match="its server does not answer") as failure:
        pin("http://user:sentinel-password@127.0.0.1:9/x.git", "main")
    assert "sentinel-password" not in str(failure.value)


@pytest.mark.usefixtures("quick_dvc")
def test_a_pull_that_breaks_off_is_done_again(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The remote's first answer is what DVC says of a store that resets the connection."""
    from qure.catalogue import fetch as module

    real, broken = module._dvc, [1]

    def dvc_once_broken(folder: Path, *arguments: str) -> None:
        if arguments[0] == "pull" and broken:
            broken.pop()
            raise StageFailed("`dvc pull` failed: ERROR: unexpected error - [Errno 104] Connection reset by peer")
        real(folder, *arguments)

    monkeypatch.setattr(module, "_dvc", dvc_once_broken)
    monkeypatch.setattr("qure.tracking.retrying._FIRST_PAUSE", 0.01)
    fetch(SETTINGS, str(repository.path), pin(str(repository.path), "main"), tmp_path / "output")
    assert "the DVC remote" in caplog.text
    assert (tmp_path / "output" / "data").is_dir()


def test_a_repository_without_tracked_data_is_said(tmp_path: Path) -> None:
    commit(tmp_path, {"readme": "x"})
    with pytest.raises(BadInput, match=r"data\.dvc"):
        pin(str(tmp_path), "main")


@pytest.mark.integration
def test_without_a_repository_the_catalogue_is_rendered(tmp_path: Path) -> None:
    assert pin("", "whatever") == Pinned(CATALOGUE, "")
    prints = [fetch(SETTINGS, "", pin("", ""), tmp_path / name) for name in ("a", "b")]
    assert prints[0] == prints[1]
    assert prints[0].startswith("md5:")
    assert (tmp_path / "a" / "data" / "fashioniq" / "captions").is_dir()


@pytest.mark.parametrize("reason", [TimeoutError(), ConnectionAbortedError(103, "Software caused an abort")])
def test_a_connection_that_fails_without_a_known_word_is_no_mistake_of_the_users(
    monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    from scmrepo.exceptions import CloneError

    def clone(url: str, folder: str) -> None:
        raise CloneError(url, folder) from reason

    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "0")
    monkeypatch.setattr("scmrepo.git.Git.clone", clone)
    with pytest.raises(StageFailed, match="its server does not answer"):
        pin("http://127.0.0.1/x.git", "main")


@pytest.mark.parametrize(
    "pointer", ["", "outs: []", "outs: [{md5: 1}]", "outs: [{path: data}]", "outs: [", f"outs: [{{md5: {'0' * 32}}}]"]
)
def test_a_pointer_that_tracks_no_folder_is_named(tmp_path: Path, pointer: str) -> None:
    commit(tmp_path, {"data.dvc": pointer})
    with pytest.raises(BadInput, match=r"data\.dvc does not track a folder with DVC"):
        pin(str(tmp_path), "main")


def commit(folder: Path, files: dict[str, str]) -> str:
    run(folder, "git", "init", "--initial-branch", "main")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.email=a@example.com", "-c", "user.name=a", "commit", "--message", "x")
    return run(folder, "git", "rev-parse", "HEAD")


@pytest.fixture
def pulled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The configuration with which DVC would be asked for data: it is not asked, and fails."""
    found: list[str] = []

    def dvc_as_told(folder: Path, *arguments: str) -> None:
        (folder / ".dvc").mkdir(exist_ok=True)
        if arguments[0] == "pull":
            found.append((folder / ".dvc" / "config").read_text())
            raise StageFailed("not pulled")

    monkeypatch.setattr("qure.catalogue.fetch._dvc", dvc_as_told)
    return found


def test_a_remote_with_an_address_stays_as_it_is(tmp_path: Path, pulled: list[str]) -> None:
    remotes = "['remote \"far\"']\n    url = s3://bucket/data\n['remote \"near\"']\n    url = /srv/data\n"
    (tmp_path / "project").mkdir()
    made = commit(tmp_path / "project", {".dvc/config": remotes})
    with pytest.raises(StageFailed, match="not pulled"):
        fetch(SETTINGS, str(tmp_path / "project"), Pinned(made, "0" * 32 + ".dir"), tmp_path / "output")
    assert [line.split()[-1] for line in pulled[0].splitlines() if "url" in line] == ["s3://bucket/data", "/srv/data"]


def test_a_remote_beside_a_repository_elsewhere_is_refused(tmp_path: Path, pulled: list[str]) -> None:
    (tmp_path / "project").mkdir()
    made = commit(tmp_path / "project", {".dvc/config": "['remote \"store\"']\n    url = ../../store\n"})
    with pytest.raises(BadInput, match=r"\.dvc/config: the DVC remote '\.\./\.\./store' is a path inside.*s3://"):
        fetch(SETTINGS, f"file://{tmp_path}/project", Pinned(made, "0" * 32 + ".dir"), tmp_path / "output")
    assert pulled == []
    assert not (tmp_path / "output").exists()


def test_a_configuration_that_dvc_could_not_read_is_named(tmp_path: Path, pulled: list[str]) -> None:
    made = commit(tmp_path, {".dvc/config": "url = before any section\n"})
    with pytest.raises(BadInput, match=r"\.dvc/config"):
        fetch(SETTINGS, str(tmp_path), Pinned(made, "0" * 32 + ".dir"), tmp_path / "output")
    assert pulled == []


def test_a_configuration_that_cannot_be_read_is_quoted_without_its_secrets(tmp_path: Path) -> None:
    line = "url = https://anna:sentinel-password@storage.example/dvc\n"
    made = commit(tmp_path, {".dvc/config": line})
    with pytest.raises(BadInput, match=r"not a configuration: .*storage\.example") as refusal:
        fetch(SETTINGS, str(tmp_path), Pinned(made, "0" * 32 + ".dir"), tmp_path / "output")
    assert "sentinel-password" not in str(refusal.value)
