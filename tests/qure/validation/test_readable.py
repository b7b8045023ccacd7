"""What is read ahead in another process is what is read in the end."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from qure.datasets.exclusions import Exclusions
from qure.errors import BadInput
from qure.validation import images
from qure.validation.readable import Reading, kept_queries


def test_it_gives_what_reading_gives(catalogue: Path) -> None:
    names = ["fashioniq", "hp-fashioniq"]
    reading = Reading(catalogue, names)
    try:
        for name in names:
            found = reading.kept(name)
            assert found
            assert found == kept_queries(catalogue, name, Exclusions())
    finally:
        reading.close()


def test_data_that_a_reader_refuses_is_left_to_be_asked_again(catalogue: Path, tmp_path: Path) -> None:
    for part in ("captions", "image_splits"):
        shutil.copytree(catalogue / "fashioniq" / part, tmp_path / "fashioniq" / part)
    file = tmp_path / "fashioniq" / "captions" / "cap.dress.val.json"
    file.write_text(json.dumps([{"candidate": "x"}]))
    reading = Reading(tmp_path, ["fashioniq"])
    try:
        assert reading.kept("fashioniq") is None
    finally:
        reading.close()
    with pytest.raises(BadInput, match=r"cap\.dress\.val\.json: row 0|cap\.dress\.val\.json, row 0"):
        kept_queries(tmp_path, "fashioniq", Exclusions())


def test_a_killed_process_is_no_answer(catalogue: Path) -> None:
    reading = Reading(catalogue, ["fashioniq"])
    for process in list(reading._pool._processes.values()):
        os.kill(process.pid or 0, signal.SIGKILL)
    try:
        assert reading.kept("fashioniq") is None
    finally:
        reading.close()


def test_with_processes_a_validation_says_the_same(new_workplace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = new_workplace()
    wanted = plain.validate("fashioniq")
    monkeypatch.setattr(images, "_WORTH_PROCESSES", 1)
    monkeypatch.setattr("qure.validation.check.kept_queries", _asked_again)
    place = new_workplace()
    assert place.validate("fashioniq", workers=2)["queries"] == wanted["queries"]


def test_what_is_tolerated_is_left_out_of_what_was_read_ahead(
    new_workplace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_WORTH_PROCESSES", 1)
    place = new_workplace()
    place.edit("fashioniq/captions/cap.dress.val.json", lambda rows: rows[0].update(captions=[".", " "]))
    result = place.validate("fashioniq", workers=2, tolerate={"empty_text": 1})
    assert result["queries"]["fashioniq/val"] == {"rows": 60, "kept": 59}


def _asked_again(*_: object) -> dict[str, dict[str, int]]:
    raise AssertionError("nothing is left out, so nothing is to be read a second time")
