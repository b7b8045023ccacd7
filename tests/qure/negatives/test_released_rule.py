"""The released rule's own answers. QURE_MINING_GOLDEN names the .npz; a JSON of the same name lies beside it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import NegativeSettings
from qure.negatives.mining import negatives_from_scores

GOLDEN = Path(
    os.environ.get("QURE_MINING_GOLDEN")
    or Path(__file__).resolve().parents[4] / "shared" / "reference" / "mining-golden.npz"
)
DESCRIPTION = GOLDEN.with_suffix(".json")

if not GOLDEN.is_file():
    pytest.skip(f"needs {GOLDEN.name}: set QURE_MINING_GOLDEN to it", allow_module_level=True)

DESCRIBED: dict[str, Any] = json.loads(DESCRIPTION.read_text())
ARRAYS = dict(np.load(GOLDEN, allow_pickle=False))
CATEGORIES = [name for name in DESCRIBED["cases"] if f"{name}.image_id" in ARRAYS]
PLAIN_CASES = [name for name in DESCRIBED["cases"] if name not in CATEGORIES]
SETTINGS = NegativeSettings(rule="reference", consecutive_threshold=DESCRIBED["threshold"])


def test_every_array_belongs_to_a_case_that_is_tested() -> None:
    """A file with other cases than these must not pass by being skipped."""
    assert {name.rsplit(".", 1)[0] for name in ARRAYS} == set(PLAIN_CASES) | set(CATEGORIES)
    assert PLAIN_CASES


@pytest.mark.parametrize("case", PLAIN_CASES)
def test_cirr_rows(case: str) -> None:
    """Ranges and sets of every defined row; rows without a range fall back instead."""
    scores = torch.from_numpy(np.atleast_2d(ARRAYS[f"{case}.scores"]))
    targets = torch.from_numpy(np.atleast_1d(ARRAYS[f"{case}.target"]))
    start, end = np.atleast_1d(ARRAYS[f"{case}.start"]), np.atleast_1d(ARRAYS[f"{case}.end"])
    selected = ARRAYS[f"{case}.selected"]
    offsets = ARRAYS.get(f"{case}.offsets", np.array([0, len(selected)]))

    hard, chosen = negatives_from_scores(scores, targets, SETTINGS)

    np.testing.assert_array_equal(chosen.start.numpy(), start)
    np.testing.assert_array_equal(chosen.end.numpy(), end)
    if f"{case}.target_rank" in ARRAYS:
        np.testing.assert_array_equal(chosen.target_ranks.numpy(), ARRAYS[f"{case}.target_rank"])
    np.testing.assert_array_equal(chosen.fallback.numpy() > 0, start < 0)
    for row in np.flatnonzero(start >= 0).tolist():
        np.testing.assert_array_equal(hard.of(row), selected[offsets[row] : offsets[row + 1]])


@pytest.mark.parametrize("case", CATEGORIES)
def test_fashioniq_rows(case: str) -> None:
    """One corpus per category, with copies: sets of distinct images without the target."""
    image, category = ARRAYS[f"{case}.image_id"], ARRAYS[f"{case}.category"]
    start, end, usable = (ARRAYS[f"{case}.{name}"] for name in ("start", "end", "usable"))
    selected, offsets = ARRAYS[f"{case}.selected"], ARRAYS[f"{case}.offsets"]
    checked = 0
    for one in np.unique(category):
        columns = np.flatnonzero(category == one)
        shown = image[columns]
        scores = torch.from_numpy(ARRAYS[f"{case}.scores"][np.ix_(columns, columns)])
        targets = torch.tensor([int(np.argmax(shown == shown[row])) for row in range(len(columns))])

        hard, chosen = negatives_from_scores(scores, targets, SETTINGS, images=torch.from_numpy(shown))

        for row, query in enumerate(columns):
            if not usable[query]:
                continue
            assert (int(chosen.start[row]), int(chosen.end[row])) == (start[query], end[query])
            wanted = selected[offsets[query] : offsets[query + 1]]
            if len(wanted):
                np.testing.assert_array_equal(np.sort(shown[hard.of(row)]), wanted)
                assert chosen.fallback[row] == 0
            else:
                assert chosen.fallback[row] > 0
            checked += 1
    assert checked == usable.sum() > 0
