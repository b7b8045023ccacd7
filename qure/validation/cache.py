"""What is known of image files from earlier runs: a Parquet file in the work folder.

A file counts as unchanged when path, size and modification time are; its content is then not read. Content that was
decoded before under another path or time is hashed but not decoded. A cache that cannot be read is built anew.
"""

import logging
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import PIL

from qure.files import atomic_file, fingerprint
from qure.images import FORMATS, MAX_PIXELS

logger = logging.getLogger(__name__)

#: Raise when the facts of an image change their meaning.
VERSION = 4

#: A file changed this shortly before it was looked at may change again within one tick of the file system's clock.
_TICK_NS = 50_000_000

_TEXTS = ("refused", "unreadable", "changed", "damaged", "blank")
_FACTS = ("sha256", "width", "height", *_TEXTS, "pixels", "phash", "colours")

Facts = dict[str, Any]


class Stamp(NamedTuple):
    """A file's name, size and modification time; images inside a shard have the shard's."""

    name: str
    size: int
    modified_ns: int


class ImageCache:
    """Facts by stamp and by content.

    Args:
        folder: where the cache file lies; made when it is saved.
        max_bytes: the bound on files that facts were found with.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        # Another Pillow may decode what this one refuses, so its facts are its own.
        libraries = [PIL.__version__, version("simplejpeg")]
        key = fingerprint([VERSION, *libraries, MAX_PIXELS, list(FORMATS), max_bytes])[:16]
        self._path = Path(folder) / f"image-checks-{key}.parquet"
        self._known = _load(self._path)
        # What was packed and changed is known of the place, not of the content.
        self._contents = {facts["sha256"]: facts for facts in self._known.values() if facts["changed"] is None}
        self._used: dict[Stamp, Facts] = {}

    def unchanged(self, stamp: Stamp) -> Facts | None:
        """Facts of a file that has not changed since they were found."""
        facts = self._known.get(stamp)
        if facts is not None:
            self._used[stamp] = facts
        return facts

    def content(self, sha256: str) -> Facts | None:
        """Facts of content that was decoded before, whatever file it was in."""
        return self._contents.get(sha256)

    def contents(self) -> frozenset[str]:
        """Hashes of all content that was decoded before."""
        return frozenset(self._contents)

    def put(self, stamp: Stamp, facts: Facts) -> None:
        """Adds a file's facts."""
        if facts["changed"] is None:
            self._contents.setdefault(facts["sha256"], facts)
        if stamp.modified_ns + _TICK_NS < time.time_ns():
            self._used[stamp] = facts

    def save(self, *, complete: bool) -> None:
        """Writes the cache: of a complete run what it used, of an interrupted one what was known before as well."""
        kept: Mapping[Stamp, Facts] = self._used if complete else {**self._known, **self._used}
        if kept == self._known:
            return
        rows = [(*stamp, *(facts[name] for name in _FACTS)) for stamp, facts in kept.items()]
        table = pd.DataFrame(rows, columns=[*Stamp._fields, *_FACTS])
        for name in _TEXTS:
            table[name] = table[name].astype("string")
        with atomic_file(self._path) as temporary:
            table.to_parquet(temporary, index=False)


def _load(path: Path) -> dict[Stamp, Facts]:
    if not path.is_file():
        return {}
    try:
        table = pd.read_parquet(path)[[*Stamp._fields, *_FACTS]]
    except Exception as error:  # whatever the damage makes of the reader: the cache can be built anew
        logger.warning("the cache of image checks %s cannot be read and is built anew: %s", path, error)
        return {}
    columns = {name: table[name].astype(object).where(table[name].notna(), None).tolist() for name in table.columns}
    stamps = zip(*(columns[name] for name in Stamp._fields), strict=True)
    facts = zip(*(columns[name] for name in _FACTS), strict=True)
    return {Stamp(*stamp): dict(zip(_FACTS, values, strict=True)) for stamp, values in zip(stamps, facts, strict=True)}
