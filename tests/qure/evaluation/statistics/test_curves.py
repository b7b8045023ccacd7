"""Curves over a training: what was measured, and damaged files by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.errors import BadInput
from qure.evaluation.statistics.curves import set_sizes, training_curve

EPOCHS = [{"epoch": 0, "loss": 0.7}, {"epoch": 1, "loss": 0.6}]
MININGS = [{"epoch": 0, "negatives_size_mean": 10.5, "negatives_size_median": 9.0}]


def test_epochs_are_counted_from_one_as_people_do(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, EPOCHS)))
    (tmp_path / "summary.json").write_text(json.dumps({"minings": MININGS}))
    assert training_curve(tmp_path)[["epoch", "loss"]].to_numpy().tolist() == [[1, 0.7], [2, 0.6]]
    assert set_sizes(tmp_path).to_dict("records") == [{"epoch": 1, "mean": 10.5, "median": 9.0}]


@pytest.mark.parametrize(
    ("read", "file", "content"),
    [
        (training_curve, "history.jsonl", None),
        (training_curve, "history.jsonl", '{"epoch": 0'),
        (training_curve, "history.jsonl", '{"loss": 0.7}'),
        (training_curve, "history.jsonl", '{"epoch": "first"}'),
        (training_curve, "history.jsonl", "[1]"),
        (training_curve, "history.jsonl", "null"),
        (set_sizes, "summary.json", None),
        (set_sizes, "summary.json", "{"),
        (set_sizes, "summary.json", "{}"),
        (set_sizes, "summary.json", "[]"),
        (set_sizes, "summary.json", '{"minings": 3}'),
        (set_sizes, "summary.json", '{"minings": [{"epoch": 0}]}'),
        (set_sizes, "summary.json", '{"minings": [{"epoch": null}]}'),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(
    tmp_path: Path, read: Callable[[Path], Any], file: str, content: str | None
) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(BadInput, match=f"{file}.*Train the model again"):
        read(tmp_path)
