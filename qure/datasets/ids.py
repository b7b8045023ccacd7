"""Image ids become file names, so an id that could name anything outside its folder is refused where it is read."""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath

from qure.errors import BadInput

#: Longest id: with a suffix it still fits every file system's 255 bytes a name.
MAX_ID_BYTES = 200

#: How many ids an error message lists before it only counts.
NAMED = 5

#: File name suffixes, lower case, that count as images.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@lru_cache(maxsize=1 << 17)  # the same ids are asked about again and again
def unsafe_reason(value: str) -> str | None:
    """Why a string cannot be an image id; None when it can.

    >>> unsafe_reason("B0084Y8XIU") is None
    True
    >>> unsafe_reason("../../etc/passwd")
    "contains '/'"
    >>> unsafe_reason(".hidden")
    "starts with '.'"
    """
    if not value:
        return "is empty"
    if "/" in value or "\\" in value:
        return f"contains {'/' if '/' in value else chr(92)!r}"
    if ".." in value:
        return "contains '..'"
    if value.startswith("."):
        return "starts with '.'"
    if _CONTROL.search(value):
        return "contains a control character"
    if value != value.strip():
        return "starts or ends with white space"
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return f"is longer than {MAX_ID_BYTES} bytes" if length > MAX_ID_BYTES else None


def check_image_id(
    value: object,
    *,
    file: Path | str | None = None,
    row: int | str | None = None,
    field: str | None = None,
) -> str:
    """The id itself when it is a string that stays inside its folder.

    Raises:
        BadInput: not a string, or one that `unsafe_reason` refuses; names file, row and field.
    """
    if not isinstance(value, str):
        raise BadInput(f"an image id must be a string, not {shown(value)}", file=file, row=row, field=field)
    reason = unsafe_reason(value)
    if reason:
        raise BadInput(
            f"image id {shown(value)} {reason}",
            file=file,
            row=row,
            field=field,
            remedy="Ids become file names and must stay inside the image folder",
        )
    return value


def check_relative_path(value: object, *, file: Path | str, row: int | str | None = None) -> str:
    """A published path such as "./dev/dev-1-0-img0.png" in normal form ("dev/dev-1-0-img0.png").

    Raises:
        BadInput: not a string, absolute, leading out of its folder, or not the name of an image.
    """
    if not isinstance(value, str):
        raise BadInput(f"an image path must be a string, not {shown(value)}", file=file, row=row)
    parts = PurePosixPath(value).parts
    reason = next((reason for part in parts if (reason := unsafe_reason(part))), None)
    if value.startswith("/") or not parts or reason:
        raise BadInput(
            f"image path {shown(value)} does not stay inside the data folder",
            file=file,
            row=row,
            remedy="Paths are relative to the benchmark's folder, for example './dev/dev-1-0-img0.png'",
        )
    path = PurePosixPath(*parts)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise BadInput(f"image path {shown(value)} does not end in an image suffix", file=file, row=row)
    return path.as_posix()


def shown(value: object, limit: int = 80) -> str:
    """`repr` of a value, cut to a length that fits an error message.

    >>> shown("x" * 200, limit=10)
    "'xxxxxx..."
    """
    text = ascii(value) if isinstance(value, str) and unsafe_to_print(value) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unsafe_to_print(value: str) -> bool:
    """Whether a string holds lone surrogates, which no terminal or log file can encode.

    >>> unsafe_to_print("façade"), unsafe_to_print(chr(0xD800))
    (False, True)
    """
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def first_few(ids: Iterable[str], count: int = NAMED) -> str:
    """The first few ids, and how many more there are.

    >>> first_few(["a", "b", "c"], count=2)
    "'a', 'b' and 1 more"
    >>> first_few(["a"])
    "'a'"
    """
    listed = list(ids)
    text = ", ".join(shown(identifier) for identifier in listed[:count])
    return text if len(listed) <= count else f"{text} and {len(listed) - count} more"
