"""`qure-pipelines` where the library was installed without a checkout."""

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from qure.cli import pipelines


def _importing(result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> Any:
        if isinstance(result, Exception):
            raise result
        return SimpleNamespace(app=result)

    monkeypatch.setattr(importlib, "import_module", found)


@pytest.mark.parametrize("absent", ["pipelines", "pipelines.cli"])
def test_without_the_pipelines_it_says_where_they_are(
    absent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _importing(ModuleNotFoundError("no module", name=absent), monkeypatch)
    with pytest.raises(SystemExit) as end:
        pipelines.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "Clone qure's repository and run `make setup` there" in said


def test_another_module_that_is_missing_is_no_missing_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    _importing(ModuleNotFoundError("No module named 'kfp'", name="kfp"), monkeypatch)
    with pytest.raises(ModuleNotFoundError, match="kfp"):
        pipelines.main()


def test_the_checkout_s_commands_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[bool] = []
    _importing(lambda: run.append(True), monkeypatch)
    pipelines.main()
    assert run == [True]
