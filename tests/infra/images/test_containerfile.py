"""The Containerfile, without building it: lint, and what it promises in its text."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
CONTAINERFILE = ROOT / "infra" / "images" / "Containerfile"
SERVING = CONTAINERFILE.with_name("Serving.Containerfile")


@pytest.fixture(scope="module")
def text() -> str:
    return CONTAINERFILE.read_text()


@pytest.mark.parametrize("file", [CONTAINERFILE, SERVING], ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_run_as_the_user_that_the_pipelines_name(text: str) -> None:
    from pipelines.placement import USER

    for target in ("cpu", "cuda"):
        stage = text.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == [f"{USER}:{USER}"]


def test_everything_is_installed_from_the_lock_but_torch_whose_version_is_the_projects(text: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = next(Requirement(one) for one in project["dependencies"] if one.startswith("torch"))
    (torch,) = set(re.findall(r"torch==[\d.]+", text)) & set(
        re.findall(r"torch==[\d.]+", (ROOT / "Makefile").read_text())
    )
    assert allowed.specifier.contains(torch.partition("==")[2])
    commands = re.findall(r"uv pip install (?:[^\n\\]|\\\n)*", text)
    resolving = [command for command in commands if "--no-deps" not in command]
    assert len(resolving) == 3
    assert all(re.search(r"--constraint (\S+/)?requirements\.lock\b", command) for command in resolving)
    assert sum(torch in command for command in resolving) == 2


def test_what_a_task_imports_besides_the_library_lies_on_the_path(text: str) -> None:
    """A wheel holds qure alone; the rest is copied, and a .pth file leads to it."""
    stage = text.split(" AS application\n")[1].split("\nFROM ")[0]
    copied = dict(re.findall(r"^COPY (components|pipelines|infra) (\S+)$", stage, re.MULTILINE))
    assert {Path(folder).name for folder in copied.values()} == {"components", "pipelines", "infra"} == copied.keys()
    (parent,) = {str(Path(folder).parent) for folder in copied.values()}
    assert f"echo {parent} > " in stage


def test_no_machine_is_named_but_the_official_base_image(text: str) -> None:
    hosts = set(re.findall(r"(?:https?://|\b)([a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:io|org|com|net|dev))\b", text.lower()))
    assert hosts <= {"docker.io"}
    assert "/work/" not in text


def test_what_differs_with_every_commit_comes_after_the_environment(text: str) -> None:
    """A commit must not build gigabytes again: neither its name nor the sources come before what is locked."""
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL))
    for name in ("python", "runtime", "environment-cpu", "environment-cuda"):
        assert "COMMIT" not in stages[name]
        copied = re.findall(r"^COPY (.*) \S+$", stages[name], re.MULTILINE)
        assert copied in ([], ["pyproject.toml requirements.lock"], ["infra/images/cuda.lock"])


def test_the_cuda_build_is_pinned_beside_the_lock(text: str) -> None:
    def pinned(file: Path) -> dict[str, str]:
        blocks = re.findall(r"^([a-z0-9-]+)==(\S+) \\\n +--hash=sha256:[0-9a-f]{64}", file.read_text(), re.MULTILINE)
        return dict(blocks)

    cuda, lock = pinned(CONTAINERFILE.with_name("cuda.lock")), pinned(ROOT / "requirements.lock")
    assert {"torch", "triton"} <= cuda.keys()
    assert sum(name.startswith("nvidia-") for name in cuda) > 10
    assert not cuda.keys() & lock.keys()
    assert f"torch=={cuda['torch']}" in text.split(" AS environment-cuda\n")[1]
