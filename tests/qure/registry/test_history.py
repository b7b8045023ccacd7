"""What follows from a history: the way back, who may not return, and how good champions measured."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.registry.history import (
    BROUGHT_BACK,
    ENTRY,
    PROMOTED,
    ROLLED_BACK,
    SET_BY_HAND,
    WITHDRAWN,
    Entry,
    accumulated_loss,
    barred,
    entries_of,
    entry_of,
    levels,
    predecessors,
    tag_of,
    withdraw,
    write_entry,
)


def promoted(*versions: int, differences: dict[int, float] | None = None) -> list[Entry]:
    """One after the other, each compared with the one before where a difference is given."""
    before = [None, *versions[:-1]]
    return [
        Entry(version, previous, PROMOTED, "", difference=(differences or {}).get(version))
        for version, previous in zip(versions, before, strict=True)
    ]


def test_an_entry_comes_back_from_its_tag() -> None:
    entry = Entry(
        3, 1, ROLLED_BACK, "2026-01-01", "a reason", "anna@laptop", "qure rollback", "run", 2, -0.5, True, token=12
    )
    assert entry.key == f"{ENTRY}00000012"
    assert entry_of(entry.key, tag_of(entry)) == entry
    signed = Entry(3, None, PROMOTED, "", token=7, writer="1f0c9a2b")
    assert signed.key == f"{ENTRY}00000007.1f0c9a2b"
    assert entry_of(signed.key, tag_of(signed)) == signed


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("qure.origin", {"version": 1, "previous": None, "reason": "", "at": ""}),
        (f"{ENTRY}7.a.b", {"version": 1, "previous": None, "reason": "", "at": ""}),
        (f"{ENTRY}7", {"version": 1}),
        (f"{ENTRY}7", {"version": "1", "previous": None, "reason": "", "at": ""}),
        (f"{ENTRY}7", {"version": True, "previous": None, "reason": "", "at": ""}),
        (f"{ENTRY}7", {"version": 1, "previous": 2.0, "reason": "", "at": ""}),
        (f"{ENTRY}7", {"version": 1, "previous": None, "reason": "", "at": "", "bars": "2"}),
        (f"{ENTRY}7", [1]),
        (f"{ENTRY}7", "nonsense"),
    ],
)
def test_what_is_no_entry_or_was_edited_so_is_left_out(key: str, content: Any) -> None:
    assert entry_of(key, json.dumps(content)) is None
    assert entry_of(key, "{") is None
    assert entries_of(SimpleNamespace(tags={key: json.dumps(content)})) == []  # type: ignore[arg-type]


def test_what_a_writer_knows_counts_more_than_who_withdrew_it() -> None:
    def found(mark: str, *, done: bool) -> tuple[bool, bool, bool]:
        entry = Entry(1, None, PROMOTED, "", token=7, writer="ab", done=done)
        tags = {entry.key: tag_of(entry), f"{WITHDRAWN}00000007.ab": mark}
        (one,) = entries_of(SimpleNamespace(tags=tags))  # type: ignore[arg-type]
        return one.withdrawn, one.outstanding, one.counts

    assert found('{"outstanding": true}', done=False) == (True, True, False)
    assert found('{"outstanding": false}', done=False) == (True, False, False)
    assert found("edited", done=False) == (True, True, False), "taken for the more careful word"
    assert found("[]", done=False) == (True, True, False)
    assert found("{}", done=False) == (True, True, False)
    assert found('{"outstanding": true}', done=True) == (False, False, True)
    assert not Entry(1, None, PROMOTED, "").counts
    assert not Entry(1, None, PROMOTED, "", done=True, withdrawn=True).counts


class Page:
    """A registered model's tags, as a client writes them."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        assert name == "qure-test"
        self.tags[key] = value


@pytest.mark.parametrize("outstanding", [True, False])
def test_entries_and_withdrawals_are_read_as_they_were_written(outstanding: bool) -> None:
    page: Any = Page()
    begun = Entry(3, 1, PROMOTED, "2026-01-01", token=7, writer="ab")
    write_entry(page, "qure-test", begun)
    assert entries_of(page) == [begun]
    withdraw(page, "qure-test", begun, outstanding=outstanding)
    assert entries_of(page) == [replace(begun, withdrawn=True, outstanding=outstanding)]
    write_entry(page, "qure-test", replace(begun, done=True))
    assert entries_of(page) == [replace(begun, done=True)]


