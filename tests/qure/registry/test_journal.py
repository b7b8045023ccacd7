"""Alias and entries as MLflow holds them, one call at a time: `test_champions.py` has what is decided with them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from qure.config import TrackingSettings
from qure.errors import BadInput
from qure.registry.history import ENTRY, PROMOTED, Entry
from qure.registry.journal import CHAMPION, ROLLED_BACK_TAG, Journal
from qure.tracking import LockLost, connect

NAME = "qure-test"
FIRST = Entry(1, None, PROMOTED, "2026-01-01", done=True, token=1, writer="0f")
SECOND = Entry(2, 1, PROMOTED, "2026-01-02", why="better", done=True, token=2, writer="1a")
BEGUN = Entry(3, 2, PROMOTED, "2026-01-03", token=3, writer="2b")


class Held:
    """A lock that is held for so many looks at it."""

    def __init__(self, looks: int = 99) -> None:
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise LockLost("taken over")


@pytest.fixture
def client(sqlite_uri: str) -> Any:
    """A registry with one model of three versions."""
    client = connect(TrackingSettings(uri=sqlite_uri))
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, source="s3://bucket/model")
    return client


@pytest.fixture
def journal(client: Any) -> Journal:
    """Read once, as whoever decides does."""
    journal = Journal(client, NAME)
    assert journal.read() == ([], None)
    return journal


def _recorded(client: Any) -> int:
    return len(client.search_experiments(view_type=ViewType.DELETED_ONLY))


def test_entries_and_alias_are_read_as_they_were_written(client: Any, journal: Journal) -> None:
    for entry in (SECOND, BEGUN, FIRST):
        journal.write(entry)
    journal.move_alias(2)
    assert journal.read() == ([FIRST, SECOND, BEGUN], 2)
    assert str(client.get_model_version_by_alias(NAME, CHAMPION).version) == "2"
    journal.remove(BEGUN)
    journal.move_alias(None)
    assert journal.read() == ([FIRST, SECOND], None)


def test_changes_that_were_made_are_recorded_a_second_time_and_others_are_not(client: Any, journal: Journal) -> None:
    journal.write(BEGUN)
    assert _recorded(client) == 0
    journal.write(replace(FIRST, outstanding=True))
    assert _recorded(client) == 1
    client.delete_registered_model_tag(NAME, FIRST.key)
    journal.read()
    assert journal.restore(Held())
    assert journal.read()[0] == [FIRST, BEGUN], "what was outstanding when it was made is not any more"


def test_nothing_is_restored_where_nothing_is_lost(client: Any, journal: Journal) -> None:
    for entry in (FIRST, SECOND):
        journal.write(entry)
    journal.read()
    lock = Held(0)
    assert not journal.restore(lock), "so the lock is not asked either"
    assert journal.read()[0] == [FIRST, SECOND]


def test_what_an_older_qure_has_written_is_recorded_when_it_is_read(client: Any, journal: Journal) -> None:
    old = {"version": 1, "previous": None, "reason": "promoted", "at": "2026-01-01", "took_over": True, "done": True}
    client.set_registered_model_tag(NAME, f"{ENTRY}00000001", json.dumps(old))
    journal.read()
    assert not journal.restore(Held())
    assert _recorded(client) == 1
    client.delete_registered_model_tag(NAME, f"{ENTRY}00000001")
    journal.read()
    assert journal.restore(Held())
    assert [one.version for one in journal.read()[0]] == [1]


def test_whoever_has_lost_the_lock_writes_nothing(client: Any, journal: Journal) -> None:
    journal.write(FIRST)
    journal.write(BEGUN)
    client.set_registered_model_tag(NAME, FIRST.key, "edited")
    journal.read()
    with pytest.raises(LockLost):
        journal.restore(Held(0))
    for act in (
        lambda: journal.rewrite(Held(0), BEGUN, done=True),
        lambda: journal.withdraw(Held(0), BEGUN, outstanding=True),
    ):
        with pytest.raises(LockLost):
            act()
    assert client.get_registered_model(NAME).tags[FIRST.key] == "edited"
    assert journal.read()[0] == [BEGUN]


def test_what_is_newly_known_of_an_entry_is_told_and_written(journal: Journal) -> None:
    journal.write(BEGUN)
    known = journal.withdraw(Held(), BEGUN, outstanding=True)
    assert known == replace(BEGUN, withdrawn=True, outstanding=True)
    assert journal.read()[0] == [known]
    assert journal.withdraw(Held(), BEGUN, outstanding=False) == journal.read()[0][0]
    done = journal.rewrite(Held(), BEGUN, done=True)
    assert done == replace(BEGUN, done=True)
    assert journal.read()[0] == [done], "its writer's word counts more than the withdrawal"


def test_versions_that_are_there_and_that_are_not(client: Any, journal: Journal) -> None:
    assert str(journal.version(3).version) == "3"
    assert journal.exists(3)
    client.delete_model_version(NAME, "3")
    assert not journal.exists(3)
    with pytest.raises(BadInput, match=rf"{NAME} has no version 3.*do this instead"):
        journal.version(3, "do this instead")
    with pytest.raises(MlflowException):
        journal.version("nonsense")  # type: ignore[arg-type]


def test_versions_pages_show_who_was_rolled_back(client: Any, journal: Journal) -> None:
    def shown() -> set[int]:
        tags = {number: client.get_model_version(NAME, str(number)).tags for number in (1, 2)}
        return {number for number, own in tags.items() if ROLLED_BACK_TAG in own}

    journal.show_barred(2, 1)
    assert shown() == {2}
    assert client.get_model_version(NAME, "2").tags[ROLLED_BACK_TAG].startswith("20")
    journal.show_barred(None, 1)
    assert shown() == {2}
    journal.show_barred(1, 2)
    assert shown() == {1}
    journal.show_barred(1, 1)
    assert shown() == set(), "nobody is rolled back by itself"
    client.delete_model_version(NAME, "3")
    journal.show_barred(3, 1)  # deleted meanwhile: there is no page to show it on


def test_pages_that_cannot_be_written_change_nothing(journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    journal.show_barred(None, 9)
    assert f"{NAME}: a version's page does not show the rollback: {NAME} has no version 9" in caplog.text
    journal.name = "another"
    journal.show_history([FIRST])
    assert "another: its page does not show the newest change: " in caplog.text


def test_the_models_page_shows_the_history(client: Any, journal: Journal, caplog: pytest.LogCaptureFixture) -> None:
    journal.show_history([FIRST, SECOND])
    page = client.get_registered_model(NAME).description
    assert page.index("[version 2]") < page.index("[version 1]"), "the newest first"
    assert caplog.text == ""
