"""The train stage: validated data, cached features and a backbone to a trained model."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qure import tracking
from qure.config import Settings, TrainingSettings
from qure.datasets.exclusions import Exclusions
from qure.datasets.types import Triplet
from qure.datasets.validated import require_same_images, require_validated
from qure.features.images import images_fingerprint
from qure.features.store import FeatureStore
from qure.files import fingerprint
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.precision import default_device
from qure.models.threads import suited_threads
from qure.progress import counted
from qure.scratch import alone
from qure.strategies import require_usable
from qure.training.checkpoint import Checkpoints, Identity, other_runs
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes, processes
from qure.training.loop import Trainer
from qure.training.observer import RunObserver
from qure.training.order import held_out
from qure.training.outputs import finished_summary, write_outputs

logger = logging.getLogger(__name__)

#: Raised when the same settings and inputs no longer lead to the same training: old checkpoints are then left alone.
_FORMAT = 1


@dataclass(frozen=True)
class TrainResult:
    """What a training has led to.

    Attributes:
        model: the trained model's folder.
        training: folder with history, minings and summary.
        fingerprint: the trained model's.
        epochs: epochs trained (fewer than asked for after an early stop).
        steps: optimizer steps.
        selected_epoch: 0-based epoch whose weights the model has.
        loss, pair_accuracy: means over the last epoch.
        temperature: the model's.
        findings: what the user must hear, oldest first.
    """

    model: Path
    training: Path
    fingerprint: str
    epochs: int
    steps: int
    selected_epoch: int
    loss: float
    pair_accuracy: float
    temperature: float
    findings: tuple[str, ...]


def train(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    features: Path,
    backbone: Path,
    validation: Path | None,
    output: Path,
    work: Path,
    device: torch.device | str | None = None,
    plots: bool = True,
) -> TrainResult:
    """Trains a training set's recipe and writes `output`/model and `output`/training.

    Killed at any point and started again with the same arguments, it goes on from its last checkpoint and ends with
    the same model. With other settings or inputs it starts afresh. Finished, it does nothing. Under `torchrun` all
    processes call it alike.

    Args:
        settings: the recipe of `training_set` is used, `features.hold` and `tracking`.
        training_set: fashioniq or cirr.
        data: data root.
        features: feature store of the training set's images.
        backbone: model folder to start from; its vision tower goes into the trained model unchanged.
        validation: the validation stage's folder: its result must be a success, and what it excludes is left out.
            None: the caller vouches for the data.
        output: receives model/ and training/.
        work: scratch that survives a kill; removed when the outputs are in place.
        device: where; the GPU when there is one, each process its own under torchrun.
        plots: draw what each mining found, which takes seconds.

    Raises:
        BadInput: a strategy that cannot be run, data that has not passed validation, features of another backbone or
            other images, a damaged file.
        StageFailed: the loss is no longer finite; or another process trains into `output` or goes on from the same
            checkpoints.
    """
    recipe = settings.training_for(training_set)
    require_usable(recipe.negatives)
    passed = require_validated(validation, data, [training_set])
    with processes(torch.device(device or default_device())) as group, ExitStack() as held:
        triplets, corpora, exclusions = passed.training(training_set, exclude_leaked=recipe.exclude_leaked)
        model = QureModel.load(backbone, group.device, vision=False)
        store = FeatureStore.open(
            features,
            model.vision_fingerprint,
            expected_images_fingerprint=images_fingerprint(
                passed.images(training_set), passed.passed_images(training_set)
            ),
        )
        require_same_images(
            zip(store.ids, store.digests, strict=True),
            passed.digests(training_set),
            file=features,
            remedy="Compute the features again: qure precompute",
        )
        inputs = {
            "backbone": read_manifest(backbone)["fingerprint"],
            "features": store.fingerprint,
            "triplets": fingerprint([[_content(triplet) for triplet in triplets], corpora]),
        }
        identity = _identity(recipe, inputs)
        if group.main:
            held.enter_context(alone(output))
            held.enter_context(alone(Checkpoints(work, identity).folder))
        summary = group.share(finished_summary(output, identity) if group.main else None)
        if summary is None:
            assert model.tokenizer is not None
            whole = training_data(triplets, corpora, store.hold(settings.features.hold, group.device), model.tokenizer)
            with _tracked(settings, training_set, recipe, data, inputs, group) as run:
                trainer = _trainer(model, whole, store, recipe, group, Checkpoints(work, identity), run, plots)
                _say(trainer, work, identity)
                with suited_threads(model):
                    learner = trainer.run()
                if group.main:
                    facts = {
                        "training_set": training_set,
                        "inputs": inputs,
                        "excluded": _counts(exclusions),
                    }
                    summary = write_outputs(learner, trainer, identity, facts, output=output, backbone=backbone)
                    run.log_artifact(output / "training", "training")
                    run.set_tags({"qure.model_fingerprint": read_manifest(output / "model")["fingerprint"]})
                    trainer.checkpoints.remove()
            summary = group.share(summary)
        elif group.main:
            logger.info("%s holds this training's result already: nothing to do", output)
            Checkpoints(work, identity).remove()
    return _result(output, summary)


def _content(triplet: Triplet) -> list[str | None]:
    """What training reads of a triplet: not the file it was read from, whose path may differ between machines."""
    asked = [triplet.query_id, triplet.reference, triplet.text, triplet.target, triplet.category]
    return [*asked, *triplet.answers]


def _identity(recipe: TrainingSettings, inputs: dict[str, str]) -> Identity:
    """How often checkpoints are taken and how steps are launched may change between a kill and a resumption."""
    deciding = recipe.model_dump(mode="json", exclude={"checkpoint_every_steps", "engine"})
    return Identity(settings=fingerprint([_FORMAT, deciding]), inputs=fingerprint(inputs))


def _trainer(
    model: QureModel,
    whole: TrainingData,
    store: FeatureStore,
    recipe: TrainingSettings,
    group: Processes,
    checkpoints: Checkpoints,
    run: tracking.SilentRun,
    plots: bool,
) -> Trainer:
    apart = held_out(whole.categories, share=recipe.held_out_share, seed=recipe.seed)
    return Trainer(
        model=model,
        data=whole.take(~apart),
        held_out=whole.take(apart) if apart.any() else None,
        features=store,
        settings=recipe,
        group=group,
        checkpoints=checkpoints,
        observer=RunObserver(run) if group.main else None,
        plots=plots,
    )


@contextmanager
def _tracked(
    settings: Settings,
    training_set: str,
    recipe: TrainingSettings,
    data: Path,
    inputs: dict[str, str],
    group: Processes,
) -> Iterator[tracking.SilentRun]:
    """The MLflow run, on rank 0 alone."""
    if not group.main or tracking.tracking_uri(settings.tracking) is None:
        yield tracking.SilentRun()
        return
    of_data = tracking.data_fingerprint(data)
    with tracking.stage_run(
        settings.tracking,
        stage="train",
        training_set=training_set,
        parameters={"recipe": settings.training[training_set].recipe, **recipe.model_dump(mode="json")},
        inputs={"data": of_data, **inputs},
        pipeline=tracking.pipeline_run_id(settings.resolved(), of_data),
    ) as run:
        yield run


def _say(trainer: Trainer, work: Path, identity: Identity) -> None:
    if not trainer.group.main:
        return
    apart = len(trainer.held_out) if trainer.held_out is not None else 0
    logger.info(
        "training on %s%s in %s on %s; features are %s",
        counted(len(trainer.data), "triplet"),
        f", with {apart:,} more held out to judge by," if apart else "",
        counted(trainer.group.world, "process", "processes"),
        str(trainer.group.device).replace("cpu", "the CPU"),
        {"disk": "read from disk", "cpu": "held in memory"}.get(trainer.features.held, "held on the GPU"),
    )
    others = other_runs(work, identity)
    if others:
        logger.info(
            "%s holds unfinished training of other settings or inputs (%s); this one is %s and starts afresh",
            work,
            ", ".join(others),
            trainer.checkpoints.folder.name,
        )


def _counts(exclusions: Exclusions) -> dict[str, int]:
    return {"images": len(exclusions.images), "queries": len(exclusions.queries)}


def _result(output: Path, summary: dict[str, Any]) -> TrainResult:
    return TrainResult(
        model=Path(output) / "model",
        training=Path(output) / "training",
        fingerprint=summary["model_fingerprint"],
        findings=tuple(summary["findings"]),
        **{
            name: summary[name]
            for name in ("epochs", "steps", "selected_epoch", "loss", "pair_accuracy", "temperature")
        },
    )
