"""Judging a model on one benchmark: encode, rank, measure, and ask the controls."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qure.config import EvaluationSettings, NegativeSettings, Settings
from qure.datasets.validated import ValidatedData
from qure.evaluation.controls import run_controls
from qure.evaluation.parts import SUBMISSIONS, Part
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.report import PLOTS, hard_negatives
from qure.evaluation.report.hard_negatives import typical_rankings
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.submissions.withheld import submit
from qure.evaluation.tasks import Source, Task, task_for
from qure.features.store import FeatureStore
from qure.files import fingerprint
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.threads import suited_threads
from qure.negatives.plots import draw_sorted_scores
from qure.progress import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What judging reads, and where it computes; see `qure.evaluation.stage.evaluate`."""

    data: ValidatedData
    features: Mapping[str, Path]
    model: Path
    backbone: Path | None
    device: str


def judge_part(settings: Settings, training_set: str, benchmark: str, inputs: Inputs, folder: Path) -> Part:
    """Judges a model on one benchmark, writes the part into a folder that exists, and returns it.

    Args:
        settings: `evaluation` is read, and the hard negatives' rule of the training set, which is drawn.
        training_set: what the model was trained on.
        benchmark: what to judge it on.
        inputs: the model and what it is asked.
        folder: where to write.

    Raises:
        BadInput: files of data, features or model are missing, damaged or do not fit together.
        StageFailed: the model gives numbers that are not finite.
    """
    model = QureModel.load(inputs.model, inputs.device, vision=False)
    with suited_threads(model):
        return _judge_with(model, settings, training_set, benchmark, inputs, folder)


def _judge_with(
    model: QureModel, settings: Settings, training_set: str, benchmark: str, inputs: Inputs, folder: Path
) -> Part:
    judging = settings.evaluation
    scratch = folder / ".scratch"
    scratch.mkdir()
    stores = {name: FeatureStore.open(path, model.vision_fingerprint) for name, path in inputs.features.items()}
    trained = Encoder(model, stores, judging.batch_size, scratch)
    source = Source(inputs.data, judging, inputs.device, ImageDigests(stores))
    task = task_for(benchmark, source)
    logger.info(
        "%s: the trained model encodes %s and ranks them for %s; intervals come from %s",
        task.benchmark,
        counted(len(task.images), "image"),
        counted(len(task.questions), "query", "queries"),
        counted(judging.bootstrap_samples, "bootstrap sample"),
    )
    gallery = trained.gallery(task.image_set, task.images, task.benchmark)
    queries = trained.queries(task.image_set, task.questions, task.benchmark)
    found = task.judge(queries, gallery)
    found = replace(found, details={**found.details, "model": str(read_manifest(inputs.model)["fingerprint"])})
    part = Part(found, {}, {}, task.split.dropped)
    if benchmark == training_set:
        logger.info("%s: drawing where the steep drops of relevance lie", task.benchmark)
        rule = settings.training_for(training_set).negatives
        _draw_drops(task, queries, gallery, rule, inputs.device, folder / PLOTS)
        controls = _controls(judging, task, trained, gallery, stores, inputs, scratch)
        part = replace(part, controls=controls, chance=task.of.chance(task.split))
    submit(task.benchmark, trained, gallery, source, folder / SUBMISSIONS)
    shutil.rmtree(scratch)
    part.save(folder)
    return part


def _controls(
    settings: EvaluationSettings,
    task: Task,
    trained: Encoder,
    gallery: Embeddings,
    stores: Mapping[str, FeatureStore],
    inputs: Inputs,
    scratch: Path,
) -> dict[str, Evaluation]:
    untrained = None
    if inputs.backbone is not None:
        backbone = QureModel.load(inputs.backbone, inputs.device, vision=False)
        untrained = Encoder(backbone, stores, settings.batch_size, scratch)
    return run_controls(task, trained, gallery, untrained, settings.seed)


def _draw_drops(
    task: Task, queries: Embeddings, candidates: Embeddings, rule: NegativeSettings, device: str, folder: Path
) -> None:
    """The two steep drops in the task's first gallery (FashionIQ: dresses)."""
    category, gallery = next(iter(task.split.galleries.items()))
    triplets = [one for one in task.split.triplets if not category or one.category == category]
    found = typical_rankings(triplets, gallery, queries, candidates, rule, device=device)
    if not found:
        logger.info("%s has too few images or queries for a drop: there is nothing to draw", gallery.name)
        return
    folder.mkdir(exist_ok=True)
    draw_sorted_scores([one.curve for one in found], folder / hard_negatives.PICTURE)
    hard_negatives.save(found, folder / hard_negatives.FILE)


class ImageDigests:
    """Digest of images' bytes by image set and ids, from what the feature stores were computed from."""

    def __init__(self, stores: Mapping[str, FeatureStore]) -> None:
        self._of = {name: dict(zip(store.ids, store.digests, strict=True)) for name, store in stores.items()}

    def __call__(self, image_set: str, ids: Sequence[str]) -> str:
        """An image without features counts as empty here: encoding names it as missing."""
        return fingerprint([[one, self._of[image_set].get(one, "")] for one in sorted(ids)])
