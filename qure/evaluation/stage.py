"""The evaluate stage: judges a trained model on the benchmarks of its training set.

`evaluate` does it at one go. `evaluate_benchmark` judges on one of the benchmarks, so that they can run side by side,
and `join_evaluations` makes of these parts the same folder:

metrics.json             {"fashioniq": {...}, "hp_fashioniq": {...}, "controls": {...}}, percent, for `dvc metrics`
intervals.json           the same keys -> [low, high]
comparisons.json         paired differences: the model against each control, and against the champion
results/<benchmark>/     per-query results (`qure.evaluation.statistics.results`), which promotion pairs
plots/recall_curve.csv   recall at every depth, for `dvc plots`
plots/loss.csv           loss and pair accuracy of every epoch of the training, likewise
plots/set_size.csv       size of the hard-negative sets at every mining, likewise
plots/retrieval.png      a few queries with their ten best candidates
plots/steep-drops.png    sorted relevance of typical queries with the two steep drops
plots/hard-negatives.json  what lies between these drops, for the report
submissions/             files for the evaluation servers, where the splits without answers are there
findings.json            what is wrong: a collapse, a control that the model does not beat (`qure.evaluation.findings`)
report.html, summary.md, model_card.md
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from qure.benchmarks import get_benchmark, image_sets_of, judged_on
from qure.config import EvaluationSettings, Settings
from qure.datasets.truth import read_truth
from qure.datasets.validated import require_validated
from qure.errors import BadInput
from qure.evaluation.findings import METRIC, Finding, findings_of, read_findings, write_findings
from qure.evaluation.joint import JointEvaluation, Numbers
from qure.evaluation.judging import Inputs, judge_part
from qure.evaluation.parts import RESULTS, SUBMISSIONS, Part, in_order
from qure.evaluation.provenance import provenance_of, stamped_copies
from qure.evaluation.report import PLOTS
from qure.evaluation.report.figures import draw_retrieval
from qure.evaluation.report.page import ReportInputs, write_report
from qure.evaluation.statistics.curves import set_sizes, training_curve
from qure.evaluation.statistics.results import load_results
from qure.files import atomic_folder, read_json, write_json
from qure.models.manifest import read_manifest
from qure.models.precision import default_device
from qure.scratch import alone
from qure.tracking import SilentRun, data_fingerprint, pipeline_run_id, stage_run, tracking_uri
from qure.tracking.pages import headline

logger = logging.getLogger(__name__)

LOGGED = ("metrics.json", "intervals.json", "comparisons.json", "findings.json")


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
        training_set: which benchmarks judge it (`qure.benchmarks.judged_on`).
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
        StageFailed: the model gives numbers that are not finite; or another process evaluates into the same `output`.
    """
    passed = require_validated(validation, data, image_sets_of(training_set))
    inputs = Inputs(passed, features, model, backbone, str(device or default_device()))
    with alone(output), _run(settings, training_set, passed.root, _fingerprint(model)) as run:
        with atomic_folder(Path(output)) as folder:
            folders = {benchmark: folder / ".parts" / benchmark for benchmark in judged_on(training_set)}
            for benchmark, place in folders.items():
                place.mkdir(parents=True)
                judge_part(settings, training_set, benchmark, inputs, place)
            metrics = _join(settings.evaluation, training_set, list(folders.values()), data, training, champion, folder)
            shutil.rmtree(folder / ".parts")
        _log(run, settings, metrics, Path(output))
    return metrics


def evaluate_benchmark(
    settings: Settings,
    training_set: str,
    benchmark: str,
    *,
    data: Path,
    features: Mapping[str, Path],
    model: Path,
    output: Path,
    backbone: Path | None = None,
    validation: Path | None = None,
    device: str | None = None,
) -> dict[str, Numbers]:
    """Evaluates a model on one benchmark of its training set: one part of an evaluation (`qure.evaluation.parts`).

    Args:
        benchmark: one of `qure.benchmarks.judged_on(training_set)`.
        output: folder to write, whole or not at all; `join_evaluations` reads it.
        settings, training_set, data, features, model, backbone, validation, device: as `evaluate` takes them.

    Returns:
        the benchmark's metrics, keyed as in metrics.json.

    Raises:
        BadInput: no such benchmark; or as `evaluate`.
        StageFailed: the model gives numbers that are not finite.
    """
    if benchmark not in judged_on(training_set):
        known = ", ".join(judged_on(training_set))
        raise BadInput(f"{training_set!r} is not judged on {benchmark!r}", field="benchmark", remedy=f"One of {known}")
    passed = require_validated(validation, data, [get_benchmark(benchmark).images])
    inputs = Inputs(passed, features, model, backbone, str(device or default_device()))
    with _run(settings, training_set, passed.root, _fingerprint(model), benchmark) as run:
        with atomic_folder(Path(output)) as folder:
            part = judge_part(settings, training_set, benchmark, inputs, folder)
        metrics = {get_benchmark(benchmark).folder: dict(part.evaluation.metrics)}
        run.log_metrics(_flat(metrics))
    return metrics


