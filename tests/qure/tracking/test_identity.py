"""Commit, data fingerprint, pipeline run."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from qure import tracking
from qure.errors import BadInput
from qure.files import folder_digest
from qure.tracking import identity


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a package, as `identity` sees its own."""
    folder = tmp_path / "repository" / "qure"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    _git(folder.parent, "init", "-q")
    monkeypatch.setattr(identity, "_PACKAGE", folder)
    identity._commit_of_package.cache_clear()
    yield folder
    identity._commit_of_package.cache_clear()


def _commit() -> str:
    identity._commit_of_package.cache_clear()
    return tracking.commit()


def test_the_commit_and_what_differs_from_it(package: Path) -> None:
    assert _commit() == "v0.1.0", "no commit yet"
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "first")
    head = _git(package, "rev-parse", "HEAD")
    assert _commit() == head
    (package.parent / "params.yaml").write_text("other files do not count")
    assert _commit() == head
    (package / "__init__.py").write_text("x = 1")
    first = _commit()
    assert first.startswith(f"{head}+")
    (package / "__init__.py").write_text("x = 2")
    assert _commit() not in (first, head)
    (package / "__init__.py").write_text("")
    (package / "new.py").write_text("A")
    unknown = _commit()
    assert unknown.startswith(f"{head}+"), "a file that git does not know is a difference"
    (package / "new.py").write_text("B")
    assert _commit().startswith(f"{head}+")
    assert _commit() != unknown, "by its content, not only by its name"
    (package / "new.py").rename(package / "other.py")
    assert _commit() not in (unknown, head)
    (package / "other.py").unlink()
    (package / "picture.bin").write_bytes(bytes(range(256)))
    (package / "link").symlink_to("nowhere")
    assert _commit().startswith(f"{head}+")
    (package / "link").unlink()
    _git(package, "add", ".")
    first = _commit()
    (package / "picture.bin").write_bytes(bytes(reversed(range(256))))
    assert _commit() not in (first, head), "files that are no text are compared too"


def test_a_package_that_is_not_under_version_control(package: Path) -> None:
    (package.parent / "other").write_text("")
    _git(package, "add", "../other")
    _git(package, "commit", "-q", "-m", "somebody else's repository")
    assert _commit() == "v0.1.0"


@pytest.fixture
def refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed package in a checkout that git takes for somebody else's."""
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return package


