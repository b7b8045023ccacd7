"""Every change of champion as entries: tags of the registered model, each written whole, by nobody but its writer.

Whoever withdraws an entry that was begun says so in a tag of its own, beside it: what its writer knows counts more, so
that of two who write at the same moment neither wipes out the other's word.

`qure.registry.champions` says when they are written. What follows from them is computed here, from nothing else: who
follows when a champion is rolled back or deleted, who was rolled back, and what is known of how good champions were.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

ENTRY, WITHDRAWN = "qure.champion.", "qure.withdrawn."

PROMOTED, ROLLED_BACK, SET_BY_HAND, BROUGHT_BACK = "promoted", "rolled back", "set by hand", "brought back"

_KEY = re.compile(re.escape(ENTRY) + r"(\d+)(?:\.(\w+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of champion.

    Attributes:
        version: who became champion.
        previous: who becomes champion when this one is rolled back; None for nobody.
        reason: "promoted", "rolled back", "set by hand", or "brought back" when its successor was deleted.
        at: UTC, ISO 8601; for people: nothing is decided by it.
        why: the decision in a sentence.
        by: who and on which machine; empty where a person has set the alias, of whom MLflow tells nothing.
        command: what was called.
        run: the MLflow run that decided it; empty where none did.
        bars: the version that left as champion and is not to return by itself.
        difference: measured score of this version minus the previous one's, in percentage points; None where they
            were not compared.
        done: whether the alias was moved.
        withdrawn: whether it counts for nothing: its writer died or lost its lock before it moved the alias.
        outstanding: whether a writer whose entry was withdrawn may still live, and move the alias late.
        token: the entry's number.
        writer: tells apart entries of the same number.
    """

    version: int
    previous: int | None
    reason: str
    at: str
    why: str = ""
    by: str = ""
    command: str = ""
    run: str = ""
    bars: int | None = None
    difference: float | None = None
    done: bool = False
    withdrawn: bool = False
    outstanding: bool = False
    token: int = 0
    writer: str = ""

    @property
    def key(self) -> str:
        """The tag's name."""
        return f"{ENTRY}{self.token:08d}" + (f".{self.writer}" if self.writer else "")

    @property
    def counts(self) -> bool:
        """Whether the change was made."""
        return self.done and not self.withdrawn


def entries_of(model: "RegisteredModel") -> list[Entry]:
    """Every entry of a registered model, oldest first: also those that were begun, or withdrawn."""
    entries = []
    for key, value in model.tags.items():
        entry = entry_of(key, value)
        if entry is None:
            continue
        mark = model.tags.get(WITHDRAWN + key.removeprefix(ENTRY))
        if mark is not None and not entry.done:
            entry = replace(entry, withdrawn=True, outstanding=_is_outstanding(mark))
        entries.append(entry)
    return sorted(entries, key=lambda entry: (entry.token, entry.writer))


