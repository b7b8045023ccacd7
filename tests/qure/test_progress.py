"""What the lines of a command look like."""

import logging

import pytest

from qure.progress import LABEL, LineHandler


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("epoch 2 of 6", "cirr: epoch 2 of 6"),
        ("cirr: epoch 2 of 6", "cirr: epoch 2 of 6"),
        ("cirr, control: empty text", "cirr, control: empty text"),
        ("cirrus: a benchmark of one's own", "cirr: cirrus: a benchmark of one's own"),
    ],
)
def test_a_label_stands_once(
    message: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LABEL, "cirr")
    LineHandler().emit(logging.LogRecord("qure", logging.INFO, __file__, 1, message, None, None))
    assert capsys.readouterr().err.partition("  ")[2] == f"{expected}\n"
