"""The command line, called in this process as its script calls it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


class Said(NamedTuple):
    """How a command ended."""

    exit_code: int
    out: str
    err: str


@pytest.fixture
def qure(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs a command line; nothing but its own messages may come out, so a traceback fails the test that looks."""
    from qure.cli import app

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = 0
        try:
            app(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the shipped settings, as the present folder."""
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path
