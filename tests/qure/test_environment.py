"""Damage that a full disk or a killed installation leaves: it is found, named, and mended by set-up."""

import gc
import importlib
import importlib.util
import os
import py_compile
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import qure.environment
from qure.environment import (
    belongs_elsewhere,
    cut_bytecode,
    damage,
    damaged_packages,
    missing_packages,
    naming_damage,
    without_collecting,
)

LONG = "\n".join(f"def function_{number}(value):\n    return value + {number}" for number in range(200)) + "\n"


def _cut_module(folder: Path, name: str) -> Path:
    """A module whose bytecode is current and was cut: its bytecode file."""
    source = folder / f"{name}.py"
    source.write_text(LONG)
    cache = Path(py_compile.compile(str(source), doraise=True) or "")
    os.truncate(cache, 3000)
    return cache


def test_a_full_disk_leaves_bytecode_that_is_found(tmp_path: Path) -> None:
    """What the module is for: Python itself leaves such a file, and cannot import it afterwards."""
    (tmp_path / "long.py").write_text(LONG)

    def little_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-S", "-c", "import long"]  # without `site`: it imports modules of the environment
    subprocess.run(command, cwd=tmp_path, env=variables, preexec_fn=little_space, check=True)
    (cut,) = cut_bytecode(tmp_path)
    assert cut.stat().st_size == 3000
    again = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    said = again.stderr.splitlines()[-1]  # the file's own path is in its code, so its length decides where it is cut
    assert said in ("EOFError: marshal data too short", "EOFError: EOF read where object expected")
    cut.unlink()
    subprocess.run(command, cwd=tmp_path, env=variables, check=True)
    assert cut_bytecode(tmp_path) == []


