"""What goes from a training to the tracking server."""

from pathlib import Path
from typing import Any

from qure.negatives.statistics import metrics as mining_metrics
from qure.tracking import SilentRun


class RunObserver:
    """Logs epochs as metrics, minings with their plots, findings as tags.

    Args:
        run: an open MLflow run, or a silent one.
    """

    def __init__(self, run: SilentRun) -> None:
        self._run = run

    def epoch_done(self, record: dict[str, Any], speed: dict[str, float]) -> None:
        """Every number of the epoch's record, and its speed, at step = epoch."""
        numbers = {name: value for name, value in record.items() if isinstance(value, int | float) and name != "epoch"}
        self._run.log_metrics(numbers | speed, step=record["epoch"])

    def mined(self, epoch: int, statistics: dict[str, Any], folder: Path) -> None:
        """Where H lies and how large it is, with the plots."""
        self._run.log_metrics(mining_metrics(statistics), step=epoch)
        for plot in sorted(folder.glob("*.png")):
            self._run.log_artifact(plot, f"minings/{epoch}")

    def found(self, epoch: int, kind: str, text: str) -> None:
        """A tag that stands out in the list of runs."""
        self._run.set_tags({f"finding.{kind}": f"epoch {epoch + 1}: {text}"})
