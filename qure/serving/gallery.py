"""The gallery that a registered model ranks: the validation candidates of its training set's own benchmark."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from qure.benchmarks import get_benchmark
from qure.config import Settings
from qure.datasets.image_store import ImageStore, open_images
from qure.evaluation.ranking.embeddings import Embeddings, Floats, write_embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.tasks import Source, Task, task_for
from qure.features.store import FeatureStore
from qure.files import write_json
from qure.images import normalise, prepare_image
from qure.models import QureModel
from qure.progress import track
from qure.scratch import scratch_folder
from qure.serving.retriever import BATCH, EMBEDDINGS, GROUPS

logger = logging.getLogger(__name__)


def write_gallery(
    settings: Settings,
    training_set: str,
    folder: Path,
    *,
    data: Path,
    model: Path,
    features: Mapping[str, Path] | None,
    validation: Path | None,
    device: str | torch.device,
) -> None:
    """Writes `embeddings.safetensors` (fp16, (N, T, D)) and `groups.json` (category -> image ids).

    Args:
        settings: `evaluation` is read: which gallery.
        training_set: "fashioniq" or "cirr".
        folder: where to write.
        data: data root.
        model: model folder.
        features: image set -> feature store; without the one that is needed the image files are encoded.
        validation: validation folder; what it excludes is left out.
        device: where to compute.
    """
    source = Source(Path(data), validation, settings.evaluation, str(device), lambda *_: "")
    task = task_for(training_set, source)
    store = (features or {}).get(task.image_set)
    trained = QureModel.load(model, device, vision=store is None)
    with scratch_folder(folder) as scratch:
        if store is not None:
            stores = {task.image_set: FeatureStore.open(store, trained.vision_fingerprint)}
            encoder = Encoder(trained, stores, settings.evaluation.batch_size, scratch)
            gallery = encoder.gallery(task.image_set, task.images, task.benchmark)
        else:
            images = open_images(get_benchmark(task.image_set).root(data))
            gallery = Embeddings(task.images, encoded(trained, images, task.images, task.benchmark))
        write_embeddings(folder / EMBEDDINGS, gallery.ids, _Rows(gallery), dtype="fp16")
    write_json(folder / GROUPS, _groups(task))


class _Rows:
    """Embeddings as something that is read in parts."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self.shape = (len(embeddings), embeddings.tokens, embeddings.dimension)

    def read(self, start: int, stop: int) -> Floats:
        return self._embeddings.take(self._embeddings.ids[start:stop])


@torch.no_grad()
def encoded(model: QureModel, images: ImageStore, ids: Sequence[str], name: str) -> Floats:
    """Candidate embeddings of images, from their files: (N, T, D), each of unit length; `name` tells the progress."""
    size, parts = model.config.vision.image_size, []
    for start in track(range(0, len(ids), BATCH), f"encoding gallery of {name}"):
        batch = ids[start : start + BATCH]
        pixels = np.stack([prepare_image(images.read(one), size, name=images.name(one)) for one in batch])
        features = model.encode_vision(normalise(pixels).to(model.device))
        parts.append(model.encode_images(features).cpu().numpy())
    return np.concatenate(parts)


def _groups(task: Task) -> dict[str, list[str]]:
    """The benchmark's own partition of its gallery, where it has one."""
    return {name: list(gallery.ids) for name, gallery in task.split.galleries.items() if name}
