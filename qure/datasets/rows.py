"""Strict access to annotation JSON: every wrong type or missing field is a BadInput naming file, row and field."""

import json
import math
from pathlib import Path
from typing import Any

from qure.datasets.ids import check_image_id, shown, unsafe_to_print
from qure.errors import BadInput
from qure.files import read_json, refuse_pipe

LAYOUT_REMEDY = "Lay the benchmark's public files there, or render the catalogue with 'qure catalogue'"
_OPTIONAL_REMEDY = "Put the file there, or remove what is in its place: it may be left out"

_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "a truth value",
}


def load_json(path: Path, *, remedy: str = LAYOUT_REMEDY) -> Any:
    """Reads a JSON file and refuses what `json` would let pass silently: repeated keys, NaN, Infinity and 1e999.

    Raises:
        BadInput: missing, unreadable, not UTF-8, cut off, a repeated key or a number that is none.
    """
    refuse_pipe(path, remedy=remedy)
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant, parse_float=_finite)
    except _RefusedJson as error:
        raise BadInput(str(error), file=path) from None
    except (FileNotFoundError, IsADirectoryError):
        read_json(path, remedy=remedy)  # the one place that words these errors
        raise BadInput("the file changed while it was read", file=path) from None
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path, remedy=remedy) from None
    except (ValueError, RecursionError) as error:
        read_json(path)
        raise BadInput(f"not valid JSON: {error}", file=path) from None


def is_there(path: Path) -> bool:
    """Whether an optional file is there.

    Raises:
        BadInput: something else is in its place, which is no sign that the file was left out: a folder, a pipe, a
            link to nothing.
    """
    refuse_pipe(path, remedy=_OPTIONAL_REMEDY)
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise BadInput(f"a link to nothing: no file is at {path.readlink()}", file=path, remedy=_OPTIONAL_REMEDY)
    if path.is_dir():
        raise BadInput("this is a folder, not a file", file=path, remedy=_OPTIONAL_REMEDY)
    return path.is_file()


class Row:
    """One JSON object with its place; getters check and name the field.

    Attributes:
        file: the file it was read from.
        row: 0-based row number, or a key or path inside the file.
    """

    __slots__ = ("_value", "file", "prefix", "row")

    def __init__(self, value: object, file: Path, row: int | str | None, prefix: str = "") -> None:
        self.file, self.row, self.prefix = file, row, prefix
        if not isinstance(value, dict):
            raise BadInput(
                f"must be an object, not {described(value)}", file=file, row=row, field=prefix.rstrip(".") or None
            )
        self._value: dict[str, Any] = value

    @property
    def source(self) -> str:
        """Where the row is, as error messages write it."""
        return f"{self.file}, row {self.row}" if isinstance(self.row, int) else f"{self.file}, {self.row}"

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self._value.get(field) is not None

    def names(self) -> list[str]:
        """The fields' names in the file's order."""
        return list(self._value)

    def value(self, field: str) -> Any:
        """The field's value of whatever type; None when it is missing."""
        return self._value.get(field)

    def get(self, field: str, kind: type) -> Any:
        """The field's value when it is of that type (a truth value is no number)."""
        if field not in self._value:
            raise self.error("the field is missing", field)
        value = self._value[field]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self.error(f"must be {_NAMES[kind]}, not {described(value)}", field)
        return value

    def text(self, field: str) -> str:
        """A string that can be written as UTF-8."""
        return self.checked_text(self.get(field, str), field)

    def texts(self, field: str, count: int | None = None) -> list[str]:
        """A list of strings, of that many when `count` is given."""
        values = self.items(field, count)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"must be a string, not {described(value)}", f"{field}[{index}]")
            self.checked_text(value, f"{field}[{index}]")
        return values

    def items(self, field: str, count: int | None = None) -> list[Any]:
        """A list, of that length when `count` is given."""
        values: list[Any] = self.get(field, list)
        if count is not None and len(values) != count:
            raise self.error(f"must hold {count} entries, not {len(values)}", field)
        return values

    def integer(self, field: str, least: int = 0) -> int:
        """A whole number of at least `least`."""
        value: int = self.get(field, int)
        if value < least:
            raise self.error(f"must be at least {least}, not {shown(value)}", field)
        return value

    def image_id(self, field: str) -> str:
        """A safe image id."""
        return check_image_id(self.get(field, str), file=self.file, row=self.row, field=self.prefix + field)

    def image_ids(self, field: str, count: int | None = None) -> tuple[str, ...]:
        """A list of safe image ids without repetition."""
        ids = tuple(
            check_image_id(value, file=self.file, row=self.row, field=f"{self.prefix}{field}[{index}]")
            for index, value in enumerate(self.items(field, count))
        )
        repeated = first_repeated(ids)
        if repeated is not None:
            raise self.error(f"image {shown(repeated)} is named twice", field)
        return ids

    def part(self, field: str) -> "Row":
        """An object inside this one."""
        return Row(self.get(field, dict), self.file, self.row, prefix=f"{self.prefix}{field}.")

    def error(self, problem: str, field: str, remedy: str | None = None) -> BadInput:
        """A BadInput at this row."""
        return BadInput(problem, file=self.file, row=self.row, field=self.prefix + field, remedy=remedy)

    def checked_text(self, value: str, field: str) -> str:
        if unsafe_to_print(value):
            raise self.error(f"{shown(value)} is not valid Unicode", field)
        return value


def read_rows(path: Path) -> list[Row]:
    """A JSON list of objects.

    Raises:
        BadInput: not a list, or a row that is no object.
    """
    value = load_json(path)
    if not isinstance(value, list):
        raise BadInput(f"must hold a list of rows, not {described(value)}", file=path)
    return [Row(item, path, index) for index, item in enumerate(value)]


def read_id_list(path: Path) -> tuple[str, ...]:
    """A JSON list of image ids, each once, in the file's order.

    Raises:
        BadInput: not a list, an unsafe id, or an id named twice.
    """
    value = load_json(path)
    if not isinstance(value, list):
        raise BadInput(f"must hold a list of image ids, not {described(value)}", file=path)
    ids = tuple(check_image_id(item, file=path, row=index) for index, item in enumerate(value))
    repeated = first_repeated(ids)
    if repeated is not None:
        row = len(ids) - 1 - ids[::-1].index(repeated)
        raise BadInput(f"image {shown(repeated)} is named twice", file=path, row=row)
    return ids


def first_repeated(values: "tuple[Any, ...] | list[Any]") -> Any | None:
    """The first value that occurred before; None when all differ.

    >>> first_repeated(["a", "b", "a"])
    'a'
    """
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def check_split(split: str, known: tuple[str, ...], benchmark: str) -> str:
    """The split's name when the benchmark has it."""
    if split not in known:
        raise BadInput(f"{benchmark} has no split {shown(split)}", remedy=f"Its splits are {', '.join(known)}")
    return split


def described(value: object) -> str:
    """A value's kind and, where short, the value: for "must be X, not ..." messages.

    >>> described({"a": 1}), described(None), described(3)
    ('an object', 'null', 'a whole number (3)')
    """
    if value is None:
        return "null"
    name = _NAMES[type(value)]
    return name if isinstance(value, dict | list) else f"{name} ({shown(value)})"


class _RefusedJson(ValueError):
    """Valid for Python's parser, but not something a data file may hold."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedJson(f"key {shown(first_repeated([key for key, _ in pairs]))} occurs twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise _RefusedJson(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    """A fraction; Python makes infinity of one that is too large."""
    value = float(digits)
    if math.isinf(value):
        raise _RefusedJson(f"{shown(digits)} is too large a number")
    return value
