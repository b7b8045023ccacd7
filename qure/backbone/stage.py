"""The backbone stage: the model that training starts from, as one folder."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qure.backbone.captions import captioned_images, training_texts
from qure.backbone.pretraining import Observe, pretrain
from qure.config import BackboneSettings, Settings
from qure.datasets.validated import ValidatedData, require_validated
from qure.models.build import build_catalogue_model
from qure.models.folder import save_model
from qure.models.manifest import read_manifest
from qure.models.weights import import_backbone
from qure.tracking import SilentRun, data_fingerprint, pipeline_run_id, stage_run, tracking_uri

logger = logging.getLogger(__name__)


def prepare_backbone(
    settings: Settings, data: Path, output: Path, *, validation: Sequence[Path] = ()
) -> dict[str, Any]:
    """Makes (`catalogue`) or imports (`blip2-vitl`, `blip2-vitg`) the backbone and writes its model folder.

    A killed run leaves nothing and starts again: the catalogue's pre-training takes about a minute.

    Args:
        settings: `backbone` and `tracking` are read.
        data: data root; `catalogue` reads its pretraining/captions.json and train images.
        output: model folder, written whole or not at all.
        validation: validation folders; what `catalogue` reads must have passed, and images and triplets that one of
            them excludes are left out. None: the caller vouches for the data.

    Returns:
        the manifest; its notes hold the pre-training's metrics.

    Raises:
        BadInput: captions, images or weights are missing or wrong (named), or the data has not passed validation.
        StageFailed: the pre-training has learned nothing.
    """
    chosen = settings.backbone
    passed = [require_validated(folder, data) for folder in validation] if chosen.name == "catalogue" else []
    # Nobody asks for it without tracking, and it can take reading all files.
    of_data = data_fingerprint(data) if tracking_uri(settings.tracking) is not None else ""
    with stage_run(
        settings.tracking,
        stage="backbone",
        training_set="shared",
        parameters={"backbone": chosen.model_dump(mode="json")},
        inputs={"data": of_data},
        pipeline=pipeline_run_id(settings.resolved(), of_data),
    ) as run:
        if chosen.name == "catalogue":
            run.log_metrics(make_backbone(chosen, data, output, passed, observe=partial(_log_curve, run)))
        else:
            import_backbone(chosen, output)
        manifest = read_manifest(output)
        run.set_tags({"backbone_fingerprint": manifest["fingerprint"]})
    return manifest


def make_backbone(
    settings: BackboneSettings,
    data: Path,
    output: Path,
    validation: Sequence[ValidatedData] = (),
    observe: Observe | None = None,
) -> dict[str, float]:
    """Builds, pre-trains and saves the catalogue's backbone; returns the pre-training's metrics.

    Raises:
        BadInput: captions or images are missing or wrong (named).
        StageFailed: the pre-training has learned nothing; no folder is written.
    """
    images = captioned_images(data, settings.vision.image_size, validation)
    groups = Counter(images.groups)
    logger.info("pre-training on %s", ", ".join(f"{count} {group}" for group, count in sorted(groups.items())))
    texts = training_texts(data, validation)
    model = build_catalogue_model(settings, [*images.captions, *texts], settings.pretraining.seed)
    metrics = pretrain(model, images, settings.pretraining, settings.pretraining.seed, observe)
    logger.info("pre-training: %s", ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
    save_model(model, output, notes={"pretraining": metrics, "images": len(images.captions)})
    return metrics


def _log_curve(run: SilentRun, step: int, values: Mapping[str, float]) -> None:
    run.log_metrics({f"pretraining/{name}": value for name, value in values.items()}, step=step)