def entry_of(key: str, value: str) -> Entry | None:
    """The entry that a tag holds; None where it is no entry's, or was edited so that it is none any more.

    >>> entry_of("qure.champion.00000007.1f0c9a2b", "7") is entry_of("qure.origin", "7") is None
    True
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    known = {field.name for field in fields(Entry)}
    try:
        content = {field: one for field, one in json.loads(value).items() if field in known}
        entry = Entry(**{**content, "token": int(match[1]), "writer": match[2] or ""})
    except (ValueError, TypeError, AttributeError):
        return None
    numbers = (entry.version, *(one for one in (entry.previous, entry.bars) if one is not None))
    return entry if all(type(one) is int for one in numbers) else None


def tag_of(entry: Entry) -> str:
    """What its tag holds."""
    kept_apart = ("token", "writer", "withdrawn")
    return json.dumps({field: value for field, value in asdict(entry).items() if field not in kept_apart})


def write_entry(client: "MlflowClient", name: str, entry: Entry) -> None:
    """Writes an entry, or what its writer, or whoever finishes it, newly knows of it."""
    client.set_registered_model_tag(name, entry.key, tag_of(entry))


def withdraw(client: "MlflowClient", name: str, entry: Entry, *, outstanding: bool) -> None:
    """Says of an entry that was begun that it counts for nothing, unless its writer finishes it."""
    key = WITHDRAWN + entry.key.removeprefix(ENTRY)
    client.set_registered_model_tag(name, key, json.dumps({"outstanding": outstanding}))


def _is_outstanding(mark: str) -> bool:
    """What a withdrawal says; one that a person has edited is taken for the more careful word."""
    try:
        return bool(json.loads(mark)["outstanding"])
    except (ValueError, TypeError, KeyError):
        return True


def predecessors(history: Sequence[Entry], version: int) -> list[int]:
    """Who was champion before a version, nearest first: the way back, one step after the other.

    >>> [first, second] = [Entry(1, None, PROMOTED, ""), Entry(2, 1, PROMOTED, "")]
    >>> predecessors([first, second, Entry(4, 2, PROMOTED, "")], 4)
    [2, 1]
    """
    before = {entry.version: entry.previous for entry in history}
    chain: list[int] = []
    one = before.get(version)
    while one is not None and one != version and one not in chain:
        chain.append(one)
        one = before.get(one)
    return chain


def barred(history: Sequence[Entry]) -> dict[int, Entry]:
    """Version -> the entry by which it left, of those that only a person may make champion again.

    >>> rolled_back = Entry(1, None, ROLLED_BACK, "", bars=2)
    >>> history = [Entry(1, None, PROMOTED, ""), Entry(2, 1, PROMOTED, ""), rolled_back]
    >>> list(barred(history)), list(barred([*history, Entry(2, 1, SET_BY_HAND, "")]))
    ([2], [])
    """
    found: dict[int, Entry] = {}
    champion: int | None = None
    for entry in history:
        # Entries of older versions of qure do not say whom they bar: whoever was champion.
        left = champion if entry.bars is None and entry.reason == ROLLED_BACK else entry.bars
        if left is not None:
            found[left] = entry
        found.pop(entry.version, None)
        champion = entry.version
    return found


def levels(history: Sequence[Entry]) -> dict[int, float]:
    """Version -> measured score in percentage points, against the first champion of an unbroken chain of comparisons.

    Each promotion compared two models on the same queries; the sum of the differences compares models that never met.
    A champion that was compared with nobody begins a new chain.

    >>> history = [Entry(1, None, PROMOTED, ""), Entry(2, 1, PROMOTED, "", difference=2.0)]
    >>> levels([*history, Entry(3, 2, PROMOTED, "", difference=-0.5)])
    {1: 0.0, 2: 2.0, 3: 1.5}
    """
    found: dict[int, float] = {}
    for entry in history:
        if entry.difference is not None and entry.previous in found:
            found[entry.version] = found[entry.previous] + entry.difference
        elif entry.version not in found:
            found = {entry.version: 0.0}
    return found


def accumulated_loss(history: Sequence[Entry], champion: int, window: int) -> float:
    """By how many percentage points a champion measured below the best one of the last `window` changes; at least 0.

    What a person has decided (a rollback, an alias set by hand, a version deleted) begins the window anew.

    >>> history = [Entry(1, None, PROMOTED, ""), Entry(2, 1, PROMOTED, "", difference=-0.5)]
    >>> accumulated_loss(history, 2, 20), accumulated_loss([*history, Entry(2, 1, SET_BY_HAND, "")], 2, 20)
    (0.5, 0.0)
    """
    known = levels(history)
    if champion not in known:
        return 0.0
    best = known[champion]
    for entry in reversed(history[-window:]):
        best = max(best, known.get(entry.version, best))
        if entry.reason != PROMOTED:
            break
    return best - known[champion]
