"""What every benchmark's tables are built with.

A file that is damaged as a whole (missing, cut off, not a list) ends the reading with one BadInput, because nothing
can be said about its rows. Anything wrong inside a row leaves an empty cell and a note of what stood there instead, so
that the expectations can go on and name every bad row.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from qure.benchmarks import get_benchmark
from qure.datasets.ids import shown, unsafe_to_print
from qure.datasets.rows import LAYOUT_REMEDY, Row, described, is_there, load_json
from qure.errors import BadInput, cut
from qure.files import file_digest

#: Columns of the table "mentions": the query's name across splits, the field that names an image, the image's id, and
#: the list that must hold it (None where there is none).
MENTION_COLUMNS = ("key", "field", "image", "list")

#: Column that is empty where a row is no JSON object at all.
RECORD = "record"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What stood in a field that could not be taken."""

    field: str
    problem: str
    value: Any


@dataclass(frozen=True, slots=True)
class Listed:
    """Where an image is listed first, and in which splits.

    Attributes:
        file: the list, relative to the data root.
        row: its place in the list.
        splits: every split that lists it, in the order read.
    """

    file: str
    row: int | str
    splits: tuple[str, ...]


@dataclass
class Annotations:
    """One benchmark's annotations.

    Attributes:
        benchmark: its name.
        tables: name -> data frame with the columns `file` (relative to the data root) and `row`; cells hold the
            value, or None where `wrong` tells what stood there.
        wrong: (file, row, column) -> what could not be taken.
        lists: name of a list of images ("dress/val") -> its ids.
        images: every image id the lists name.
        digests: file relative to the data root -> SHA-256; None for an optional file that is not there.
        has_gallery: whether the gallery is known.
    """

    benchmark: str
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    wrong: dict[tuple[str, Any, str], Wrong] = field(default_factory=dict)
    lists: dict[str, frozenset[str]] = field(default_factory=dict)
    images: dict[str, Listed] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    has_gallery: bool = True


