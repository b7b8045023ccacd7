"""What an installation brings: a wheel the library alone, an editable install the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built from: building leaves folders beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("qure", "components", "pipelines", "infra"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def unpacked(source: Path, target: Path, build: str) -> Path:
    done = subprocess.run([sys.executable, "-c", BUILD, build, str(target)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(target / done.stdout.splitlines()[-1]) as wheel:
        wheel.extractall(target / "site")
    return target / "site"


@pytest.fixture(scope="module")
def site(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content."""
    return unpacked(source, tmp_path_factory.mktemp("wheel"), "build_wheel")


def run(site: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """Python with a site-packages of the wheel before this environment's; elsewhere than in the checkout."""
    path = os.pathsep.join([str(site), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    command = [sys.executable, "-S", "-c", code]
    return subprocess.run(command, cwd=site, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


def test_a_wheel_holds_the_library_alone_and_all_of_its_files(site: Path) -> None:
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"qure"}
    for name in ("py.typed", "ablation/arms.yaml", "cli/demo_seconds.json"):
        assert (site / "qure" / name).is_file()
    packed, ours = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "__pycache__" not in path.parts}
        for folder in (site / "qure", ROOT / "qure")
    )
    assert packed == ours


@pytest.mark.integration
def test_the_wheels_library_and_command_line_work(site: Path) -> None:
    done = run(site, "import qure; print(qure.__file__, callable(qure.load))")
    assert done.stdout.split() == [str(site / "qure" / "__init__.py"), "True"], done.stderr
    assert "promote" in run(site, "from qure.cli import app; app(['--help'])").stdout


def test_without_a_checkout_the_pipelines_command_says_where_they_are(site: Path) -> None:
    done = run(site, "from qure.cli.pipelines import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_editable_install_puts_the_checkout_on_the_path(source: Path, tmp_path: Path) -> None:
    site = unpacked(source, tmp_path, "build_editable")
    (leads,) = site.glob("*.pth")
    assert Path(leads.read_text().strip()).samefile(source)
