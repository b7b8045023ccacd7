"""Curves as tables, for `dvc plots`: recall at every depth, loss over a training, size of the hard-negative sets."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation
from qure.files import read_json

#: Deepest rank of a curve.
DEPTH = 50

#: What a training's curve shows of each epoch, where the training measured it.
EPOCH_COLUMNS = ("loss", "pair_accuracy", "temperature", "held_out_recall_at_10")


def recall_curve(evaluation: Evaluation, depth: int = DEPTH) -> NDArray[np.float64]:
    """Recall at 1, 2, ..., `depth` in percent; the mean over categories where the evaluation has them.

    Args:
        evaluation: one whose per-query table has the target's `rank`.
        depth: how far.
    """
    table = evaluation.per_query
    groups = [own for _, own in table.groupby(evaluation.strata)] if evaluation.strata else [table]
    ranks = np.arange(1, depth + 1)
    curves = [(own["rank"].to_numpy()[:, None] <= ranks).mean(axis=0) for own in groups]
    return np.asarray(100.0 * np.mean(curves, axis=0), dtype=np.float64)


def training_curve(training: Path) -> pd.DataFrame:
    """Loss and its company over a training: `epoch` (from 1) and those of `EPOCH_COLUMNS` that were measured.

    Args:
        training: the training stage's folder.

    Raises:
        BadInput: its history is missing or damaged.
    """
    file = Path(training) / "history.jsonl"
    try:
        records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        columns = [name for name in EPOCH_COLUMNS if any(name in record for record in records)]
        return pd.DataFrame(
            [{"epoch": one["epoch"] + 1, **{name: one.get(name) for name in columns}} for one in records]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"not a whole training history: {error!r}", file=file, remedy="Train the model again") from None


def set_sizes(training: Path) -> pd.DataFrame:
    """Size of the hard-negative sets at every mining (figure 5 of the paper): `epoch` (from 1), `mean`, `median`.

    Args:
        training: the training stage's folder.

    Raises:
        BadInput: its summary is missing or damaged.
    """
    file = Path(training) / "summary.json"
    try:
        minings = [
            (one["epoch"] + 1, one["negatives_size_mean"], one["negatives_size_median"])
            for one in read_json(file, remedy="Train the model again")["minings"]
        ]
    except (KeyError, TypeError) as error:
        raise BadInput(f"not a whole training summary: {error!r}", file=file, remedy="Train the model again") from None
    return pd.DataFrame(minings, columns=["epoch", "mean", "median"])
