"""What people read on MLflow's pages: the kind and note of an experiment, names and notes of runs, headline numbers.

MLflow's own tags are what its pages show: `mlflow.note.content` as a description (Markdown), `mlflow.experimentKind`
so that nobody is asked what kind of experiment this is.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

NOTE, KIND = "mlflow.note.content", "mlflow.experimentKind"
#: What MLflow's page calls "Machine learning".
MODEL_DEVELOPMENT = "custom_model_development"

EXPERIMENT_NOTE = (
    "Composed-image retrieval with QuRe: a picture and a sentence that changes it find pictures.\n\n"
    "One run per **pipeline run**, named by training sets, day and code commit. Its metrics are the headline numbers "
    "with their intervals (`_low`, `_high`), its parameters what people vary: select two and press *Compare*. "
    "Below it, one run per **stage** (validate, precompute, train, evaluate, register, promote) with everything "
    "that the stage measured.\n\n"
    "Trained models are versions of the registered models `qure-fashioniq` and `qure-cirr`; each version's "
    "description is its model card."
)

#: Stage -> the parameters that a pipeline run shows: what people vary to compare.
VARIED: Mapping[str, Sequence[str]] = {
    "backbone": ("backbone.name", "backbone.pretraining.steps", "backbone.pretraining.seed"),
    "train": (
        "recipe",
        "seed",
        "epochs",
        "batch_size",
        "learning_rate",
        "loss",
        "temperature_value",
        "negatives.strategy",
        "negatives.rule",
        "negatives.search_window",
        "negatives.top_k",
    ),
    "evaluate": ("evaluation.gallery_protocol",),
}

#: What a pipeline run shows of an evaluation, where it was measured: each with its interval.
HEADLINE = ("recall_at_10", "recall_at_50", "ndcg_at_10", "map_at_10", "agreement")

_STAGES = {
    "validate": "Checks annotations and images. Its report: artifacts, `validation/data_docs/index.html`.",
    "backbone": "Makes or imports the image tower and the Q-Former that training starts from.",
    "precompute": "Computes the frozen image features once.",
    "train": "Trains QuRe with hard negatives on the frozen features. Curves: *Model metrics*.",
    "evaluate": "Judges the model on its benchmarks, with intervals and controls. Its report: artifacts, "
    "`evaluation/report.html`.",
    "register": "Packages the model and makes it a version in the registry; the version's description is its card.",
    "promote": "Decides whether the version becomes champion. The decision: artifacts, `promotion.json`, and the tag "
    "`qure.promotion.reason`.",
    "ablate": "Trains and judges several kinds of negatives side by side. Its page: artifacts, `ablation/`.",
}


def stage_note(stage: str) -> str:
    """What a stage's run is, and where its report lies; empty for an unknown stage."""
    return _STAGES.get(stage, "")


def stage_name(stage: str, training_set: str | None, run_key: str | None) -> str:
    """A stage run's name.

    >>> stage_name("train", "cirr", None), stage_name("backbone", "shared", None)
    ('train cirr', 'backbone')
    """
    return " ".join(part for part in (stage, training_set, run_key) if part and part != "shared")


def pipeline_name(training_sets: Iterable[str], begun: datetime, commit: str) -> str:
    """A pipeline run's name: what it trained, when it began, on which code.

    >>> pipeline_name(["fashioniq", "cirr", "fashioniq"], datetime(2026, 11, 27, 9, 5), "a1b2c3d4" * 5 + "+12345678")
    'cirr, fashioniq · 2026-11-27 09:05 · a1b2c3d+'
    """
    sets = ", ".join(sorted({name for name in training_sets if name and name != "shared"}))
    code, changed, _ = commit.partition("+")
    return " · ".join(part for part in (sets, f"{begun:%Y-%m-%d %H:%M}", f"{code[:7]}{changed}") if part)


def pipeline_note(data: str, commit: str) -> str:
    """What a pipeline run is."""
    changed = ", with changes that were not committed" if "+" in commit else ""
    return (
        "One run of the whole pipeline: validate, precompute, train, evaluate, register, promote. Its stages are "
        "below it; open them with the + before its name in the runs table.\n\n"
        f"- **code**: commit `{commit}`{changed}\n"
        f"- **data**: `{data or 'unknown'}`\n"
        "- **numbers**: percent; `_low` and `_high` bound the 95 % interval over queries\n"
        "- **reports**: in the artifacts of *evaluate* (`evaluation/report.html`) and *validate*"
    )


def varied(stage: str, training_set: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a stage that its pipeline run shows, by the names that they have there.

    Args:
        parameters: flat, of the stage.

    >>> varied("train", "cirr", {"epochs": 6, "weight_decay": 0.05})
    {'cirr.epochs': 6}
    """
    prefix = f"{training_set}." if training_set and training_set != "shared" else ""
    return {f"{prefix}{key}": parameters[key] for key in VARIED.get(stage, ()) if key in parameters}


def headline(metrics: Mapping[str, Mapping[str, Any]], intervals: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The headline numbers of an evaluation, with both ends of their intervals.

    Args:
        metrics: benchmark -> metric -> percent, as in metrics.json.
        intervals: the same -> (low, high), as in intervals.json.

    >>> headline({"cirr": {"recall_at_10": 40.0, "queries": 9}}, {"cirr": {"recall_at_10": [38.0, 42.0]}})
    {'cirr/recall_at_10': 40.0, 'cirr/recall_at_10_low': 38.0, 'cirr/recall_at_10_high': 42.0}
    """
    found: dict[str, float] = {}
    for benchmark, values in metrics.items():
        for name in HEADLINE:
            if benchmark == "controls" or not isinstance(values.get(name), int | float):
                continue
            found[f"{benchmark}/{name}"] = float(values[name])
            if bounds := intervals.get(benchmark, {}).get(name):
                found[f"{benchmark}/{name}_low"], found[f"{benchmark}/{name}_high"] = map(float, bounds)
    return found
