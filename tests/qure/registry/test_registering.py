"""Models become versions: through the stage function, with real models on MLflow with SQLite."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from registry_world import World

from qure.benchmarks.fashioniq.files import CATEGORIES
from qure.config import Settings
from qure.errors import BadInput
from qure.files import write_json
from qure.registry import stage
from qure.registry.asking import ask_champion
from qure.tracking import connect


def test_a_model_becomes_a_version_with_everything_that_is_known(world: World) -> None:
    told = world.register(1, 0.5)
    assert json.loads((world.folder / "registration-1.json").read_text()) == told
    assert (told["name"], told["version"], told["created"]) == ("qure-fashioniq", 1, True)
    client = connect(world.settings.tracking)
    version = client.get_model_version_by_alias("qure-fashioniq", "challenger")
    assert int(version.version) == 1
    assert version.tags["qure.model_fingerprint"] == told["model_fingerprint"]
    assert version.tags["qure.data_fingerprint"] == "md5:the data"
    assert version.tags["qure.backbone_fingerprint"] == "the backbone of 1"
    assert version.tags["qure.commit"]
    assert float(version.tags["qure.metric.fashioniq/recall_at_10"]) == pytest.approx(
        told["metrics"]["fashioniq/recall_at_10"], abs=1e-3
    )
    assert f"R@10 | **{told['metrics']['fashioniq/recall_at_10']:.1f}**" in version.description
    assert "md5:the data" in version.description
    logged = client.get_logged_model(version.tags["qure.logged_model"])
    measured = {metric.key: metric for metric in logged.metrics}
    assert measured["fashioniq/recall_at_10"].dataset_name == "fashioniq"
    (place,) = (value for key, value in version.tags.items() if key.startswith("qure.evaluation."))
    below = {one.path for one in client.list_artifacts(version.run_id, f"{place}/results/fashioniq")}
    assert f"{place}/results/fashioniq/per_query.parquet" in below
    assert not list(world.folder.glob(".registration*"))


def test_the_same_model_keeps_its_version(world: World) -> None:
    first = world.register(1, 0.5)
    again = world.register(1, 0.5)
    assert (again["version"], again["created"], again["run_id"]) == (1, False, first["run_id"])
    other = world.register(2, 0.5)
    assert (other["version"], other["created"]) == (2, True)
    assert int(connect(world.settings.tracking).get_model_version_by_alias("qure-fashioniq", "challenger").version) == 2


def test_what_a_killed_registration_uploaded_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    from qure.registry import registration

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_model_version", die)
        with pytest.raises(KeyboardInterrupt):
            world.register(1, 0.5)
    monkeypatch.setattr(registration, "_package", die)  # nothing is packaged or uploaded again
    assert world.register(1, 0.5)["version"] == 1


def test_half_an_upload_is_thrown_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "finalize_logged_model", die)
        with pytest.raises(KeyboardInterrupt):
            world.register(1, 0.5)
    assert world.enter(1, 0.5)["promoted"]
    client = connect(world.settings.tracking)
    models = client.search_logged_models([client.get_experiment_by_name("qure").experiment_id])
    assert [model.status for model in models] == ["READY"]


def test_an_evaluation_of_another_model_is_refused(world: World) -> None:
    with pytest.raises(BadInput, match="results are of the model"):
        stage.register(
            world.settings,
            "fashioniq",
            data=world.data,
            model=world.model_of(1),
            evaluation=world.judged(world.model_of(2), 0.5),
            output=world.folder / "r.json",
        )
    assert not (world.folder / "r.json").exists()


ASK = """
import pathlib, sys

repository, tracking, image = sys.argv[1:]
sys.path[:] = [path for path in sys.path if "site-packages" in path or not path.startswith(repository)]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
import mlflow
import pandas

mlflow.set_tracking_uri(tracking)
champion = mlflow.pyfunc.load_model("models:/qure-fashioniq@champion")
query = pandas.DataFrame({"reference": [pathlib.Path(image).read_bytes()], "text": ["is red"]})
answer = champion.predict(query, params={"top_k": 3})
import qure