def test_entries_stand_in_the_order_of_their_numbers() -> None:
    entries = [
        Entry(version, None, PROMOTED, "", token=token, writer=writer)
        for version, token, writer in ((1, 10, "b"), (2, 2, "z"), (3, 10, "a"), (4, 9, ""))
    ]
    found = entries_of(SimpleNamespace(tags={one.key: tag_of(one) for one in entries}))  # type: ignore[arg-type]
    assert [one.version for one in found] == [2, 4, 3, 1]


def test_the_way_back_is_nearest_first_and_never_in_a_circle() -> None:
    assert predecessors(promoted(1, 2, 5, 3), 3) == [5, 2, 1]
    assert predecessors(promoted(1, 2, 5, 3), 2) == [1]
    assert predecessors(promoted(1, 2), 1) == []
    assert predecessors(promoted(1, 2), 9) == []
    # 2 was made champion again after 3, by hand: from 3 the way leads to 2, and from there to 3.
    again = [*promoted(1, 2, 3), Entry(2, 3, SET_BY_HAND, "")]
    assert predecessors(again, 3) == [2]
    assert predecessors(again, 2) == [3]
    circle = [Entry(one, before, SET_BY_HAND, "") for one, before in ((1, 2), (2, 3), (3, 2))]
    assert predecessors(circle, 1) == [2, 3]


def test_who_was_rolled_back_is_barred_until_a_person_makes_it_champion() -> None:
    rolled_back = Entry(2, 1, ROLLED_BACK, "then", bars=5)
    history = [*promoted(1, 2, 5), rolled_back]
    assert barred(history) == {5: rolled_back}
    assert barred([*history, Entry(5, 2, SET_BY_HAND, "")]) == {}
    deleted = Entry(1, None, BROUGHT_BACK, "", bars=2)
    assert barred([*history, deleted]) == {5: rolled_back, 2: deleted}
    assert barred(promoted(1, 2, 5)) == {}
    assert barred([Entry(1, None, ROLLED_BACK, "")]) == {}, "nobody was champion before"


def test_entries_of_older_versions_bar_whoever_was_champion() -> None:
    old = Entry(1, None, ROLLED_BACK, "")
    assert barred([*promoted(1, 2), old]) == {2: old}
    assert barred([*promoted(1, 2), Entry(1, None, SET_BY_HAND, "")]) == {}


def test_levels_add_up_along_comparisons_and_begin_anew_without_one() -> None:
    history = promoted(1, 2, 3, differences={2: 2.0, 3: -0.5})
    assert levels(history) == {1: 0.0, 2: 2.0, 3: 1.5}
    assert levels([*history, Entry(2, 1, ROLLED_BACK, "", bars=3)]) == {1: 0.0, 2: 2.0, 3: 1.5}, "it is known already"
    assert levels([*history, Entry(4, 3, SET_BY_HAND, "")]) == {4: 0.0}
    assert levels([*history, Entry(4, 9, PROMOTED, "", difference=1.0)]) == {4: 0.0}, "9 was never champion"


@given(st.lists(st.integers(-8, 8), max_size=12), st.integers(1, 8), st.integers(0, 12))
def test_the_loss_is_the_way_down_from_the_best_of_the_last_changes(
    halves: list[int], window: int, by_hand: int
) -> None:
    """Champions 1, 2, ... each measured against the one before; `by_hand`: one entry is a person's decision."""
    scores = [0.0]
    for half in halves:
        scores.append(scores[-1] + half / 2)
    history = promoted(*range(1, len(scores) + 1), differences={at + 2: half / 2 for at, half in enumerate(halves)})
    begins = 0
    if 0 < by_hand < len(history):
        entry = history[by_hand]
        history[by_hand] = Entry(entry.version, entry.previous, ROLLED_BACK, "", difference=entry.difference)
        begins = by_hand
    seen = scores[max(begins, len(scores) - window) :]
    assert accumulated_loss(history, len(scores), window) == max(seen) - scores[-1]


def test_of_a_champion_that_was_compared_with_nobody_nothing_is_lost() -> None:
    assert accumulated_loss(promoted(1, 2, differences={2: -3.0}), 7, 20) == 0.0
    assert accumulated_loss([], 1, 20) == 0.0
