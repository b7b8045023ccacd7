"""The gallery that a registered model ranks: the validation candidates of its training set's own benchmark."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from qure.config import Precision, Settings
from qure.datasets.image_store import ImageStore
from qure.datasets.types import Question
from qure.datasets.validated import ValidatedData
from qure.evaluation.ranking.embeddings import Embeddings, Floats, write_embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.tasks import Source, Task, task_for
from qure.features.computing import encode_pixels
from qure.features.store import FeatureStore
from qure.files import write_json
from qure.images import prepare_image
from qure.models import QureModel
from qure.models.precision import name_of
from qure.progress import track
from qure.scratch import scratch_folder
from qure.serving.index_building import build_index, require_fitting, why_exact
from qure.serving.retriever import BATCH, EMBEDDINGS, FEATURES, GROUPS

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
    """Writes what `Retriever.load` reads: the embeddings as evaluation ranks them, and what makes queries comparable.

    embeddings.safetensors   (N, T, D) fp32: rounded to half precision, close candidates would change places
    groups.json              category -> image ids, each group in the order that decides between equal scores
    features.json            the dtype that a reference image's features are rounded to, as in the feature store
    index/                   where `serving.index` wants one and the gallery is large enough

    Args:
        settings: `evaluation` is read: which gallery; `features`: how images are encoded that have no features; and
            `serving`: whether there is an index.
        training_set: "fashioniq" or "cirr".
        folder: where to write.
        data: data root.
        model: model folder.
        features: image set -> feature store; without the one that is needed the image files are encoded.
        validation: validation folder; what it excludes is left out.
        device: where to compute.

    Raises:
        BadInput: an index is wanted that does not fit the embeddings, or FAISS is not installed.
        StageFailed: the index finds less of exact search's answers than the settings allow.
    """
    chosen = settings.serving.index
    source = Source(ValidatedData(data, validation), settings.evaluation, str(device), lambda *_: "")
    task = task_for(training_set, source)
    store = (features or {}).get(task.image_set)
    trained = QureModel.load(model, device, vision=store is None)
    if chosen.kind != "exact":
        require_fitting(chosen, trained.config.embedding)
    encode_asked: Callable[[Sequence[Question]], Embeddings]
    with scratch_folder(folder) as scratch:
        if store is not None:
            opened = FeatureStore.open(store, trained.vision_fingerprint)
            dtype = name_of(opened.dtype)
            encoder = Encoder(trained, {task.image_set: opened}, settings.evaluation.batch_size, scratch)
            gallery = encoder.gallery(task.image_set, task.images, task.benchmark)
            encode_asked = partial(encoder.queries, task.image_set, name=task.benchmark)
        else:
            images = source.data.images(task.image_set)
            dtype = settings.features.dtype
            gallery = Embeddings(task.images, encode_files(trained, images, task.images, task.benchmark, dtype))
            encode_asked = partial(encode_questions, trained, images, dtype=dtype)
        write_embeddings(folder / EMBEDDINGS, gallery.ids, gallery.source)
        if chosen.kind != "exact":
            too_small = why_exact(chosen, gallery)
            if too_small is None:
                asked = encode_asked(_spaced(task.questions, chosen.queries))
                build_index(folder, chosen, asked.vectors[:, 0])
            else:
                logger.warning("the gallery of %s is searched exactly, without an index: %s", task.benchmark, too_small)
    write_json(folder / GROUPS, _groups(task))
    write_json(folder / FEATURES, {"dtype": dtype})


@torch.no_grad()
def encode_files(model: QureModel, images: ImageStore, ids: Sequence[str], name: str, dtype: Precision) -> Floats:
    """Candidate embeddings of images, from their files: (N, T, D), each of unit length.

    Args:
        name: tells the progress.
        dtype: what features are rounded to on the way (`qure.features.computing.encode_pixels`).
    """
    size, parts = model.config.vision.image_size, []
    for start in track(range(0, len(ids), BATCH), f"encoding gallery of {name}"):
        batch = ids[start : start + BATCH]
        pixels = np.stack([prepare_image(images.read(one), size, name=images.name(one)) for one in batch])
        features = encode_pixels(model, torch.from_numpy(pixels).to(model.device), dtype)
        parts.append(model.encode_images(features).cpu().numpy())
    return np.concatenate(parts)


@torch.no_grad()
def encode_questions(
    model: QureModel, images: ImageStore, questions: Sequence[Question], dtype: Precision
) -> Embeddings:
    """Query embeddings from image files and texts: one unit vector per question.

    Args:
        dtype: what features are rounded to on the way.
    """
    tokenizer = model.tokenizer
    assert tokenizer is not None  # a loaded model has one
    size, parts = model.config.vision.image_size, []
    for start in track(range(0, len(questions), BATCH), "encoding queries"):
        batch = questions[start : start + BATCH]
        names = [one.reference for one in batch]
        pixels = np.stack([prepare_image(images.read(one), size, name=images.name(one)) for one in names])
        features = encode_pixels(model, torch.from_numpy(pixels).to(model.device), dtype)
        tokens, mask = (part.to(model.device) for part in tokenizer([one.text for one in batch]))
        parts.append(model.encode_queries(features, tokens, mask).cpu().numpy())
    return Embeddings([one.query_id for one in questions], np.concatenate(parts))


def _spaced(questions: Sequence[Question], wanted: int) -> list[Question]:
    """At most so many, evenly spaced: of every category some."""
    places = np.linspace(0, len(questions) - 1, min(wanted, len(questions)))
    return [questions[int(place)] for place in places]


def _groups(task: Task) -> dict[str, list[str]]:
    """The benchmark's own partition of its gallery, where it has one."""
    return {name: list(gallery.ids) for name, gallery in task.split.galleries.items() if name}
