"""Sets of negatives on their way from the device to one list on the host, while the device ranks the next queries."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from qure.negatives.sets import Columns, HardNegatives, Integers, offsets_of

#: Room beyond what the blocks so far let expect.
_SPARE = 1.1


class Listing:
    """Lists blocks of membership one after the other. From a GPU a thread copies them, on a stream of its own.

    The list has room for the queries to come, judged by those before them, and grows where that was too little: blocks
    put together at the end would be copied once more.

    Args:
        queries: how many there are in all.
        device: where the blocks are.
    """

    def __init__(self, queries: int, device: torch.device) -> None:
        self._queries = queries
        self._sizes: list[Integers] = []
        self._columns: Columns = np.empty(0, dtype=np.int32)
        self._filled = 0
        cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="listing") if cuda else None
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> "Listing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, members: Tensor, sizes: Tensor) -> None:
        """The next queries' membership.

        Args:
            members: (q, N) bool; row-major order is ascending inside each row.
            sizes: (q,) int64, how many of each row are.
        """
        if self._pool is None:
            # A whole nonzero would hold two numbers of 8 bytes for every entry.
            rows = [np.flatnonzero(row).astype(np.int32) for row in members.numpy()]
            self._append(sizes, torch.from_numpy(np.concatenate(rows)))
            return
        columns = members.nonzero()[:, 1].to(torch.int32)
        ready = torch.cuda.current_stream(members.device).record_event()
        self._waiting.append(self._pool.submit(self._append, sizes, columns, ready))
        if len(self._waiting) > 1:  # one block is copied while one is ranked: no more lie on the device
            self._waiting.pop(0).result()

    def hard(self) -> HardNegatives:
        """All that was added."""
        while self._waiting:
            self._waiting.pop(0).result()
        return HardNegatives.made(offsets_of(np.concatenate(self._sizes)), self._columns[: self._filled])

    def _append(self, sizes: Tensor, columns: Tensor, ready: "torch.cuda.Event | None" = None) -> None:
        if self._stream is not None and ready is not None:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(ready)
                self._copy(sizes, columns)
                self._stream.synchronize()
        else:
            self._copy(sizes, columns)

    def _copy(self, sizes: Tensor, columns: Tensor) -> None:
        self._sizes.append(sizes.cpu().numpy())
        stop = self._filled + len(columns)
        if stop > len(self._columns):
            seen = sum(len(part) for part in self._sizes)
            room = max(stop, int(stop / max(seen, 1) * self._queries * _SPARE) if seen < self._queries else stop)
            grown = np.empty(room, dtype=np.int32)
            grown[: self._filled] = self._columns[: self._filled]
            self._columns = grown
        torch.from_numpy(self._columns[self._filled : stop]).copy_(columns)
        self._filled = stop
