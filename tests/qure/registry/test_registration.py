"""What registration asks of MLflow and tells it: looked up first, uploaded once, made a version under the lock.

Real models are packaged and registered by test_registering.py; here MLflow and the package are played.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import RestException
from mlflow.store.entities import PagedList

import qure.datasets.image_store
import qure.models.precision
import qure.serving.gallery
from qure.config import IndexSettings, Settings
from qure.registry import registration
from qure.registry.registration import (
    Trained,
    bring_back,
    describe,
    ensure_registered,
    find_version,
    keep_made_with,
    new_version,
    search_facts,
)

RUN = "0" * 32
TRAINING = {"training": {"fashioniq": {"recipe": "catalogue"}}}
EXACT = Settings.model_validate(TRAINING)
INDEXED = Settings.model_validate(TRAINING | {"serving": {"index": {"kind": "ivf_pq"}}})
TAG = str(registration.index_tag(INDEXED.serving.index))


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    queries = pd.DataFrame(
        {"reference": ["B0", "B1"], "text": ["is red", "is blue"], "category": ["dress", "shirt"]}, index=[7, 8]
    )
    return Trained(
        training_set="fashioniq",
        model=tmp_path / "model",
        manifest={"fingerprint": "f", "vision_fingerprint": "v", "notes": {"backbone": "b"}},
        evaluations={"fashioniq": SimpleNamespace(per_query=queries)},  # type: ignore[dict-item]
        data=tmp_path / "data",
        data_fingerprint="md5:1",
        features=None,
        validation=None,
    )


class Client:
    """Remembers what it was asked to do; searches find what it was given."""

    def __init__(self, *, versions: list[Any] | None = None, models: list[Any] | None = None) -> None:
        self.versions, self.models = versions or [], models or []
        self.done: list[tuple[Any, ...]] = []
        self.refusal: str | None = None
        self.artifacts: list[str] = []

    def search_model_versions(self, filter_string: str, page_token: str | None = None) -> Any:
        self.done.append(("searched", filter_string))
        return PagedList(self.versions, None)

    def search_logged_models(self, experiments: list[str], filter_string: str, page_token: str | None = None) -> Any:
        self.done.append(("searched models", experiments, filter_string))
        return PagedList(self.models, None)

    def create_registered_model(self, name: str, description: str) -> None:
        if self.refusal:
            raise RestException({"error_code": self.refusal, "message": "refused"})
        self.done.append(("registered", name, description))

    def list_logged_model_artifacts(self, model_id: str) -> list[Any]:
        return [SimpleNamespace(path=f"deep/{name}") for name in self.artifacts]

    def create_logged_model(self, experiment: str, **of: Any) -> Any:
        self.done.append(("logged", experiment, of))
        return SimpleNamespace(model_id="m-new")

    def log_outputs(self, run_id: str, outputs: list[Any]) -> None:
        self.done.append(("outputs", run_id, [(one.model_id, one.step) for one in outputs]))

    def finalize_logged_model(self, model_id: str, status: str) -> Any:
        self.done.append(("finalized", model_id, status))
        return model("m-new", tags={registration.RECALL: "0.98", "other": "x"})

    def create_model_version(self, name: str, **of: Any) -> Any:
        self.done.append(("version", name, of))
        return SimpleNamespace(version="1")

    def __getattr__(self, name: str) -> Any:
        if name not in ("log_model_artifacts", "delete_logged_model", "update_model_version", "log_dict"):
            raise AttributeError(name)
        return lambda *arguments: self.done.append((name, *arguments))

    def did(self, what: str) -> list[tuple[Any, ...]]:
        return [arguments for name, *arguments in self.done if name == what]  # type: ignore[misc]


def version(number: int, status: str = "READY", **tags: str) -> Any:
    return SimpleNamespace(version=str(number), status=status, tags=tags)


def model(model_id: str, status: str = "READY", run: str = RUN, tags: dict[str, str] | None = None) -> Any:
    return SimpleNamespace(
        model_id=model_id, status=status, source_run_id=run, tags=tags or {}, model_uri=f"models:/{model_id}"
    )


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """Packages nothing; remembers for which device it was asked to."""
    asked: list[str | None] = []
    monkeypatch.setattr(registration, "experiment_id", lambda client, tracking: "7")
    monkeypatch.setattr(registration, "commit", lambda: "c")
    monkeypatch.setattr(registration, "repository", lambda: "https://example.org")
    monkeypatch.setattr(registration, "environment", lambda: {"torch": "2"})
    monkeypatch.setattr(registration, "headline", lambda evaluations: {"fashioniq.recall_at_10": 0.43215})

    def _package(settings: Settings, trained: Trained, temporary: Path, device: str | None) -> Path:
        asked.append(device)
        return temporary / "package"

    monkeypatch.setattr(registration, "_package", _package)
    return asked


def test_a_name_is_made_unless_it_is_there() -> None:
    client: Any = Client()
    ensure_registered(client, "qure-fashioniq")
    assert client.did("registered")[0][0] == "qure-fashioniq"
    client.refusal = "RESOURCE_ALREADY_EXISTS"
    ensure_registered(client, "qure-fashioniq")
    client.refusal = "PERMISSION_DENIED"
    with pytest.raises(RestException, match="refused"):
        ensure_registered(client, "qure-fashioniq")


def test_the_oldest_whole_version_of_a_model_and_an_index() -> None:
    index = {registration.INDEX: TAG}
    versions = [version(10), version(9), version(2, "PENDING_REGISTRATION"), version(3, **index), version(4, **index)]
    client: Any = Client(versions=versions)
    assert getattr(find_version(client, "n", "f", IndexSettings()), "version", None) == "9"
    assert getattr(find_version(client, "n", "f", INDEXED.serving.index), "version", None) == "3"
    assert find_version(client, "n", "f", IndexSettings(kind="ivf_pq", probes=1)) is None
    assert client.did("searched")[0] == ["name = 'n' and tags.`qure.model_fingerprint` = 'f'"]


def test_how_a_version_is_searched() -> None:
    assert search_facts({"other": ""}) == "exact"
    assert search_facts({registration.INDEX: "ivf_pq: lists 4"}) == "ivf_pq: lists 4; exact: the gallery is small"


@contextlib.contextmanager
def _lock(checked: list[str]) -> Iterator[Any]:
    checked.append("held")
    yield SimpleNamespace(check=lambda: checked.append("checked"))
    checked.append("released")


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    held: list[str] = []
    monkeypatch.setattr(registration, "Champions", lambda client, name: SimpleNamespace(lock=lambda: _lock(held)))
    return held


def test_a_version_is_made_of_what_was_uploaded(
    trained: Trained,
    tmp_path: Path,
    lock: list[str],
    package: list[str | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "qure")
    client: Any = Client(models=[model("m-broken", "PENDING"), model("m-other", "PENDING", run="1" * 32)])
    new_version(client, EXACT, trained, RUN, tmp_path, "cpu")
    facts = {
        "qure.model_fingerprint": "f",
        "qure.vision_fingerprint": "v",
        "qure.backbone_fingerprint": "b",
        "qure.data_fingerprint": "md5:1",
        "qure.commit": "c",
        "qure.repository": "https://example.org",
    }
    assert client.did("searched models") == [[["7"], "tags.`qure.model_fingerprint` = 'f'"]]
    assert client.did("delete_logged_model") == [["m-broken"]], "what this run broke off, and not what another does"
    logged = {"name": "qure-fashioniq", "source_run_id": RUN, "tags": facts, "model_type": "composed-image-retrieval"}
    assert client.did("logged") == [["7", logged]]
    assert client.did("outputs") == [[RUN, [("m-new", 0)]]]
    assert [(one, Path(folder).name) for one, folder in client.did("log_model_artifacts")] == [("m-new", "package")]
    assert client.did("finalized") == [["m-new", "READY"]]
    name, made = client.did("version")[0]
    assert (name, made.pop("tags")) == (
        "qure-fashioniq",
        facts
        | {
            registration.LOGGED_MODEL: "m-new",
            registration.RECALL: "0.98",
            "qure.metric.fashioniq.recall_at_10": "0.4321",
        },
    )
    assert made == {"source": "models:/m-new", "run_id": RUN, "model_id": "m-new"}
    assert lock == ["held", "checked", "released"]
    assert package == ["cpu"]
    assert caplog.messages == ["uploading the package to MLflow"]


def test_whoever_was_quicker_has_made_the_version(trained: Trained, tmp_path: Path, lock: list[str]) -> None:
    theirs = version(4)
    client: Any = Client(versions=[theirs], models=[model("m-whole")])
    assert new_version(client, EXACT, trained, RUN, tmp_path, None) is theirs
    assert client.did("version") == []
    assert lock == ["held", "released"]


@pytest.mark.parametrize(("settings", "uploaded"), [(EXACT, 0), (INDEXED, 1)])
def test_what_was_uploaded_whole_is_used_again(
    trained: Trained, tmp_path: Path, settings: Settings, uploaded: int, package: list[str | None], lock: list[str]
) -> None:
    """But not for a gallery that is searched another way."""
    whole = model("m-whole", run="1" * 32)
    client: Any = Client(models=[model("m-broken", "PENDING"), whole])
    new_version(client, settings, trained, RUN, tmp_path, None)
    assert (len(package), len(client.did("logged"))) == (uploaded, uploaded)
    assert client.did("delete_logged_model") == []
    made = client.did("version")[0][1]
    assert made["model_id"] == ("m-new" if uploaded else "m-whole")
    assert made["tags"].get(registration.INDEX) == (TAG if uploaded else None)


def test_what_is_not_known_is_no_tag(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "repository", lambda: None)
    trained.manifest["notes"].clear()
    assert sorted(registration._facts(EXACT, trained)) == sorted(
        ["qure.model_fingerprint", "qure.vision_fingerprint", "qure.data_fingerprint", "qure.commit"]
    )


def test_settings_are_kept_without_the_server() -> None:
    client: Any = Client()
    keep_made_with(client, EXACT, RUN)
    run, kept, place = client.did("log_dict")[0]
    assert (run, place, kept["environment"]) == (RUN, "lineage/made_with.json", {"torch": "2"})
    assert kept["settings"] == EXACT.model_dump(mode="json", exclude={"tracking"})


@pytest.mark.parametrize(
    ("artifacts", "logged", "uploads"),
    [
        (["MLmodel", "artifacts", "code", registration.ANSWER, "more"], "m-1", 0),
        (["MLmodel", "artifacts", "code"], "m-1", 1),
        ([], "m-1", 1),
        ([], None, 0),  # of an older qure: nothing says where its files were
    ],
)
def test_files_that_are_gone_are_uploaded_again(
    trained: Trained,
    tmp_path: Path,
    artifacts: list[str],
    logged: str | None,
    uploads: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client: Any = Client()
    client.artifacts = artifacts
    one = SimpleNamespace(name="n", version="3", tags={registration.LOGGED_MODEL: logged} if logged else {})
    bring_back(client, EXACT, trained, one, tmp_path, None)  # type: ignore[arg-type]
    assert [model_id for model_id, _ in client.did("log_model_artifacts")] == ["m-1"] * uploads
    assert ("the files of n version 3 are gone" in caplog.text) == bool(uploads)


def test_a_card_is_given_once(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "card", lambda trained, facts, controls, run: (facts, controls, run))
    client: Any = Client()
    tags = {"qure.commit": "c", "qure.data_fingerprint": "d"}
    one = SimpleNamespace(name="n", version=3, run_id=RUN, tags=tags, description="a person's own")
    describe(client, EXACT, trained, one, {})  # type: ignore[arg-type]
    assert client.done == []
    one.description = None
    describe(client, EXACT, trained, one, {"text only": {}})  # type: ignore[arg-type]
    facts = {"commit": "c", "data": "d", "model": "f", "search": "exact"}
    assert client.done == [("update_model_version", "n", "3", (facts, {"text only": {}}, ("7", RUN)))]


@pytest.mark.parametrize(("device", "used"), [("cuda:1", "cuda:1"), (None, "meta")])
def test_a_package_holds_the_gallery_and_an_example_that_was_asked(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str | None,
    used: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.undo()
    caplog.set_level(logging.INFO, "qure")
    monkeypatch.setattr(registration, "commit", lambda: "c")
    monkeypatch.setattr(registration, "repository", lambda: None)
    monkeypatch.setattr(qure.models.precision, "default_device", lambda: "meta")
    monkeypatch.setattr(
        qure.datasets.image_store,
        "open_images",
        lambda root: SimpleNamespace(read=lambda image: f"{root.name}/{image}".encode()),
    )
    galleries, packages = list[tuple[Any, ...]](), list[tuple[Any, ...]]()

    def write_gallery(settings: Settings, training_set: str, folder: Path, **of: Any) -> None:
        assert folder.is_dir()
        galleries.append((training_set, folder, of["device"], of["data"], of["model"]))

    monkeypatch.setattr(qure.serving.gallery, "write_gallery", write_gallery)
    monkeypatch.setattr(registration, "package", lambda folder, **of: packages.append((folder, of)))
    assert registration._package(EXACT, trained, tmp_path, device) == tmp_path / "package"
    assert galleries == [("fashioniq", tmp_path / "gallery", used, trained.data, trained.model)]
    ((folder, of),) = packages
    assert (folder, of["model"], of["gallery"]) == (tmp_path / "package", trained.model, tmp_path / "gallery")
    assert of["example"] == registration.Example(b"fashioniq/B0", "is red", "dress")
    assert of["facts"] == registration._facts(EXACT, trained)
    assert [message.split()[0] for message in caplog.messages] == ["packaging", "loading"]


def test_what_an_index_finds_is_kept_with_four_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qure.serving.ivf_index as ivf

    assert registration._recall(tmp_path) == {}
    monkeypatch.setattr(ivf, "has_index", lambda gallery: True)
    monkeypatch.setattr(ivf, "read_record", lambda folder: SimpleNamespace(recall_at_10=0.98154))
    assert registration._recall(tmp_path) == {registration.RECALL: "0.9815"}
