"""What one kind of storage must offer: `qure.s3` and local files do, `qure.storage` builds on it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

#: Bytes read at once.
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file.

    Attributes:
        name: its key, or its path below the URI that was listed.
        size: bytes.
        sha256: hex; None where the storage does not know it.
        version: changes when the content does (S3's ETag); empty in listings.
    """

    name: str
    size: int
    sha256: str | None = None
    version: str = ""


class Store(Protocol):
    """One kind of storage: keys and bytes. Errors are `BadInput` and `StageFailed`."""

    def stat(self, key: str) -> Stored | None:
        """What is stored under a key, digest included where it is known; None when nothing is."""

    def put(self, key: str, source: Path, sha256: str) -> None:
        """Stores a file, whole or not at all; refuses one whose bytes do not have that digest."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Stores `data` unless the key exists; False when it does."""

    def read(self, key: str, start: int) -> AbstractContextManager[tuple[str, Iterator[bytes]]]:
        """The version of what is read, and its bytes from `start`; a broken connection is a ConnectionError."""

    def files(self, prefix: str) -> Iterator[Stored]:
        """Everything whose key begins with `prefix`; names are what follows it."""