class Collector:
    """Reads one benchmark's files into `Annotations`.

    Args:
        data: the data root.
        benchmark: which benchmark.

    Attributes:
        data: the data root.
        folder: the benchmark's folder below it.
        result: what has been read so far.
        queries: a query's name across splits -> its reference, target and text as readers give them; None where the
            row does not tell, an empty target where answers are withheld.
    """

    def __init__(self, data: Path, benchmark: str) -> None:
        self.data, self.folder = Path(data), get_benchmark(benchmark).folder
        self.result = Annotations(benchmark)
        self.queries: dict[str, tuple[str | None, str | None, str | None]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._columns: dict[str, tuple[str, ...]] = {}

    def table(self, name: str, *columns: str) -> None:
        """Declares a table, so that it has its columns also when it stays empty."""
        self._rows[name], self._columns[name] = [], ("file", "row", RECORD, *columns)

    def load(self, relative: str, kind: type) -> Any:
        """A JSON file whose outermost value is of that type.

        Raises:
            BadInput: the file is missing, damaged, or of another shape.
        """
        path = self.data / self.folder / relative
        value = load_json(path, remedy=self._remedy(path))
        if not isinstance(value, kind):
            wanted = "a list" if kind is list else "an object"
            raise BadInput(
                f"must hold {wanted}, not {described(value)}", file=path, remedy="Restore or download the file again"
            )
        self.result.digests[self.name(relative)] = file_digest(path)
        return value

    def _remedy(self, path: Path) -> str:
        """What to do about a missing file: where one of its name lies, if it does, a folder too deep or too flat."""
        root = self.data / self.folder
        if not path.exists() and root.is_dir():
            elsewhere = next((found for found in sorted(root.rglob(path.name)) if found.is_file()), None)
            if elsewhere is not None:
                return f"A file of this name lies at {elsewhere}, where it is not looked for: move it"
        return LAYOUT_REMEDY

    def check_key(self, relative: str, key: str) -> None:
        """Refuses a key that no file can hold, and which therefore could not be reported.

        Raises:
            BadInput: the key is not valid Unicode.
        """
        if unsafe_to_print(key):
            raise BadInput(f"key {shown(key)} is not valid Unicode", file=self.data / self.folder / relative)

    def exists(self, relative: str) -> bool:
        """Whether an optional file is there.

        Raises:
            BadInput: something that is no file is in its place.
        """
        present = is_there(self.data / self.folder / relative)
        if not present:
            self.result.digests[self.name(relative)] = None
        return present

    def name(self, relative: str) -> str:
        """A file's name relative to the data root, as reports write it."""
        return f"{self.folder}/{relative}"

    def record(self, table: str, relative: str, row: int | str, value: Any) -> "AnnotationRecord":
        """Starts a row of a table from one JSON value; a key that a terminal cannot show becomes its `repr`."""
        record = AnnotationRecord(self.result, self.name(relative), place_of(row), value)
        self._rows[table].append(record.cells)
        return record

    def add(self, table: str, cells: dict[str, Any]) -> None:
        """Adds a row that is derived from others."""
        self._rows[table].append({RECORD: True, **cells})

    def mention(
        self,
        record: "AnnotationRecord",
        key: str | None,
        images: Iterable[tuple[str, str | None]],
        listed_in: str | None,
    ) -> None:
        """Adds the image ids that a query names to the table "mentions"; ids that could not be taken are left out.

        Args:
            record: the query's row.
            key: the query's name across splits.
            images: field and id.
            listed_in: name of the list that must hold them; None where there is no such list.
        """
        place = {"file": record.cells["file"], "row": record.cells["row"], "key": key, "list": listed_in}
        for field_name, image in images:
            if image is not None:
                self.add("mentions", {**place, "field": field_name, "image": image})

    def note_query(self, key: str | None, reference: str | None, target: str | None, text: str | None) -> None:
        """Notes what a query is, for files that name it."""
        if key is not None:
            self.queries[key] = (reference, target, text)

    def count(self, table: str) -> int:
        """How many rows a table has so far."""
        return len(self._rows[table])

    def list_image(self, image: str | None, relative: str, row: int | str, split: str) -> None:
        """Notes that a split lists an image."""
        if image is None:
            return
        known = self.result.images.get(image)
        if known is None:
            self.result.images[image] = Listed(self.name(relative), row, (split,))
        elif split not in known.splits:
            self.result.images[image] = Listed(known.file, known.row, (*known.splits, split))

    def finish(self) -> Annotations:
        """The annotations, once every row is in."""
        for name, rows in self._rows.items():
            columns = self._columns[name]
            self.result.tables[name] = pd.DataFrame(
                {column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns}
            )
        return self.result


def place_of(row: int | str, limit: int = 200) -> int | str:
    """A row's place as a message and a page can hold it: an object's key may be megabytes, or no terminal's.

    The end stays: after a person's name it says which question.

    >>> place_of("k" * 300 + "/set/7", limit=15), place_of(3)
    ('kkkkkk.../set/7', 3)
    """
    if isinstance(row, int):
        return row
    return cut(row if row.isprintable() else ascii(row), limit)


@cache
def _named(file: str) -> Any:
    """A file's name as rows hold it; made once for all rows of the file."""
    return PurePosixPath(file)


class AnnotationRecord:
    """One JSON row on its way into a table: takes fields, or notes why a field cannot be taken."""

    def __init__(self, annotations: Annotations, file: str, row: int | str, value: Any) -> None:
        self._annotations = annotations
        self.cells: dict[str, Any] = {"file": file, "row": row, RECORD: True}
        self.source: Row | None = None
        try:
            self.source = Row(value, _named(file), row)
        except BadInput as error:
            self.cells[RECORD] = None
            self._note(RECORD, error, value)

    def take(self, column: str, getter: Callable[[Row], Any]) -> Any:
        """Puts into `column` what `getter` reads strictly; None, with a note, where that raises BadInput."""
        if self.source is None:
            return None
        try:
            self.cells[column] = getter(self.source)
        except BadInput as error:
            self._note(column, error, self._raw(error.field))
        return self.cells.get(column)

    def set(self, **cells: Any) -> None:
        """Puts derived values into the row."""
        self.cells.update(cells)

    def _note(self, column: str, error: BadInput, value: Any) -> None:
        key = (self.cells["file"], self.cells["row"], column)
        self._annotations.wrong[key] = Wrong(error.field or column, error.problem, value)

    def _raw(self, name: str | None) -> Any:
        return None if name is None or self.source is None else self.source.value(name.split("[")[0].split(".")[0])