def test_a_checkout_of_another_user_is_told(refused: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = _commit()
    assert re.fullmatch(r"v0\.1\.0\+git-unreadable\.[0-9a-f]{8}", first)
    assert f"git config --global --add safe.directory {refused.parent}" in caplog.text
    assert _commit() == first
    (refused / "__init__.py").write_text("x = 1")
    assert _commit() != first, "an edit is seen all the same"


def test_a_checkout_without_git_is_told(
    refused: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    assert _commit().startswith("v0.1.0+git-unreadable.")
    assert "git cannot be asked about" in caplog.text


def test_a_damaged_repository_is_told(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "first")
    (package.parent / ".git" / "config").write_text("[nonsense")
    assert _commit().startswith("v0.1.0+git-unreadable.")
    assert "git fails in" in caplog.text


def test_an_installation_says_nothing_about_a_repository_around_it(
    refused: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed = refused.parent / "site-packages" / "qure"
    installed.parent.mkdir()
    refused.rename(installed)
    monkeypatch.setattr(identity, "_PACKAGE", installed)
    assert _commit() == "v0.1.0"
    assert not caplog.text


def test_inside_an_image_the_variable_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "0f3a")
    assert tracking.commit() == "0f3a"


def test_data_tracked_by_dvc_is_known_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0a1b2c.dir\n  size: 3\n  hash: md5\n  path: data\n")
    assert tracking.data_fingerprint(tmp_path / "data") == "md5:0a1b2c.dir"


def test_data_that_is_not_what_its_dvc_file_says_has_its_own_fingerprint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "x.json").write_text("[1]")
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0a.dir\n  size: 3\n  nfiles: 1\n  hash: md5\n  path: data\n")
    assert tracking.data_fingerprint(data) == "md5:0a.dir"
    assert not caplog.text
    (data / "x.json").write_text("[12]")
    first = tracking.data_fingerprint(data)
    assert re.fullmatch(r"md5:0a\.dir\+changed:[0-9a-f]{8}", first)
    assert tracking.data_fingerprint(data) == first
    assert caplog.text.count("4 bytes instead of 3") == 1, "said once"
    assert "dvc add data" in caplog.text
    (data / "x.json").write_text("[34]")
    assert tracking.data_fingerprint(data) not in (first, "md5:0a.dir")


def test_other_data_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("1")
    first = tracking.data_fingerprint(tmp_path / "data")
    assert first == f"sha256:{folder_digest(tmp_path / 'data')}"
    (tmp_path / "data" / "x").write_text("2")
    assert tracking.data_fingerprint(tmp_path / "data") != first


@pytest.mark.parametrize(
    "text", ["", "outs: 3", "outs:\n- md5: a\n  path: other\n", "{", "outs:\n- path: data\n", "\0"]
)
def test_a_broken_dvc_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(BadInput, match=r"data\.dvc: not a DVC file that tracks 'data'.*dvc add"):
        tracking.data_fingerprint(tmp_path / "data")


def test_no_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such data folder"):
        tracking.data_fingerprint(tmp_path / "data")


def test_a_pipeline_run_is_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "a")
    first = tracking.pipeline_run_id({"epochs": 3}, "md5:1")
    assert tracking.pipeline_run_id({"epochs": 3}, "md5:1") == first
    others = {tracking.pipeline_run_id({"epochs": 4}, "md5:1"), tracking.pipeline_run_id({"epochs": 3}, "md5:2")}
    monkeypatch.setenv("QURE_COMMIT", "b")
    others.add(tracking.pipeline_run_id({"epochs": 3}, "md5:1"))
    assert len(others | {first}) == 4
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-7f.3")
    assert tracking.pipeline_run_id({}, "") == "kfp-7f.3"


@pytest.mark.parametrize("told", ["x' or '1'='1", "a b", "x" * 201, "é\n"])
def test_an_odd_pipeline_run_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", told)
    with pytest.raises(BadInput, match="QURE_PIPELINE_RUN"):
        tracking.pipeline_run_id({}, "")


def test_the_environment_names_what_decides_results() -> None:
    facts = identity.environment()
    assert {"python", "torch", "transformers", "numpy", "qure"} <= facts.keys()


def test_a_library_that_is_not_installed_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = identity.metadata.version

    def installed(package: str) -> str:
        if package == "transformers":
            raise identity.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(identity.metadata, "version", installed)
    facts = identity.environment()
    assert "transformers" not in facts
    assert "torch" in facts


def test_a_file_that_cannot_be_read_counts_as_one(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "first")
    head = _git(package, "rev-parse", "HEAD")
    (package / "new.py").write_text("A")
    whole = _commit()

    def refuse(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(identity, "file_digest", refuse)
    unreadable = _commit()
    assert unreadable.startswith(f"{head}+")
    assert unreadable != whole


def test_the_repository_is_told_without_credentials(
    refused: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QURE_REPOSITORY", raising=False)
    assert identity.repository() is None, "git refuses to say"
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert identity.repository() is None, "it has no remote"
    _git(refused, "remote", "add", "origin", "https://anna:hunter2hunter2@git.example.org/qure.git")
    assert identity.repository() == "https://***@git.example.org/qure.git"
    monkeypatch.setenv("QURE_REPOSITORY", " https://ci:hunter2hunter2@git.example.org/of-the-image.git\n")
    assert identity.repository() == "https://***@git.example.org/of-the-image.git"


def test_an_installation_on_a_machine_without_git_has_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if any((folder / ".git").exists() for folder in tmp_path.parents):
        pytest.skip("temporary files lie in a checkout")
    monkeypatch.setattr(identity, "_PACKAGE", tmp_path / "qure")
    monkeypatch.setenv("PATH", "")
    assert _commit() == "v0.1.0"
    assert not caplog.text
    identity._commit_of_package.cache_clear()
