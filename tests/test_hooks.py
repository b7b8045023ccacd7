"""Hooks before a commit are the environment's own programs: nothing is downloaded. They ask what `make lint` asks."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def hooks() -> list[dict[str, Any]]:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    return list(repositories[0]["hooks"])


def test_hooks_run_what_is_installed(hooks: list[dict[str, Any]]) -> None:
    for hook in hooks:
        assert hook["language"] == "system"
        assert (ROOT / shlex.split(hook["entry"])[0]).exists()


def test_hooks_ask_what_lint_asks(hooks: list[dict[str, Any]]) -> None:
    lint = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    asked = set(re.findall(r"\$\(BIN\)/([\w-]+(?: check| format)?)", lint))
    assert {" ".join(shlex.split(hook["entry"])[: 1 + ("ruff" in hook["entry"])]) for hook in hooks} >= {
        f".venv/bin/{command}" for command in asked
    }
