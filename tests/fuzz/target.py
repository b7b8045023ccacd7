"""What a reader of strangers' bytes promises: a value, or one message that names the file. Never anything else."""

import contextlib
import resource
import signal
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import strategies as st

from qure.errors import BadInput, StageFailed

CORPUS = Path(__file__).with_name("corpus")

#: Bytes of address space, beyond what the process has, that reading one small file may take.
MEMORY = 2 * 2**30
#: Processor seconds that reading one small file may take.
PATIENCE = 20.0
#: Characters of a message: whatever stands in the file, somebody has to read it.
LONGEST = 2000


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        name: of its folder in the corpus.
        file: where the file belongs, relative to a folder.
        reads: everything that reads it, each on that folder.
        damaged: whole files -> strategy of damaged ones.
        lay: puts into the folder what lies beside the file.
        put: writes the file, and what has to fit its content.
        called: words of which a message must have one; empty: the file's folder.
    """

    name: str
    file: str
    reads: Sequence[Callable[[Path], Any]]
    damaged: Callable[[Sequence[bytes]], st.SearchStrategy[bytes]]
    lay: Callable[[Path], None] = lambda folder: None
    put: Callable[[Path, bytes], Any] = lambda file, content: file.write_bytes(content)
    called: tuple[str, ...] = ()

    @property
    def corpus(self) -> list[Path]:
        """Its files in the corpus: `valid-*` are whole, the others once were too much for a reader, or might be."""
        return sorted(file for file in (CORPUS / self.name).iterdir() if file.is_file())

    def ask(self, folder: Path, content: bytes) -> list[BadInput | StageFailed | None]:
        """What each reader makes of a content: its message, None for a value.

        Raises:
            AssertionError: a message that breaks the promise.
            Exception: whatever else a reader raises.
        """
        file = folder / self.file
        file.unlink(missing_ok=True)
        self.put(file, content)
        return [self._ask(read, folder) for read in self.reads]

    def _ask(self, read: Callable[[Path], Any], folder: Path) -> BadInput | StageFailed | None:
        try:
            with bounded():
                read(folder)
        except (BadInput, StageFailed) as error:
            message = str(error)
            message.encode()
            odd = [one for one in message if not one.isprintable() and unicodedata.category(one) != "Zs"]
            assert not odd, f"more than one line, or what a terminal obeys: {message!r}"
            assert len(message) <= LONGEST, f"{len(message)} characters: {message[:500]}"
            assert any(word in message for word in self.called or (str(folder),)), f"names no file: {message}"
            return error
        return None


class TooSlow(BaseException):
    """A reader took more processor time than a small file can need; no `except Exception` may take it."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Processor time and memory are bounded: the one ends in `TooSlow`, the other in MemoryError or worse."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {PATIENCE} processor seconds")

    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    former = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