assert not qure.__file__.startswith(repository), qure.__file__
print(*answer["ids"][0])
"""


@pytest.mark.integration
def test_the_champion_answers_a_query_in_a_process_that_knows_nothing(world: World, tmp_path: Path) -> None:
    """Another working folder, and no qure to import but the model's own copy."""
    from qure.benchmarks.fashioniq import files as fashioniq

    world.enter(1, 0.5)
    root = world.data / "fashioniq"
    image, repository = next((root / "images").iterdir()), str(Path(stage.__file__).parents[2])
    command = [sys.executable, "-c", ASK, repository, str(world.settings.tracking.uri), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stderr
    gallery = {one for category in fashioniq.CATEGORIES for one in fashioniq.read_gallery(root, "val", category).ids}
    answer = done.stdout.split()
    assert len(answer) == 3
    assert set(answer) <= gallery


def test_the_kept_report_names_the_version_and_links_to_it(world: World) -> None:
    folder = world.judged(world.model_of(1), 0.5)
    (folder / "report.html").write_text("<p><!-- provenance -->nothing<!-- /provenance --></p>")
    told = world.register(1, 0.5)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", "1")
    (place,) = [value for name, value in version.tags.items() if name.startswith("qure.evaluation.")]
    page = Path(client.download_artifacts(told["run_id"], f"{place}/report.html")).read_text()
    assert "/#/models/qure-fashioniq/versions/1" in page
    assert f"/runs/{told['run_id']}" in page
    assert (folder / "report.html").read_text() == "<p><!-- provenance -->nothing<!-- /provenance --></p>"


def test_without_tracking_the_way_out_is_told(world: World) -> None:
    off = world.settings.model_validate(world.settings.model_dump() | {"tracking": {"uri": None}})
    with pytest.raises(BadInput, match="tracking is switched off"):
        World(off, world.data, world.folder, world.model_of, world.judged).register(1, 0.5)


def test_another_index_is_another_version_of_the_same_model(world: World) -> None:
    """A gallery too small for one is searched exactly all the same; the version says so."""
    pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")
    from qure.registry.lineage import lineage

    wanted = {"index": {"kind": "ivf_pq", "bytes_per_token": 4}}
    settings = world.settings.model_validate(world.settings.model_dump() | {"serving": wanted})
    indexed = World(settings, world.data, world.folder, world.model_of, world.judged)
    assert [world.register(1, 0.5)["version"], indexed.register(1, 0.5)["version"]] == [1, 2]
    assert not indexed.register(1, 0.5)["created"]
    assert world.register(1, 0.5)["version"] == 1, "back to exact search is back to the first version"
    client = connect(settings.tracking)
    deciding = "lists null, bytes_per_token 4, probes null, tokens 2000, images 300, least_recall 0.95"
    said = f"ivf_pq: {deciding}; exact: the gallery is small"
    assert f"| search | `{said}` |" in client.get_model_version("qure-fashioniq", "2").description
    assert lineage(settings, "models:/qure-fashioniq/2")["search"] == said
    assert lineage(settings, "models:/qure-fashioniq/1")["search"] == "exact"


def test_a_version_with_an_index_says_what_it_finds(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a gallery that is large enough; its embeddings are made up."""
    pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")
    from qure.evaluation.ranking.embeddings import write_embeddings
    from qure.registry.lineage import lineage
    from qure.serving import gallery
    from qure.serving.index_building import build_index

    wanted = {"index": {"kind": "ivf_pq", "bytes_per_token": 1, "least_recall": 0.5, "queries": 20}}
    settings = world.settings.model_validate(world.settings.model_dump() | {"serving": wanted})
    vectors = np.random.default_rng(0).standard_normal((3000, 4, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    ids = [f"image-{number}" for number in range(len(vectors))]

    def write_large(settings: Settings, training_set: str, folder: Path, **_: object) -> None:
        write_embeddings(folder / "embeddings.safetensors", ids, vectors)
        write_json(folder / "groups.json", {name: ids[place::3] for place, name in enumerate(CATEGORIES)})
        build_index(folder, settings.serving.index)

    monkeypatch.setattr(gallery, "write_gallery", write_large)
    indexed = World(settings, world.data, world.folder, world.model_of, world.judged)
    assert indexed.enter(1, 0.5)["promoted"], "it answers from the registry as it did when it was packaged"
    version = connect(settings.tracking).get_model_version("qure-fashioniq", "1")
    assert 0.5 <= float(version.tags["qure.index.recall_at_10"]) <= 1
    told = f"; recall@10 {version.tags['qure.index.recall_at_10']} against exact search"
    assert lineage(settings, "models:/qure-fashioniq/1")["search"].endswith(told)
    assert told in version.description
    image = next((world.data / "fashioniq" / "images").iterdir())
    found = ask_champion(settings, "fashioniq", image, "is red", 5, "dress")
    assert len(found) == 5
    assert {image_id for image_id, _ in found} <= set(ids[0::3])
