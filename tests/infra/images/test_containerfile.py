"""The Containerfile, without building it: lint, and what it promises in its text."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTAINERFILE = ROOT / "infra" / "images" / "Containerfile"


@pytest.fixture(scope="module")
def text() -> str:
    return CONTAINERFILE.read_text()


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_run_as_the_user_that_the_pipelines_name(text: str) -> None:
    from pipelines.placement import USER

    for target in ("cpu", "cuda"):
        stage = text.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == [f"{USER}:{USER}"]


def test_everything_is_installed_from_the_lock_but_torch_whose_version_is_the_projects(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    torch = next(one for one in project["dependencies"] if one.startswith("torch=="))
    commands = re.findall(r"uv pip install (?:[^\n\\]|\\\n)*", text)
    resolving = [command for command in commands if "--no-deps" not in command]
    assert len(resolving) == 3
    assert all("--constraint requirements.lock" in command for command in resolving)
    assert sum(torch in command for command in resolving) == 2


def test_no_machine_is_named_but_the_official_base_image(text: str) -> None:
    hosts = set(re.findall(r"(?:https?://|\b)([a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:io|org|com|net|dev))\b", text.lower()))
    assert hosts <= {"docker.io"}
    assert "/work/" not in text
