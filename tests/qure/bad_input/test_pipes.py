"""A named pipe in a file's place would be waited for without end: every reader says what it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.errors import BadInput


def _settings(file: Path) -> Any:
    from qure.config import Settings

    return Settings.load(file)


def _strategy(file: Path) -> Any:
    from qure.strategies import read_code

    return read_code(f"{file.name}:near", file.parent)


def _reference(file: Path) -> Any:
    from qure.serving.searcher import _file_bytes

    return _file_bytes(file)


def _submission(file: Path) -> Any:
    from qure.evaluation.submissions.checks import benchmark_of

    return benchmark_of(file)


def _annotations(file: Path) -> Any:
    from qure.datasets.rows import load_json

    return load_json(file)


def _table(file: Path) -> Any:
    from qure.files import read_parquet

    return read_parquet(file)


def _text(file: Path) -> Any:
    from qure.files import read_text

    return read_text(file)


def _weights(file: Path) -> Any:
    from qure.models.weights import read_pth

    return read_pth(file)


def _tensors(file: Path) -> Any:
    from qure.models.folder import _read_tensors

    return _read_tensors(file)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "read",
    [_settings, _strategy, _reference, _submission, _annotations, _table, _text, _weights, _tensors],
    ids=lambda read: read.__name__,
)
def test_a_pipe_is_no_file(read: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    os.mkfifo(file)
    with pytest.raises(BadInput, match=r"file\.py: this is a named pipe, not a file"):
        read(file)
