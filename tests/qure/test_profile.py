"""The profile: where it is found, what it puts into the environment, what is said when there is none."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from qure.errors import BadInput
from qure.profile import FILE, profile_file, profile_text, read_profile, use_profile

VARIABLES = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "DVC_GLOBAL_CONFIG_DIR": "/a folder's/$HOME", "EMPTY": ""}


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with started services, whose folder is the present one."""
    file = tmp_path / ".work" / "services" / FILE
    file.parent.mkdir(parents=True)
    file.write_text(profile_text(VARIABLES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return file


def test_a_profile_wins_over_what_is_set(profile: Path) -> None:
    os.environ |= {"QURE_PROFILE": "services", "MLFLOW_TRACKING_URI": "https://elsewhere.example.org"}
    use_profile()
    assert {name: os.environ[name] for name in VARIABLES} == VARIABLES


def test_without_the_variable_nothing_changes(profile: Path) -> None:
    before = dict(os.environ)
    use_profile()
    os.environ["QURE_PROFILE"] = " "
    use_profile()
    assert {**os.environ} == {**before, "QURE_PROFILE": " "}


def test_it_is_found_from_a_folder_below(profile: Path) -> None:
    below = profile.parents[2] / "docs" / "images"
    below.mkdir(parents=True)
    assert profile_file("services", below) == profile


def test_a_shell_reads_the_same(profile: Path) -> None:
    command = f"set -a; . {shlex.quote(str(profile))}; {shlex.quote(sys.executable)} -c '"
    command += "import json, os; print(json.dumps(dict(os.environ)))" + "'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    import json

    assert {name: json.loads(done.stdout)[name] for name in VARIABLES} == VARIABLES
    assert read_profile(profile) == VARIABLES


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("services", r"'services' are not started\. Start them: make services"),
        ("staging", r"'staging' are not started\. There is 'services'"),
        ("../elsewhere", r"no profile '\.\./elsewhere'"),
    ],
)
def test_services_that_are_not_started_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QURE_PROFILE", name)
    with pytest.raises(BadInput, match=said):
        use_profile()


def test_a_profile_that_cannot_be_read_is_named(profile: Path) -> None:
    profile.write_bytes(b"A=\xff\n")
    with pytest.raises(BadInput, match=r"profile\.env: is no text in UTF-8\. .*make services"):
        read_profile(profile)
    profile.unlink()
    profile.mkdir()
    with pytest.raises(BadInput, match=r"profile\.env: cannot be read: Is a directory\. .*make services"):
        read_profile(profile)


@pytest.mark.parametrize("line", ["no equals sign", "=hunter2", "A='hunter2", "A=two hunter2", "A-B=hunter2"])
def test_a_damaged_line_is_named_and_not_shown(profile: Path, line: str) -> None:
    profile.write_text(f"A=1\n{line}\n")
    with pytest.raises(BadInput, match=r"profile\.env, line 2: no NAME=VALUE\. .*make services") as error:
        read_profile(profile)
    assert "hunter2" not in str(error.value)


def test_a_command_says_in_one_line_that_the_services_are_not_started(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qure.cli", "results"],
        cwd=tmp_path,
        env=os.environ | {"QURE_PROFILE": "services"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: field 'QURE_PROFILE': the services of the profile 'services' are not started. Start them: make "
        "services. To do without, leave the variable empty"
    ]
