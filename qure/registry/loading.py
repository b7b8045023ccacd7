"""`qure.load`: a model of the registry, or of a folder, ready to search with."""

from pathlib import Path
from typing import Any

import torch

from qure.benchmarks import get_benchmark, training_sets
from qure.config import FeatureSettings, Settings, TrackingSettings
from qure.datasets.image_folder import flat_images
from qure.datasets.image_store import image_paths, paths_in
from qure.errors import BadInput
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.precision import default_device
from qure.registry.packaging import GALLERY, MODEL
from qure.scratch import temporary_folder
from qure.serving.gallery import encode_files
from qure.serving.retriever import EMBEDDINGS, Retriever, read_features_dtype
from qure.serving.searcher import Searcher
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import translated
from qure.tracking.remedies import first_line
from qure.tracking.retrying import download


def load(
    source: str | Path,
    *,
    gallery: str | Path | None = None,
    data: str | Path = "data",
    params: str | Path = "params.yaml",
    device: str | None = None,
) -> Searcher:
    """A model with a gallery to search, from MLflow's registry or from a folder.

        import qure
        qure.load("models:/qure-fashioniq@champion").search("dress.jpg", "is blue and longer", top_k=5)

    Args:
        source: an address that MLflow knows (`models:/NAME@ALIAS`, `models:/NAME/VERSION`), the folder of a registered
            model, or a model folder, for example artifacts/fashioniq/model.
        gallery: what to search instead of the gallery that a registered model brings: a folder of images, which are
            encoded now, or a gallery folder (embeddings.safetensors, groups.json, and an index where `qure index` has
            made one). A model folder needs one.
        data: data root, where results' files are looked for.
        params: the settings that say where MLflow is; without such a file it is the SQLite file mlflow.db here. The
            variable MLFLOW_TRACKING_URI wins.
        device: cpu, cuda, ...; the GPU when there is one.

    Raises:
        BadInput: there is no such model, its files are gone or damaged, or there is no gallery.
        StageFailed: MLflow does not answer.
    """
    where = device or default_device()
    if "://" not in str(source) and ":/" not in str(source):
        return _from_folder(Path(source), gallery, Path(data), where)
    with temporary_folder() as scratch:
        return _from_folder(_download(str(source), Path(params), str(scratch)), gallery, Path(data), where)


def _download(uri: str, params: Path, scratch: str) -> Path:
    settings = Settings.load(params).tracking if params.is_file() else TrackingSettings()
    connect(settings)
    from mlflow.exceptions import MlflowException

    with translated(tracking_uri(settings)):
        try:
            return download(uri, scratch)
        except (MlflowException, OSError) as error:
            raise BadInput(
                f"{uri} does not load: {first_line(error)}",
                remedy="`qure results` names the champions; without a champion train and promote first",
            ) from None


def _from_folder(folder: Path, gallery: str | Path | None, data: Path, device: Any) -> Searcher:
    model = folder / MODEL if (folder / MODEL).is_dir() else folder
    if gallery is None:
        gallery = folder / GALLERY
        if not gallery.is_dir():
            raise BadInput(
                "the model brings no gallery",
                file=folder,
                field="gallery",
                remedy='Name what to search: qure.load(..., gallery="a folder of images")',
            )
    gallery = Path(gallery)
    if (gallery / EMBEDDINGS).is_file():
        trained_on = read_manifest(model).get("notes", {}).get("training")
        known = trained_on in training_sets()
        return Searcher(
            Retriever.load(model, gallery, device),
            image_paths(get_benchmark(trained_on).root(data)) if known else lambda _: None,
        )
    if not gallery.is_dir():
        raise BadInput("no such folder of images", file=gallery, field="gallery")
    images = flat_images(gallery, Path())
    if not images.ids:
        raise BadInput("the folder holds no images", file=gallery, field="gallery")
    loaded, brought = QureModel.load(model, device), folder / GALLERY
    dtype = read_features_dtype(brought) if brought.is_dir() else FeatureSettings().dtype
    vectors = torch.from_numpy(encode_files(loaded, images, images.ids, gallery.name, dtype)).to(device)
    index = FlatIndex(vectors)
    return Searcher(Retriever(loaded, images.ids, index, groups={}, features=dtype), paths_in(images, gallery))