def join_evaluations(
    settings: Settings,
    training_set: str,
    *,
    parts: Sequence[Path],
    data: Path,
    output: Path,
    training: Path | None = None,
    champion: Path | None = None,
) -> dict[str, Numbers]:
    """Makes of parts that were judged side by side the folder that `evaluate` writes, with the same content.

    Args:
        parts: what `evaluate_benchmark` has written, one per benchmark, in any order.
        settings, training_set, data, output, training, champion: as `evaluate` takes them.

    Returns:
        what metrics.json holds.

    Raises:
        BadInput: a part is missing, damaged, of another training set or of another model.
    """
    model = in_order(training_set, [Part.load(Path(part)) for part in parts])[0].model
    with _run(settings, training_set, Path(data), model) as run:
        with atomic_folder(Path(output)) as folder:
            metrics = _join(settings.evaluation, training_set, parts, Path(data), training, champion, folder)
        _log(run, settings, metrics, Path(output))
    return metrics


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
    evaluation = Path(evaluation)
    found, others = load_results(evaluation / RESULTS), load_results(champion / RESULTS) if champion is not None else {}
    own = [found[benchmark] for benchmark in judged_on(training_set) if benchmark in found]
    inputs = ReportInputs(
        training_set, evaluation, own, data, settings.evaluation, champion=list(others.values()), training=training
    )
    output.mkdir(parents=True, exist_ok=True)
    write_report(inputs, output)


def _join(
    settings: EvaluationSettings,
    training_set: str,
    folders: Sequence[Path],
    data: Path,
    training: Path | None,
    champion: Path | None,
    folder: Path,
) -> dict[str, Numbers]:
    """Writes the stage's folder from its parts; returns the metrics."""
    parts = in_order(training_set, [Part.load(Path(one)) for one in folders])
    others = load_results(champion / RESULTS) if champion is not None else {}
    for place in folders:
        for name in (RESULTS, SUBMISSIONS, PLOTS):
            if (Path(place) / name).is_dir():
                shutil.copytree(Path(place) / name, folder / name, dirs_exist_ok=True)
    logger.info("comparing the model with its controls%s, query by query", " and with the champion" if others else "")
    joint = JointEvaluation(parts, others)
    _write(joint, settings, training_set, data, training, folder)
    return joint.metrics()


def _write(
    joint: JointEvaluation,
    settings: EvaluationSettings,
    training_set: str,
    data: Path,
    training: Path | None,
    folder: Path,
) -> None:
    metrics, comparisons = joint.metrics(), joint.comparisons(settings)
    findings = findings_of(joint.evaluations, comparisons["controls"], joint.own.chance)
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "intervals.json", joint.intervals())
    write_json(folder / "comparisons.json", comparisons)
    write_findings(folder, findings, joint.evaluations)
    logger.info("drawing curves, pictures and the report")
    _draw(joint, data, training, folder / PLOTS)
    champion, excluded = list(joint.champion.values()), {part.benchmark: part.dropped for part in joint.parts}
    inputs = ReportInputs(training_set, folder, joint.evaluations, data, settings, champion, training, excluded)
    write_report(inputs, folder)
    _say(joint, findings)


def _draw(joint: JointEvaluation, data: Path, training: Path | None, folder: Path) -> None:
    """The training set's own benchmark as curves and pictures, and how the model was trained."""
    folder.mkdir(exist_ok=True)
    own = joint.own.evaluation
    draw_retrieval(own, data, read_truth(get_benchmark(own.benchmark).root(data)), folder / "retrieval.png")
    joint.recall_curves().to_csv(folder / "recall_curve.csv", index=False)
    if training is not None:
        training_curve(training).to_csv(folder / "loss.csv", index=False)
        set_sizes(training).to_csv(folder / "set_size.csv", index=False)


def _say(joint: JointEvaluation, findings: Sequence[Finding]) -> None:
    """Says what a reader must not miss: what is wrong with the model, and a champion that was asked otherwise."""
    for one in joint.evaluations:
        if joint.champion and not joint.is_comparable(one):
            logger.warning("the champion was not evaluated on the same %s data: no comparison", one.benchmark)
    main = joint.own.evaluation
    logger.info("%s: %s %.2f", main.benchmark, METRIC, main.metrics[METRIC])
    for finding in findings:
        logger.warning("%s: %s. To mend it: %s", finding.benchmark, finding.says, finding.remedy)


def _fingerprint(model: Path) -> str:
    return str(read_manifest(model)["fingerprint"])


def _run(
    settings: Settings, training_set: str, data: Path, model: str, benchmark: str | None = None
) -> AbstractContextManager[SilentRun]:
    """The stage's MLflow run; a benchmark that is judged on its own has one of its own."""
    if tracking_uri(settings.tracking) is None:
        return nullcontext(SilentRun())  # without hashing the data for nobody
    fingerprints = {"data": data_fingerprint(data), "model": model}
    return stage_run(
        settings.tracking,
        stage="evaluate",
        training_set=training_set,
        parameters={"evaluation": settings.evaluation.model_dump(mode="json")},
        inputs=fingerprints,
        run_key=benchmark,
        pipeline=pipeline_run_id(settings.resolved(), fingerprints["data"]),
    )


def _log(run: SilentRun, settings: Settings, metrics: Mapping[str, Numbers], output: Path) -> None:
    """Numbers, findings and report; the report's copies name this run and the day."""
    findings = read_findings(output)
    run.log_metrics(_flat(metrics) | {"findings": float(len(findings))})
    run.log_headline(headline(metrics, read_json(output / "intervals.json")))
    run.set_tags(
        {
            "qure.findings": "; ".join(one.label for one in findings) or "none",
            "qure.warning": " ".join(f"{one.benchmark}: {one.says}." for one in findings) or "none",
        }
    )
    for name in LOGGED:
        run.log_artifact(output / name, "evaluation")
    with stamped_copies(output, provenance_of(run, settings.tracking)) as copies:
        for copy in copies:
            run.log_artifact(copy, "evaluation")


def _flat(metrics: Mapping[str, Numbers], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": float(value)}
    return flat
