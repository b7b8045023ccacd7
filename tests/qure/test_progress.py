"""What the lines of a command look like."""

import logging

import pytest

from qure import progress
from qure.progress import LABEL, LineHandler, track


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


def test_where_no_bar_is_seen_a_line_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SPOKEN_SECONDS", 0.0)
    with caplog.at_level("INFO", "qure"):
        assert list(track([1, 2], "reading")) == [1, 2]
    assert [record.message for record in caplog.records] == ["reading: 1 of 2", "reading: 2 of 2"]


def test_quick_work_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "qure"):
        list(track(range(1000), "reading"))
    assert caplog.records == []


def test_a_line_that_cannot_be_written_ends_no_stage(capsys: pytest.CaptureFixture[str]) -> None:
    LineHandler().emit(logging.LogRecord("qure", logging.INFO, __file__, 1, "step %d", ("one",), None))
    said = capsys.readouterr().err
    assert "--- Logging error ---" in said
    assert "step %d" in said
