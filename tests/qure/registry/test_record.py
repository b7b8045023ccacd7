"""The second place of the history: what it gives back, what it shows nobody, and when it says that it is alone."""

from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from qure.config import TrackingSettings
from qure.registry.history import PROMOTED, Entry
from qure.registry.record import CONTENT, HistoryRecord
from qure.tracking import connect

NAME = "qure-test"
FIRST = Entry(1, None, PROMOTED, "2026-01-01", done=True, token=1, writer="0f")
SECOND = Entry(2, 1, PROMOTED, "2026-01-02", why="better", difference=0.5, done=True, token=2, writer="1a")


@pytest.fixture
def client(sqlite_uri: str) -> Any:
    """A registry with one model."""
    client = connect(TrackingSettings(uri=sqlite_uri))
    client.create_registered_model(NAME)
    return client


@pytest.fixture
def model(client: Any) -> Any:
    """As it is now."""
    return client.get_registered_model(NAME)


def _listed(client: Any) -> set[str]:
    return {one.name for one in client.search_experiments(view_type=ViewType.ACTIVE_ONLY)}


def _hidden(client: Any) -> list[Any]:
    return list(client.search_experiments(view_type=ViewType.DELETED_ONLY))


def test_what_was_kept_comes_back_and_is_listed_nowhere(
    client: Any, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record = HistoryRecord(client)
    assert record.entries(model) == {}
    for entry in (FIRST, SECOND, FIRST):
        record.keep(model, entry)
    assert record.entries(model) == {FIRST.key: FIRST, SECOND.key: SECOND}
    assert _listed(client) == {"Default"}
    assert caplog.text == "", "that it was kept already is nothing to tell"


def test_what_a_person_brings_back_on_the_page_is_put_out_of_sight_again(client: Any, model: Any) -> None:
    record = HistoryRecord(client)
    for entry in (FIRST, SECOND):
        record.keep(model, entry)
    client.restore_experiment(_hidden(client)[0].experiment_id)
    assert len(_listed(client)) == 2
    assert record.entries(model) == {FIRST.key: FIRST, SECOND.key: SECOND}
    assert _listed(client) == {"Default"}


def test_experiments_of_others_are_neither_read_nor_hidden(client: Any, model: Any) -> None:
    """MLflow's LIKE knows no case, and takes an underscore for any letter."""
    record = HistoryRecord(client)
    record.keep(model, SECOND)
    tags = {CONTENT: _hidden(client)[0].tags[CONTENT]}
    own = f"qure-history/{NAME}/{model.creation_timestamp}/"
    others = {own.upper() + "00000009.ab", own + "a person's notes", own + "00000007.cd"}
    for name in others:
        client.create_experiment(name, tags=tags if name.startswith("QURE") else {})
    assert record.entries(model) == {SECOND.key: SECOND}
    assert _listed(client) == {"Default", *others}


class Refusing:
    """A client of which one call fails."""

    def __init__(self, client: Any, call: str) -> None:
        self._client, self._call = client, call

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> None:
            raise MlflowException("the disk is full")

        return refuse if name == self._call else getattr(self._client, name)


def test_a_change_that_is_kept_in_one_place_only_is_said_and_kept_later(
    client: Any, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    HistoryRecord(Refusing(client, "create_experiment")).keep(model, FIRST)
    assert f"{NAME}: a change of champion is kept in one place only: the disk is full" in caplog.text
    assert HistoryRecord(client).entries(model) == {}
    HistoryRecord(client).keep(model, FIRST)
    assert HistoryRecord(client).entries(model) == {FIRST.key: FIRST}


def test_one_that_another_process_hides_first_is_no_error_and_any_other_is(client: Any, model: Any) -> None:
    record = HistoryRecord(client)
    record.keep(model, FIRST)
    record._hide(_hidden(client)[0].experiment_id)
    client.restore_experiment(_hidden(client)[0].experiment_id)
    with pytest.raises(MlflowException, match="the disk is full"):
        HistoryRecord(Refusing(client, "delete_experiment")).entries(model)
