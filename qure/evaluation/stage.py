"""The evaluate stage: judges a trained model on the benchmarks of its training set.

metrics.json             {"fashioniq": {...}, "hp_fashioniq": {...}, "controls": {...}}, percent, for `dvc metrics`
intervals.json           the same keys -> [low, high]
comparisons.json         paired differences: the model against each control, and against the champion
results/<benchmark>/     per-query results (`qure.evaluation.results`), which promotion pairs
plots/recall_curve.csv   recall at every depth, for `dvc plots`
submissions/             files for the evaluation servers, where the splits without answers are there
report.html, summary.md
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qure.config import JUDGED_ON, EvaluationSettings, Settings
from qure.evaluation.controls import chance, run_controls
from qure.evaluation.encoding import Encoder
from qure.evaluation.outcome import Numbers, Outcome
from qure.evaluation.report import ReportInputs, write_report
from qure.evaluation.results import Evaluation, load_results, save_results
from qure.evaluation.tasks import Source, Task, task_for
from qure.evaluation.withheld import submit
from qure.features.store import FeatureStore, read_index
from qure.files import atomic_folder, fingerprint, read_json, write_json
from qure.models.folder import read_manifest
from qure.models.model import QureModel
from qure.models.precision import default_device
from qure.tracking import data_fingerprint, pipeline_run_id, stage_run

logger = logging.getLogger(__name__)

#: The metric that the log tells, and that controls are compared by there.
MAIN_METRIC = "recall_at_10"
LOGGED = ("metrics.json", "intervals.json", "comparisons.json", "report.html", "summary.md")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Folders that the stage reads; see `evaluate`."""

    data: Path
    features: Mapping[str, Path]
    model: Path
    backbone: Path | None
    training: Path | None
    validation: Path | None
    champion: Path | None
    device: str


def evaluate(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    features: Mapping[str, Path],
    model: Path,
    output: Path,
    backbone: Path | None = None,
    training: Path | None = None,
    validation: Path | None = None,
    champion: Path | None = None,
    device: str | None = None,
) -> dict[str, Numbers]:
    """Evaluates a model and writes the folder described above, whole or not at all.

    Args:
        settings: `evaluation` and `tracking` are read.
        training_set: "fashioniq" or "cirr": which benchmarks judge it (`config.JUDGED_ON`).
        data: data root.
        features: image set -> feature store, computed with the model's vision tower.
        model: model folder.
        output: folder to write.
        backbone: what training started from; None leaves the untrained control out.
        training: training folder, for the report.
        validation: validation folder; what it excludes is left out.
        champion: evaluation folder of the champion, for paired comparison; None where there is none.
        device: where to compute; the GPU when there is one.

    Returns:
        what metrics.json holds.

    Raises:
        BadInput: files of data, features or model are missing, damaged or do not fit together.
        StageFailed: the model gives numbers that are not finite.
    """
    inputs = Inputs(
        Path(data), features, model, backbone, training, validation, champion, str(device or default_device())
    )
    fingerprints = {"data": data_fingerprint(data), "model": str(read_manifest(model)["fingerprint"])}
    with stage_run(
        settings.tracking,
        stage="evaluate",
        training_set=training_set,
        parameters={"evaluation": settings.evaluation.model_dump(mode="json")},
        inputs=fingerprints,
        pipeline=pipeline_run_id(settings.model_dump(mode="json"), fingerprints["data"]),
    ) as run:
        with atomic_folder(Path(output)) as folder:
            outcome, tasks = _judged(settings.evaluation, training_set, inputs, folder)
            _write(outcome, tasks, settings.evaluation, training_set, inputs, folder)
        run.log_metrics(_flat(outcome.metrics()))
        for name in LOGGED:
            run.log_artifact(Path(output) / name, "evaluation")
    return outcome.metrics()


def write_again(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    evaluation: Path,
    output: Path,
    training: Path | None = None,
    champion: Path | None = None,
) -> None:
    """Draws the report of a finished evaluation anew, beside another evaluation (`champion`) where there is one.

    Raises:
        BadInput: an evaluation is missing or damaged.
    """
    found = load_results(Path(evaluation) / "results")
    others = load_results(Path(champion) / "results") if champion is not None else {}
    report = ReportInputs(
        title=f"qure-{training_set}",
        evaluations=[found[benchmark] for benchmark in JUDGED_ON[training_set]],
        data=data,
        settings=settings.evaluation,
        controls=read_json(Path(evaluation) / "metrics.json")["controls"],
        champion=list(others.values()),
        training=training,
    )
    output.mkdir(parents=True, exist_ok=True)
    write_report(report, output)