@pytest.mark.parametrize("module", ["typer", "rich", "pydantic"])
def test_the_command_line_names_the_damaged_file_in_one_line(tmp_path: Path, module: str) -> None:
    """A module that is imported first, while arguments are read, and within a command."""
    cut = _cut_module(tmp_path, module)
    done = subprocess.run(
        [sys.executable, "-m", "qure.cli", "validate", "--training-set", "fashioniq"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {cut}: this bytecode file is damaged")
    assert "make setup" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_import_that_reads_damaged_bytecode_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = _cut_module(tmp_path, "qure_test_of_cut_bytecode")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended, naming_damage():
        importlib.import_module("qure_test_of_cut_bytecode")
    assert str(ended.value.code).startswith(f"error: {cut}: this bytecode file is damaged")
    with pytest.raises(RuntimeError, match="anything else"), naming_damage():
        raise RuntimeError("anything else stays itself")


@pytest.mark.parametrize("collects", [True, False])
def test_who_does_not_collect_garbage_does_not_afterwards_either(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with without_collecting():
            assert not gc.isenabled()
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


def test_an_end_of_file_of_another_kind_is_no_damage() -> None:
    assert damage(EOFError("input ended")) is None
    assert damage(ModuleNotFoundError("No module named 'x'", name="x", path="x.so")) is None


def test_a_library_that_was_cut_is_named(tmp_path: Path) -> None:
    library = tmp_path / "cut.so"
    library.write_bytes(b"\x7fELF")
    spec = importlib.util.spec_from_file_location("cut", library)
    assert spec is not None
    with pytest.raises(ImportError) as caught:
        importlib.util.module_from_spec(spec)
    assert str(damage(caught.value)).startswith(f"{library}: this library cannot be loaded")


def test_bytecode_of_another_python_or_of_before_is_left(tmp_path: Path) -> None:
    cut = _cut_module(tmp_path, "cut")
    (cut.parent / "other.cpython-39.pyc").write_bytes(b"\x61\x0d\x0d\x0a" + bytes(40))
    (cut.parent / "empty.cpython-311.pyc").touch()
    assert cut_bytecode(tmp_path) == [cut]
    assert cut_bytecode(tmp_path, since=cut.stat().st_mtime + 1) == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An environment of its own: tmp_path/.venv, its two packages, and a copy of the module beside it."""
    site = tmp_path / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for name in ("one", "two"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text(LONG)
        (site / f"{name}-1.0.dist-info").mkdir()
        record = f"{name}/__init__.py,,{len(LONG)}\n{name}-1.0.dist-info/RECORD,,\n"
        (site / f"{name}-1.0.dist-info" / "RECORD").write_text(record)
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "qure").mkdir()
    shutil.copy(qure.environment.__file__, tmp_path / "qure")
    return site


def test_whole_packages_are_not_named(site: Path) -> None:
    assert damaged_packages(site) == {}


def test_a_missing_and_a_cut_file_name_their_packages(site: Path) -> None:
    (site / "one" / "__init__.py").unlink()
    os.truncate(site / "two" / "__init__.py", 1000)
    found = damaged_packages(site)
    assert found["one"] == f"{site}/one/__init__.py is missing"
    assert found["two"] == f"{site}/two/__init__.py was cut: 1000 of {len(LONG)} bytes"


def test_a_file_that_somebody_edited_is_not_damaged(site: Path) -> None:
    (site / "one" / "__init__.py").write_text("# shorter\n")
    assert damaged_packages(site) == {}


def test_an_installation_without_its_list_is_damaged(site: Path) -> None:
    (site / "one-1.0.dist-info" / "RECORD").unlink()
    assert damaged_packages(site) == {"one": f"{site}/one-1.0.dist-info/RECORD is missing"}


def test_packages_of_the_lock_file_that_are_not_there(site: Path, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("one==1.0 \\\n    --hash=sha256:0\nThree_Parts==2.0\n")
    assert missing_packages(site, lock) == ["pip", "qure", "three-parts", "torch", "uv"]


@pytest.mark.parametrize("start", ["#!{}/bin/python", "#!/bin/sh\n'''exec' '{}/bin/python' \"$0\""])
def test_the_environment_of_a_project_that_was_moved_or_copied(tmp_path: Path, start: str) -> None:
    old, new, linked = (tmp_path / name for name in ("old", "new", "linked"))
    (old / "bin").mkdir(parents=True)
    assert belongs_elsewhere(old) is None
    (old / "bin" / "qure").write_text(start.format(old) + "\n")
    assert belongs_elsewhere(old) is None
    linked.symlink_to(old)
    assert belongs_elsewhere(linked) is None
    shutil.copytree(old, new)
    assert belongs_elsewhere(new) == str(old)
    shutil.rmtree(old)
    assert belongs_elsewhere(new) == str(old)


def test_set_up_removes_cut_bytecode_and_ends_red_for_packages(site: Path, tmp_path: Path) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / ".venv" / "bin" / "python"), "-ISB", str(tmp_path / "qure" / "environment.py")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    cut, of_qure = _cut_module(site / "one", "inner"), _cut_module(tmp_path / "qure", "inner")
    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [f"removed {cut}", f"removed {of_qure}"]
    assert not cut.exists()
    assert not of_qure.exists()
    assert check().stdout == ""
    (site / "two" / "__init__.py").unlink()
    done = check()
    assert done.returncode == 1
    assert done.stdout == f"two: {site}/two/__init__.py is missing\n"


def test_set_up_names_what_is_not_installed_and_a_project_that_was_moved(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment, lock = tmp_path / ".venv", tmp_path / "lock"
    lock.write_text("one==1.0\nthree==2.0\n")
    monkeypatch.setattr(sys, "executable", str(environment / "bin" / "python"))
    monkeypatch.setattr(qure.environment, "__file__", str(tmp_path / "qure" / "environment.py"))
    monkeypatch.setattr(qure.environment, "UNLOCKED", ("two",))
    assert qure.environment.main([str(lock)]) == 1
    assert capsys.readouterr().out == "not installed: three\n"
    lock.write_text("one==1.0\n")
    assert qure.environment.main([str(lock)]) == 0
    (environment / "bin" / "qure").write_text("#!/where/it/was/.venv/bin/python\n")
    assert qure.environment.main([str(lock)]) == 1
    assert capsys.readouterr().out == f"{environment}: was made as /where/it/was/.venv\n"
