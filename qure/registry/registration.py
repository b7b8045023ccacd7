"""From a trained model's folder to a version in MLflow's registry."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.config import IndexSettings, Settings
from qure.evaluation.statistics.results import Evaluation
from qure.registry.champions import Champions
from qure.registry.described import card, model_description
from qure.registry.evaluations import LOGGED_MODEL, headline
from qure.registry.names import registered_name
from qure.registry.packaging import ANSWER, GALLERY, Example, package
from qure.scratch import scratch_folder
from qure.tracking import commit, environment, repository
from qure.tracking.connection import every, experiment_id
from qure.tracking.entries import metric_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

FINGERPRINT, VISION, BACKBONE, DATA, COMMIT = (
    "qure.model_fingerprint",
    "qure.vision_fingerprint",
    "qure.backbone_fingerprint",
    "qure.data_fingerprint",
    "qure.commit",
)
REPOSITORY = "qure.repository"
#: How a version's gallery is searched, where not exactly; and how much of exact search's answers that finds.
INDEX, RECALL = "qure.index", "qure.index.recall_at_10"
#: Where a version's run keeps what the version was made with, for `qure lineage` and `qure reproduce`.
LINEAGE, MADE_WITH = "lineage", "made_with.json"
#: What a package holds at least.
_WHOLE = {"MLmodel", "artifacts", "code", ANSWER}
_MODEL_TYPE = "composed-image-retrieval"


@dataclass(frozen=True)
class Trained:
    """What is to be registered.

    Attributes:
        training_set: "fashioniq" or "cirr".
        model: QureModel folder.
        manifest: its manifest.
        evaluations: benchmark -> evaluation of this model.
        data: data root.
        data_fingerprint: of the data root.
        features: image set -> feature store, or None.
        validation: validation folder, or None.
    """

    training_set: str
    model: Path
    manifest: Mapping[str, Any]
    evaluations: Mapping[str, Evaluation]
    data: Path
    data_fingerprint: str
    features: Mapping[str, Path] | None
    validation: Path | None

    @property
    def fingerprint(self) -> str:
        """The model's own."""
        return str(self.manifest["fingerprint"])


def ensure_registered(client: "MlflowClient", name: str) -> None:
    """Makes the registered model when it does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=model_description(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def find_version(client: "MlflowClient", name: str, fingerprint: str, settings: IndexSettings) -> "ModelVersion | None":
    """The version that holds a model with this fingerprint, and such an index; the oldest of several."""
    found = every(client.search_model_versions, f"name = '{name}' and tags.`{FINGERPRINT}` = '{fingerprint}'")
    wanted = index_tag(settings)
    whole = [version for version in found if version.status == "READY" and version.tags.get(INDEX) == wanted]
    return min(whole, key=lambda version: int(version.version), default=None)


def index_tag(settings: IndexSettings) -> str | None:
    """What decides how a gallery is searched, as a version's tag has it; None for exact search.

    >>> index_tag(IndexSettings())
    >>> index_tag(IndexSettings(kind="ivf_pq", probes=32))
    'ivf_pq: lists null, bytes_per_token 32, probes 32, tokens 2000, images 300, least_recall 0.95'
    """
    if settings.kind == "exact":
        return None
    deciding = settings.model_dump(mode="json", exclude={"kind", "queries"})
    said = (f"{name} {'null' if value is None else value}" for name, value in deciding.items())
    return f"{settings.kind}: {', '.join(said)}"


def search_facts(tags: Mapping[str, str]) -> str:
    """How a version's gallery is searched, in words.

    >>> search_facts({INDEX: "ivf_pq: lists 64", RECALL: "0.9815"})
    'ivf_pq: lists 64; recall@10 0.9815 against exact search'
    """
    if INDEX not in tags:
        return "exact"
    recall = tags.get(RECALL)
    return f"{tags[INDEX]}; " + (
        f"recall@10 {recall} against exact search" if recall else "exact: the gallery is small"
    )


def new_version(
    client: "MlflowClient", settings: Settings, trained: Trained, run_id: str, scratch: Path, device: str | None
) -> "ModelVersion":
    """Packages a model, uploads it and makes a version of it.

    Upload first, under no lock: until the version exists nobody sees any of it, and what a killed run has uploaded is
    used again. Then the version, under the lock, after a second look.
    """
    name = registered_name(trained.training_set)
    logged = _upload(client, settings, trained, run_id, scratch, device)
    with Champions(client, name).lock() as lock:
        found = find_version(client, name, trained.fingerprint, settings.serving.index)
        if found is not None:
            return found
        lock.check()
        tags = _facts(settings, trained) | {LOGGED_MODEL: logged.model_id}
        tags |= {key: value for key, value in logged.tags.items() if key == RECALL}
        for key, value in headline(trained.evaluations).items():
            tags[metric_name(f"qure.metric.{key}")] = f"{value:.4f}"
        return client.create_model_version(
            name, source=logged.model_uri, run_id=run_id, tags=tags, model_id=logged.model_id
        )


def keep_made_with(client: "MlflowClient", settings: Settings, run_id: str) -> None:
    """Keeps all settings and the environment with the run that registers a version; no address that may hold secrets.

    The settings are those of params.yaml, so that they can be one again.
    """
    values = settings.model_dump(mode="json", exclude={"tracking"})
    client.log_dict(run_id, {"settings": values, "environment": environment()}, f"{LINEAGE}/{MADE_WITH}")


def bring_back(
    client: "MlflowClient",
    settings: Settings,
    trained: Trained,
    version: "ModelVersion",
    scratch: Path,
    device: str | None,
) -> None:
    """Uploads a registered model's files again where the artifact store has lost them; else does nothing."""
    model = version.tags.get(LOGGED_MODEL)
    if model is None or {Path(one.path).name for one in client.list_logged_model_artifacts(model)} >= _WHOLE:
        return
    logger.warning("the files of %s version %s are gone: uploading them again", version.name, version.version)
    with scratch_folder(scratch) as temporary:
        client.log_model_artifacts(model, str(_package(settings, trained, temporary, device)))


