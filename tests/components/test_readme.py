"""Every component has one anatomy, and a README that says what its docstring says."""

import inspect
from pathlib import Path

import pytest

from components import readme

ROOT = Path(readme.__file__).parent
NAMES = readme.names()


def test_all_components_of_the_configuration_are_there() -> None:
    from typing import get_args

    from pipelines.config import TaskName

    assert set(get_args(TaskName)) == set(NAMES)


def test_all_readmes_are_current() -> None:
    assert readme.outdated() == []


@pytest.mark.parametrize("name", NAMES)
def test_every_port_is_described(name: str) -> None:
    for line in readme.readme(name).splitlines():
        if line.startswith("| `"):
            assert len(line.split("|")[3].strip()) > 5, line


@pytest.mark.parametrize("name", NAMES)
def test_a_component_calls_the_library_and_says_where(name: str) -> None:
    text = readme.readme(name)
    assert "Library: `" in text
    for path in [part.split("`")[1] for part in text.split(" in ")[1:] if part.startswith("`qure/")]:
        assert (ROOT.parent / path).is_file(), path


@pytest.mark.parametrize("name", NAMES)
def test_a_component_is_thin(name: str) -> None:
    body = inspect.getsource(readme.component(name).python_func).split('"""')[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 45
    assert "from qure" not in (ROOT / name / "component.py").read_text().split("@dsl.component")[0]


def test_a_stale_readme_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    component = readme.component("find_champion")
    monkeypatch.setattr(component.python_func, "__doc__", component.python_func.__doc__ + "\n    More.")
    monkeypatch.setattr(component.python_func, "__doc__", "Something else.\n\n    Args:\n        params: Text.\n    ")
    assert "find_champion" in readme.outdated()


def test_stale_readmes_are_named_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text((ROOT / name / "README.md").read_text())
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "names", lambda: NAMES)
    assert readme.main(["--check"]) == 0
    file = tmp_path / "find_champion" / "README.md"
    file.write_text("older")
    assert readme.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("components/find_champion/README.md is not current: run `python -m")
    assert readme.main([]) == 0
    assert file.read_text() == (ROOT / "find_champion" / "README.md").read_text()
