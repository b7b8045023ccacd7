"""One benchmark's share of an evaluation, as a folder: benchmarks can be judged side by side and joined afterwards.

part.json            benchmark, the model's fingerprint, what chance scores, what validation left out
results/<benchmark>/ the model's evaluation (`qure.evaluation.statistics.results`)
controls/<control>/  the controls' evaluations; on the training set's own benchmark only
submissions/         files for the evaluation servers, where the split without answers is there
plots/               what can be drawn only while the embeddings are at hand; on the training set's own benchmark only
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qure.benchmarks import judged_on
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation, load_results, save_results
from qure.files import read_json, write_json

RESULTS, CONTROLS, SUBMISSIONS = "results", "controls", "submissions"
_SUMMARY = "part.json"
_AGAIN = "Evaluate the model again"


@dataclass(frozen=True)
class Part:
    """A model on one benchmark.

    Attributes:
        evaluation: of the model.
        controls: control -> evaluation; empty on a benchmark that the model was not trained for.
        chance: what a random order scores; empty likewise.
        dropped: how many images and queries validation's exclusions took away.
    """

    evaluation: Evaluation
    controls: Mapping[str, Evaluation]
    chance: Mapping[str, float]
    dropped: Mapping[str, int]

    @property
    def benchmark(self) -> str:
        """Which benchmark."""
        return self.evaluation.benchmark

    @property
    def model(self) -> str:
        """Fingerprint of the model."""
        return str(self.evaluation.details["model"])

    def save(self, folder: Path) -> None:
        """Writes the part into a folder that exists."""
        save_results(folder / RESULTS, [self.evaluation])
        for name, control in self.controls.items():
            control.save(folder / CONTROLS / name)
        summary = {"controls": list(self.controls), "chance": dict(self.chance), "dropped": dict(self.dropped)}
        write_json(folder / _SUMMARY, {"benchmark": self.benchmark, "model": self.model} | summary)

    @classmethod
    def load(cls, folder: Path) -> "Part":
        """Reads what `save` has written.

        Raises:
            BadInput: a file is missing or damaged.
        """
        summary = read_json(folder / _SUMMARY, remedy=_AGAIN)
        try:
            controls = {str(name): Evaluation.load(folder / CONTROLS / name) for name in summary["controls"]}
            evaluation = load_results(folder / RESULTS)[summary["benchmark"]]
            part = cls(evaluation, controls, summary["chance"], summary["dropped"])
            whole = part.model == summary["model"]
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"not a part of an evaluation: {error!r}", file=folder / _SUMMARY, remedy=_AGAIN) from None
        if not whole:
            raise BadInput("its results are of another model", file=folder / _SUMMARY, field="model", remedy=_AGAIN)
        return part


def in_order(training_set: str, parts: Sequence[Part]) -> list[Part]:
    """The parts as `qure.benchmarks.judged_on` orders their benchmarks: the training set's own first.

    Raises:
        BadInput: a benchmark is missing, there twice or not of this training set; or the parts are of several models.
    """
    wanted, found = judged_on(training_set), [part.benchmark for part in parts]
    if sorted(found) != sorted(wanted):
        raise BadInput(
            f"an evaluation of {training_set!r} is made of {', '.join(wanted)}; these are {', '.join(found)}",
            remedy="Give one part per benchmark",
        )
    models = sorted({part.model for part in parts})
    if len(models) > 1:
        raise BadInput(f"the parts are of several models: {', '.join(models)}", remedy=_AGAIN)
    return sorted(parts, key=lambda part: wanted.index(part.benchmark))