def _judged(
    settings: EvaluationSettings, training_set: str, inputs: Inputs, folder: Path
) -> tuple[Outcome, list[Task]]:
    scratch = folder / ".scratch"
    scratch.mkdir()
    model = QureModel.load(inputs.model, inputs.device, vision=False)
    stores = {name: FeatureStore.open(path, model.vision_fingerprint) for name, path in inputs.features.items()}
    trained = Encoder(model, stores, settings.batch_size, scratch)
    untrained = None
    if inputs.backbone is not None:
        backbone = QureModel.load(inputs.backbone, inputs.device, vision=False)
        untrained = Encoder(backbone, stores, settings.batch_size, scratch)
    source = Source(inputs.data, inputs.validation, settings, inputs.device, ImageDigests(inputs.features))
    tasks = [task_for(benchmark, source) for benchmark in JUDGED_ON[training_set]]
    identity = {"model": read_manifest(inputs.model)["fingerprint"]}
    evaluations: list[Evaluation] = []
    controls: dict[str, Evaluation] = {}
    for task in tasks:
        gallery = trained.gallery(task.image_set, task.images, task.benchmark)
        found = task.judge(trained.queries(task.image_set, task.questions, task.benchmark), gallery)
        evaluations.append(replace(found, details={**found.details, **identity}))
        if task is tasks[0]:
            controls = run_controls(task, trained, gallery, untrained, settings.seed)
        submit(task.benchmark, trained, gallery, source, folder / "submissions")
    shutil.rmtree(scratch)
    champion = load_results(inputs.champion / "results") if inputs.champion is not None else {}
    return Outcome(evaluations, controls, chance(tasks[0]), champion), tasks


class ImageDigests:
    """Digest of images' bytes by image set and ids, from what the feature stores were computed from."""

    def __init__(self, features: Mapping[str, Path]) -> None:
        self._of: dict[str, dict[str, str]] = {}
        for name, path in features.items():
            index = read_index(path)
            self._of[name] = dict(zip(index["id"], index["sha256"], strict=True))

    def __call__(self, image_set: str, ids: Sequence[str]) -> str:
        """An image without features counts as empty here: encoding names it as missing."""
        return fingerprint([[one, self._of[image_set].get(one, "")] for one in sorted(ids)])


def _write(
    outcome: Outcome,
    tasks: Sequence[Task],
    settings: EvaluationSettings,
    training_set: str,
    inputs: Inputs,
    folder: Path,
) -> None:
    metrics, comparisons = outcome.metrics(), outcome.comparisons(settings)
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "intervals.json", outcome.intervals())
    write_json(folder / "comparisons.json", comparisons)
    save_results(folder / "results", outcome.evaluations)
    (folder / "plots").mkdir()
    outcome.recall_curves().to_csv(folder / "plots" / "recall_curve.csv", index=False)
    report = ReportInputs(
        title=f"qure-{training_set}",
        evaluations=outcome.evaluations,
        data=inputs.data,
        settings=settings,
        controls=metrics["controls"],
        champion=list(outcome.champion.values()),
        training=inputs.training,
        excluded={task.benchmark: task.dropped for task in tasks},
    )
    write_report(report, folder)
    _say(outcome, comparisons["controls"])


def _say(outcome: Outcome, controls: Mapping[str, Numbers]) -> None:
    """Says what a reader must not miss: a control that the model does not beat, a champion that was asked otherwise."""
    for one in outcome.evaluations:
        if outcome.champion and not outcome.is_comparable(one):
            logger.warning("the champion was not evaluated on the same %s data: no comparison", one.benchmark)
    main = outcome.evaluations[0]
    logger.info("%s: %s %.2f", main.benchmark, MAIN_METRIC, main.metrics[MAIN_METRIC])
    for control, results in controls.items():
        found = results[MAIN_METRIC]
        if found["low"] <= 0.0:
            logger.warning(
                "%s: %s is %.2f, and %.2f with the control %s: the difference may be chance (%.2f to %.2f)",
                main.benchmark,
                MAIN_METRIC,
                found["a"],
                found["b"],
                control,
                found["low"],
                found["high"],
            )


def _flat(metrics: Mapping[str, Numbers], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": float(value)}
    return flat
