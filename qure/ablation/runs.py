"""One run of an ablation: an arm with a seed, trained, evaluated and kept, so that it is never computed twice."""

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qure.ablation.arms import Arm
from qure.ablation.found import NegativesOfModels
from qure.config import Settings, TrackingSettings, TrainingSetSettings
from qure.errors import BadInput
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.tasks import Task
from qure.features.store import FeatureStore
from qure.files import atomic_folder, fingerprint, read_json, write_json
from qure.models.model import QureModel
from qure.training.stage import train

logger = logging.getLogger(__name__)

#: Raised when the same inputs no longer lead to the same numbers: kept runs are then computed again.
_FORMAT = 1
RESULT, EVALUATION = "result.json", "evaluation"


@dataclass(frozen=True)
class Bench:
    """What all runs of an ablation share.

    Attributes:
        settings: params.yaml; the recipes come from the arms.
        training_set: fashioniq or cirr.
        data, features, backbone, validation: as in `qure.training.stage.train`.
        work: where runs are kept, one folder per arm and seed.
        device: where to compute.
        inputs: fingerprints of everything that is read.
        task: the benchmark that judges.
        store: the features, opened.
        negatives: mines with trained models.
    """

    settings: Settings
    training_set: str
    data: Path
    features: Path
    backbone: Path
    validation: Path | None
    work: Path
    device: str
    inputs: dict[str, str]
    task: Task
    store: FeatureStore
    negatives: NegativesOfModels


@dataclass(frozen=True)
class Run:
    """What one run found.

    Attributes:
        arm, seed: which.
        identity: fingerprint of recipe and inputs.
        metrics: of the evaluation, percent.
        negatives: see `NegativesOfModels.of`.
        training: epochs, steps, loss, pair_accuracy, temperature and pairs_per_query at the end, `findings`.
        cpu_seconds: of the training, all cores together; of the last attempt where it was interrupted.
        evaluation: per-query results.
    """

    arm: str
    seed: int
    identity: str
    metrics: dict[str, float]
    negatives: dict[str, float | None]
    training: dict[str, Any]
    cpu_seconds: float
    evaluation: Evaluation

    def record(self) -> dict[str, Any]:
        """Everything but the per-query results, JSON-able."""
        return {name: value for name, value in vars(self).items() if name != "evaluation"}


def kept_run(bench: Bench, arm: Arm, seed: int) -> Run | None:
    """The run of an arm and a seed that was kept, if it is whole and of the same settings and inputs.

    The code is none of the inputs: remove `bench.work` after a change that alters what a training does.
    """
    folder = _folder(bench, arm, seed)
    try:
        record = read_json(folder / RESULT)
        if record["identity"] != _identity(bench, arm, seed):
            logger.info("%s holds a run of other settings or inputs: it is computed anew", folder)
            return None
        return Run(**record, evaluation=Evaluation.load(folder / EVALUATION))
    except (BadInput, KeyError, TypeError):
        return None


def new_run(bench: Bench, arm: Arm, seed: int) -> Run:
    """Trains, evaluates and keeps an arm with a seed; a training that was killed goes on from its last checkpoint."""
    scratch = bench.work / "training" / arm.name / str(seed)
    before = time.process_time()
    # The ablation is one run of the tracking server; its trainings are lines in it.
    result = train(
        _settings(bench, arm, seed),
        bench.training_set,
        data=bench.data,
        features=bench.features,
        backbone=bench.backbone,
        validation=bench.validation,
        output=scratch / "output",
        work=scratch / "checkpoints",
        device=bench.device,
        plots=False,
    )
    cpu_seconds = time.process_time() - before
    summary = read_json(result.training / "summary.json")
    last_epoch = json.loads((result.training / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    model = QureModel.load(result.model, bench.device, vision=False)
    evaluation = judge(bench, model, scratch)
    found = Run(
        arm=arm.name,
        seed=seed,
        identity=_identity(bench, arm, seed),
        metrics=evaluation.metrics,
        negatives=bench.negatives.of(model, arm.recipe),
        training={
            **{name: summary[name] for name in ("epochs", "steps", "loss", "pair_accuracy", "temperature", "findings")},
            "pairs_per_query": last_epoch["pairs_per_query"],
        },
        cpu_seconds=cpu_seconds,
        evaluation=evaluation,
    )
    with atomic_folder(_folder(bench, arm, seed)) as temporary:
        evaluation.save(temporary / EVALUATION)
        write_json(temporary / RESULT, found.record())
    shutil.rmtree(scratch)
    return found


def judge(bench: Bench, model: QureModel, scratch: Path) -> Evaluation:
    """A model on the benchmark of the training set, true relevance included where it is known."""
    task = bench.task
    encoder = Encoder(model, {task.image_set: bench.store}, bench.settings.evaluation.batch_size, scratch)
    gallery = encoder.gallery(task.image_set, task.images, task.benchmark)
    return task.judge(encoder.queries(task.image_set, task.questions, task.benchmark), gallery)


def _settings(bench: Bench, arm: Arm, seed: int) -> Settings:
    whole = TrainingSetSettings(recipe="catalogue", overrides=_recipe(arm, seed))
    return bench.settings.model_copy(
        update={
            "training": {bench.training_set: whole},
            "tracking": TrackingSettings(uri=None),
        }
    )


def _identity(bench: Bench, arm: Arm, seed: int) -> str:
    evaluation = bench.settings.evaluation.model_dump(mode="json")
    return fingerprint([_FORMAT, _recipe(arm, seed), evaluation, bench.inputs])


def _recipe(arm: Arm, seed: int) -> dict[str, Any]:
    return arm.recipe.model_copy(update={"seed": seed}).model_dump(mode="json")


def _folder(bench: Bench, arm: Arm, seed: int) -> Path:
    return bench.work / "runs" / arm.name / str(seed)
