"""What a training says about itself: one record per epoch, and loud words when it has stopped learning."""

from pathlib import Path
from typing import Any, Protocol

from qure.negatives.statistics import metrics as mining_metrics
from qure.training.mining import Mined
from qure.training.speed import Speed
from qure.training.state import RunState

#: Beyond these a run has stopped learning: nearly every pair is won, or scores are stretched without end.
WON_PAIRS, LOW_TEMPERATURE = 0.995, 0.01
RECALL = "held_out_recall_at_10"


class Observer(Protocol):
    """Who is told about a run (MLflow)."""

    def epoch_done(self, record: dict[str, Any], speed: dict[str, float]) -> None:
        """An epoch has ended; called again for the same epoch when a killed run repeats it."""

    def mined(self, epoch: int, statistics: dict[str, Any], folder: Path) -> None:
        """A mining has ended; `folder` holds its plots."""

    def found(self, epoch: int, kind: str, text: str) -> None:
        """Something that the user must hear."""


def epoch_record(
    state: RunState, mined: Mined | None, *, temperature: float, learning_rate: float, steps_taken: int
) -> dict[str, Any]:
    """An epoch's line in history.jsonl: everything in it is the same in an interrupted run.

    Keys: epoch (0-based), steps (optimizer steps since the start), triplets, loss, pair_accuracy, pairs_per_query,
    temperature, learning_rate, left_out_steps (by loss scaling, since the start), mining (the epoch before which
    the sets in force were mined; None: warm-up, the whole corpus) and, after a mining, `negatives_*`.
    """
    return {
        "epoch": state.epoch,
        "steps": state.step,
        "triplets": state.triplets,
        "loss": state.loss,
        "pair_accuracy": state.pair_accuracy,
        "pairs_per_query": state.sums[2] / state.triplets,
        "temperature": temperature,
        "learning_rate": learning_rate,
        "left_out_steps": state.step - steps_taken,
        "mining": state.mining["epoch"] if state.mining else None,
        **(mining_metrics(mined.statistics) if mined and mined.statistics else {}),
    }


def epoch_findings(record: dict[str, Any], *, learned_temperature: bool) -> list[tuple[str, str]]:
    """(kind, sentence) of what is wrong after an epoch.

    >>> epoch_findings({"pair_accuracy": 0.9, "temperature": 0.05}, learned_temperature=True)
    []
    >>> epoch_findings({"pair_accuracy": 0.999, "temperature": 0.005}, learned_temperature=True)[1][0]
    'temperature'
    """
    found = []
    if record["pair_accuracy"] > WON_PAIRS:
        found.append(
            (
                "pair_accuracy",
                f"{record['pair_accuracy']:.2%} of all pairs are won, so the run has stopped learning: its negatives "
                "are too easy. Set negatives.search_window or shared_negatives",
            )
        )
    if learned_temperature and record["temperature"] < LOW_TEMPERATURE:
        found.append(
            (
                "temperature",
                f"the temperature has fallen to {record['temperature']:.4f}, so the run has stopped learning: pairs "
                "are won by stretching scores. Set temperature to fixed",
            )
        )
    return found


def epoch_line(record: dict[str, Any], speed: Speed) -> str:
    """An epoch in one line of the log."""
    parts = [
        f"loss {record['loss']:.4f}",
        f"pairs won {record['pair_accuracy']:.4f}",
        f"temperature {record['temperature']:.4f}",
    ]
    if RECALL in record:
        parts.append(f"held-out recall@10 {record[RECALL]:.4f}")
    return ", ".join([*parts, str(speed)])
