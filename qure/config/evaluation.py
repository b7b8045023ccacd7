"""How models are judged, and when one becomes champion."""

from typing import Literal

from pydantic import Field, field_validator

from qure.benchmarks import get_benchmark, training_sets
from qure.config.base import Frozen, Seed, TrainingSetName


class EvaluationSettings(Frozen):
    """How models are judged (owner: `qure.evaluation`).

    Attributes:
        gallery_protocol: FashionIQ's gallery: "original" (a category's whole split, as QuRe reports) or "val" (the
            split's references and targets only, as many papers do; easier).
        caption_order: the order of HP-FashionIQ's two captions behind its numbers: "file" (as published, half of them
            exchanged against FashionIQ), "exchanged", or "fashioniq" (as FashionIQ joins them). The other order's
            numbers are reported beside them.
        bootstrap_samples: resamples behind every interval.
        confidence: of the intervals.
        seed: of the resamples and of the shuffled references.
        batch_size: queries or images encoded at once.
    """

    gallery_protocol: Literal["original", "val"] = "original"
    # Left out where it says nothing, as `exclude_leaked`.
    caption_order: Literal["file", "exchanged", "fashioniq"] = Field("file", exclude_if=lambda chosen: chosen == "file")
    bootstrap_samples: int = Field(1000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: Seed = 0
    batch_size: int = Field(64, ge=1)


class PromotionSettings(Frozen):
    """When a challenger becomes champion (owner: `qure.registry`; qure/registry/comparison.py explains the rule).

    Attributes:
        required: whether a pipeline run in which the challenger is not promoted fails.
        thresholds: training set -> "<benchmark>/<metric>", or a metric of its own benchmark -> least value in percent.
        compare: training set -> metric of its own benchmark by which challenger and champion are compared.
        max_risk: largest share of bootstrap resamples in which the challenger may be worse than the champion. 0.5: it
            wins at least half; 0.05: it must be significantly better; 0.95: it must not be significantly worse, and
            small losses add up: 20 promotions of models each 0.3 points worse would cost 5 points (0.5: half a point),
            if `max_loss` did not end it. At least 1 / (2 (`evaluation.bootstrap_samples` + 1)), which is the least
            that the bootstrap can tell; 1: every challenger passes.
        max_loss: percentage points that a challenger may measure below the best champion of the window.
        window: how many changes of champion are looked back on for that.
        held_back: share of the queries that decide nothing, chosen by their ids: reports show what the champion, which
            was chosen on the others, measures there.
        environment: where a challenger must answer its example: "installed", in a fresh interpreter from the package's
            own code; or "own", in a virtual environment made from the package's requirements (needs a package index).
        confidence: of the interval that is reported with the comparison.
        refuse_collapsed: whether a model whose relevances are level, or that answers all queries alike, is refused
            whatever its numbers are. Only trials of the pipeline itself, with a model that cannot learn, want false.
    """

    required: bool = False
    refuse_collapsed: bool = True
    thresholds: dict[TrainingSetName, dict[str, float]] = {}
    compare: dict[TrainingSetName, str] = Field({}, validate_default=True)
    max_risk: float = Field(0.5, gt=0, le=1)
    max_loss: float = Field(1.0, ge=0)
    window: int = Field(20, ge=1)
    held_back: float = Field(0.0, ge=0, le=0.5)
    environment: Literal["installed", "own"] = "installed"
    confidence: float = Field(0.95, gt=0, lt=1)

    @field_validator("compare")
    @classmethod
    def _with_defaults(cls, compare: dict[TrainingSetName, str]) -> dict[TrainingSetName, str]:
        own = {name: str(get_benchmark(name).compared_by) for name in training_sets()}
        return own | compare