def describe(
    client: "MlflowClient",
    settings: Settings,
    trained: Trained,
    version: "ModelVersion",
    controls: Mapping[str, Mapping[str, Any]],
) -> None:
    """Gives a version its model card, unless it has a description."""
    if version.description:
        return
    facts = {
        "commit": version.tags.get(COMMIT, ""),
        "data": version.tags.get(DATA, ""),
        "model": trained.fingerprint,
        "search": search_facts(version.tags),
    }
    run = (experiment_id(client, settings.tracking), version.run_id)
    client.update_model_version(version.name, str(version.version), card(trained, facts, controls, run))


def _upload(
    client: "MlflowClient", settings: Settings, trained: Trained, run_id: str, scratch: Path, device: str | None
) -> "LoggedModel":
    from mlflow.entities import LoggedModelOutput

    experiment = experiment_id(client, settings.tracking)
    same = every(client.search_logged_models, [experiment], f"tags.`{FINGERPRINT}` = '{trained.fingerprint}'")
    same = [model for model in same if model.tags.get(INDEX) == index_tag(settings.serving.index)]
    whole = next((model for model in same if model.status == "READY"), None)
    if whole is not None:
        return whole
    for broken_off in (model for model in same if model.source_run_id == run_id):
        client.delete_logged_model(broken_off.model_id)
    with scratch_folder(scratch) as temporary:
        folder = _package(settings, trained, temporary, device)
        logger.info("uploading the package to MLflow")
        logged = client.create_logged_model(
            experiment,
            name=registered_name(trained.training_set),
            source_run_id=run_id,
            tags=_facts(settings, trained) | _recall(folder / GALLERY),
            model_type=_MODEL_TYPE,
        )
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        client.log_model_artifacts(logged.model_id, str(folder))
    return client.finalize_logged_model(logged.model_id, "READY")


def _package(settings: Settings, trained: Trained, temporary: Path, device: str | None) -> Path:
    from qure.models.precision import default_device
    from qure.serving.gallery import write_gallery

    logger.info("packaging the model with its gallery: the images that it will search, encoded")
    gallery = temporary / "gallery"
    gallery.mkdir()
    write_gallery(
        settings,
        trained.training_set,
        gallery,
        data=trained.data,
        model=trained.model,
        features=trained.features,
        validation=trained.validation,
        device=device or str(default_device()),
    )
    logger.info("loading the packaged model and asking it a query")
    folder = temporary / "package"
    package(folder, model=trained.model, gallery=gallery, example=_example(trained), facts=_facts(settings, trained))
    return folder


def _example(trained: Trained) -> Example:
    """The first query that the model was evaluated on."""
    from qure.datasets.image_store import open_images

    benchmark = get_benchmark(trained.training_set)
    first = trained.evaluations[benchmark.name].per_query.iloc[0]
    images = open_images(benchmark.root(trained.data))
    return Example(images.read(first["reference"]), first["text"], first.get("category"))


def _facts(settings: Settings, trained: Trained) -> dict[str, str]:
    backbone, origin = trained.manifest.get("notes", {}).get("backbone"), repository()
    return {
        FINGERPRINT: trained.fingerprint,
        VISION: str(trained.manifest["vision_fingerprint"]),
        **({BACKBONE: str(backbone)} if backbone else {}),
        DATA: trained.data_fingerprint,
        COMMIT: commit(),
        **({INDEX: wanted} if (wanted := index_tag(settings.serving.index)) else {}),
        **({REPOSITORY: origin} if origin else {}),
    }


def _recall(gallery: Path) -> dict[str, str]:
    """How much of exact search's answers a packaged gallery's index finds; nothing where it is searched exactly."""
    from qure.serving.ivf_index import INDEX as FOLDER
    from qure.serving.ivf_index import has_index, read_record

    return {RECALL: f"{read_record(gallery / FOLDER).recall_at_10:.4f}"} if has_index(gallery) else {}
