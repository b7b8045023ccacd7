"""Every change of champion as entries: tags of the registered model, each written whole, none ever overwritten.

`qure.registry.champions` says when they are written.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENTRY = "qure.champion."

_KEY = re.compile(re.escape(ENTRY) + r"(\d+)(?:\.(\w+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of champion.

    Attributes:
        version: who became champion.
        previous: who becomes champion when this one is rolled back; None for nobody.
        reason: "promoted", "rolled back", "set by hand", or "brought back" when its successor was deleted.
        at: UTC, ISO 8601.
        why: the decision in a sentence; empty where a person knows it.
        by: who and on which machine.
        done: whether the alias was moved.
        outstanding: whether the writer may still move the alias: it was finished by another one.
        token: the entry's number.
        writer: tells apart entries of the same number.
    """

    version: int
    previous: int | None
    reason: str
    at: str
    why: str = ""
    by: str = ""
    done: bool = False
    outstanding: bool = False
    token: int = 0
    writer: str = ""

    @property
    def key(self) -> str:
        """The tag's name."""
        return f"{ENTRY}{self.token:08d}" + (f".{self.writer}" if self.writer else "")


def read_history(client: "MlflowClient", name: str) -> list[Entry]:
    """Every entry of a registered model, oldest first."""
    entries = []
    known = {field.name for field in fields(Entry)}
    for key, value in client.get_registered_model(name).tags.items():
        match = _KEY.fullmatch(key)
        if match:
            told = {field: one for field, one in json.loads(value).items() if field in known}
            entries.append(Entry(**{**told, "token": int(match[1]), "writer": match[2] or ""}))
    return sorted(entries, key=lambda entry: (entry.token, entry.writer))


def write_entry(client: "MlflowClient", name: str, entry: Entry) -> None:
    """Writes an entry, or what is newly known of it."""
    content = {field: value for field, value in asdict(entry).items() if field not in ("token", "writer")}
    client.set_registered_model_tag(name, entry.key, json.dumps(content))


def void(history: list[Entry], alias: int | None) -> list[Entry]:
    """Entries that count for nothing: begun by writers that died before they looked again.

    A writer looks again after it has written its entry, and goes on only when that is the newest. So what was begun
    below the newest number, or beside another entry of that number, never went on; unless the alias tells otherwise.

    Args:
        history: of one registered model, oldest first.
        alias: the version that is called champion.

    >>> done, late = Entry(1, None, "promoted", "", done=True, token=1), Entry(2, None, "promoted", "", token=1)
    >>> void([done, late], 1) == [late], void([late], 1)
    (True, [])
    """
    newest = [entry for entry in history if entry.token == history[-1].token]
    begun = [entry for entry in newest if not entry.done]
    if len(newest) > len(begun):
        begun = []
    elif len(begun) > 1:
        begun = [entry for entry in begun if entry.version == alias][:1]
    return [entry for entry in history if not entry.done and entry not in begun]
