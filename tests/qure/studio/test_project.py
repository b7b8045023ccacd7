"""A project as the pages see it: its versions, evaluations, minings; and what is said where they are not there."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.layout import Layout
from qure.studio import project as module
from qure.studio.project import Project
from qure.studio.survey.crowd import relevance_of


@pytest.fixture
def other(world: Any, tmp_path: Path) -> Callable[..., Project]:
    """A project with the same data, without artifacts, and with its models elsewhere."""

    def make(uri: str = "sqlite:///nowhere.db", data: Path | None = None) -> Project:
        settings = world.settings.model_copy(update={"tracking": TrackingSettings(uri=uri)})
        layout = Layout(data or world.data, tmp_path / "artifacts", tmp_path / ".work").of("fashioniq")
        return Project(settings, layout, params=world.params, device="cpu")

    return make


def test_a_registry_without_versions_says_how_to_get_one(other: Callable[..., Project], sqlite_uri: str) -> None:
    with pytest.raises(BadInput, match=r"qure-fashioniq has no version\. .*fashioniq"):
        other(sqlite_uri).versions()


def test_errors_of_mlflow_are_no_missing_model(other: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    class Broken:
        def get_registered_model(self, name: str) -> None:
            raise MlflowException("the disk is full")

    monkeypatch.setattr(module, "connect", lambda settings: Broken())
    with pytest.raises(StageFailed, match="the disk is full"):
        other().versions()


def test_the_last_few_versions_stay_loaded(other: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    monkeypatch.setattr(module, "KEPT", 2)
    monkeypatch.setattr(module, "load", lambda address, **_: loaded.append(address[-1]) or address)
    project = other()
    for number in (1, 2, 1, 3, 1, 2):
        assert str(project.searcher(number)) == f"models:/qure-fashioniq/{number}"
    assert loaded == ["1", "2", "3", "2"], "whoever was not asked for the longest goes"


def test_without_an_evaluation_of_the_present_queries_nothing_is_listed(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = project.evaluated_rankings()
    assert set(found) == set(project.queries)
    project.__dict__["queries"] = {**project.queries, "dress/new": None}
    assert project.evaluated(project.versions()[0]) is None, "one query is new"
    assert project.evaluated_rankings() == {}


def test_minings_that_are_not_there_or_damaged_are_named(other: Callable[..., Project], tmp_path: Path) -> None:
    project = other()
    with pytest.raises(BadInput, match=r"no mining before epoch 3 is kept\. Train the model again"):
        project.mining(2)
    file = project.layout.training / "minings" / "2.json"
    with pytest.raises(BadInput, match=r"minings/2\.json.*Train the model again"):
        project.mining_strategy(2)
    file.parent.mkdir(parents=True)
    for text in ("[]", "{}", '{"settings": null}'):
        file.write_text(text)
        with pytest.raises(BadInput, match=r"minings/2\.json: are no statistics of a mining\. Train the model again"):
            project.mining_strategy(2)


def test_simulated_people_know_what_is_right(project: Any, other: Callable[..., Project], tmp_path: Path) -> None:
    relevance = relevance_of(project)
    query = next(iter(project.queries.values()))
    gallery = list(project.gallery[query.category])
    found = relevance(query.reference, query.text, [query.target, *gallery])
    assert found[0] == 1.0
    assert min(found) < 0.5
    shutil.copytree(project.benchmark.root(project.layout.data), tmp_path / "data" / "fashioniq", symlinks=True)
    (tmp_path / "data" / "fashioniq" / "truth.json").unlink()
    with pytest.raises(BadInput, match=r"data/fashioniq: this data has no known truth .*\. Ask people"):
        relevance_of(other(data=tmp_path / "data"))
