"""An index against exact search: recall, time of an answer, time to build, memory, bytes on disk.

    python -m benchmarks.index [--sizes 20000x32x256,100000x32x256,1000000x8x64] [--queries 100] [--add]

A size is images x tokens x dimensions. The galleries are synthetic, in clusters of about 250 images, stored in half
precision; a query lies near the mean of an image's tokens, and the index is compared on others than the building chose
its `probes` by. Building, searching with the index and exact search each run
in a process of their own, on one thread; times are processor time, so that other work on the machine hardly shows.
Exact search holds the gallery in fp32, as it is served, unless that takes more than `--hold` bytes: then it reads it
from disk. `--add` keeps what was measured of other sizes. Memory is what a process has for itself (RssAnon); pages of
mapped files, which the system may take back, are not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from benchmarks.common import RESULTS, circumstances, write_result
from qure.config import IndexSettings
from qure.evaluation.ranking.embeddings import Floats, read_embeddings, write_embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.evaluation.ranking.streamed import search_stored
from qure.files import write_json
from qure.serving.index_building import build_index
from qure.serving.ivf_index import INDEX, RECORD, IvfIndex, read_record
from qure.serving.ivf_index import RESULTS as TOP
from qure.serving.retriever import EMBEDDINGS

#: Images of a cluster; lengths of what sets an image off its cluster, a token off its image, a query off its image.
CLUSTER, IMAGE_NOISE, TOKEN_NOISE, QUERY_NOISE = 250, 1.5, 1.0, 0.7
#: How far a search looks: as the index was built, with as few lists as find 0.95, and four times as far.
WIDTHS = {"as_built": 1, "four_times_as_far": 4}
_CHUNK = 256


class Clustered:
    """A synthetic gallery, made as it is read: the same rows whatever parts are asked for.

    Args:
        images, tokens, dimensions: N, T, D.
    """

    def __init__(self, images: int, tokens: int, dimensions: int) -> None:
        self.shape = (images, tokens, dimensions)
        draw = np.random.default_rng(0)
        self._centres = _unit(draw.standard_normal((max(1, images // CLUSTER), dimensions), np.float32))

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop: (stop - start, T, D), unit tokens."""
        first = start // _CHUNK
        rows = np.concatenate([self._chunk(number) for number in range(first, -(-stop // _CHUNK))])
        return rows[start - first * _CHUNK : stop - first * _CHUNK]

    def queries(self, count: int, seed: int = 1) -> Floats:
        """Queries near images from all over: (count, D), unit rows."""
        images = np.random.default_rng([seed, 0]).integers(self.shape[0], size=count)
        near = np.stack([self.read(int(row), int(row) + 1)[0].mean(axis=0) for row in images])
        return _unit(_unit(near) + _noise(np.random.default_rng([seed, 1]), near.shape, QUERY_NOISE))

    def _chunk(self, number: int) -> Floats:
        images, tokens, dimensions = self.shape
        draw, count = np.random.default_rng([2, number]), min(_CHUNK, images - number * _CHUNK)
        image = self._centres[draw.integers(len(self._centres), size=count)]
        image = image + _noise(draw, image.shape, IMAGE_NOISE)
        return _unit(image[:, None] + _noise(draw, (count, tokens, dimensions), TOKEN_NOISE))


class PeakMemory:
    """MiB that this process has had for itself at most, as a context."""

    def __enter__(self) -> Self:
        self.mib, self._done = anonymous_mib(), threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.mib = max(self.mib, anonymous_mib())


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        torch.set_num_threads(1)
        print(json.dumps(SIDES[arguments.side](Path(arguments.folder), arguments)))
        return
    before = RESULTS / "index.json"
    found: dict[str, Any] = json.loads(before.read_text())["sizes"] if arguments.add and before.is_file() else {}
    for size in arguments.sizes.split(","):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
            found[size] = measure_size(size, Path(scratch), arguments)
        print(json.dumps({size: found[size]}, indent=2), flush=True)
    largest_last = sorted(found, key=lambda name: [int(part) for part in name.split("x")])
    print(write_result("index", {"sizes": {name: found[name] for name in largest_last}}))


def measure_size(size: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    gallery = Clustered(*(int(part) for part in size.split("x")))
    begun = time.perf_counter()
    write_embeddings(folder / EMBEDDINGS, [str(row) for row in range(gallery.shape[0])], gallery, dtype="fp16")
    for name, seed in (("queries", 1), ("others", 3)):
        np.save(folder / f"{name}.npy", gallery.queries(arguments.queries, seed))
    print(f"{size}: written in {time.perf_counter() - begun:.0f} s", flush=True)
    found: dict[str, Any] = {"gallery_mib": round((folder / EMBEDDINGS).stat().st_size / 2**20)}
    for side in SIDES:  # exact search leaves what the others are compared with
        command = [sys.executable, "-m", "benchmarks.index", "--side", side, "--folder", str(folder)]
        command += ["--hold", str(arguments.hold), "--bytes", str(arguments.bytes)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = json.loads(done.stdout)
        print(f"{size}: {side} {done.stdout.strip()}", flush=True)
    return found | {"queries": arguments.queries, "measured": circumstances()}


def run_exact(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    embeddings, queries = read_embeddings(folder / EMBEDDINGS), torch.from_numpy(np.load(folder / "queries.npy"))
    before, begun = anonymous_mib(), time.process_time()
    best, _ = search_stored(queries, embeddings, TOP)
    streamed_ms = (time.process_time() - begun) * 1000 / len(queries)
    np.save(folder / "exact.npy", best.numpy())
    if 4 * np.prod(embeddings.source.shape) > arguments.hold:
        return {"held": False, "ms_a_query": round(streamed_ms, 2), "resident_mib": round(anonymous_mib() - before)}
    index = FlatIndex(torch.from_numpy(embeddings.vectors))
    times = [_timed(index, query) for query in queries]
    return {"held": True, "ms_a_query": round(median(times), 2), "resident_mib": round(anonymous_mib() - before)}


def run_build(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    settings = IndexSettings(kind="ivf_pq", bytes_per_token=arguments.bytes)
    before, begun = anonymous_mib(), time.process_time()
    with PeakMemory() as peak:
        record = build_index(folder, settings, np.load(folder / "others.npy"))
    return {
        "seconds": round(time.process_time() - begun, 1),
        "peak_mib": round(peak.mib - before),
        "lists": record.settings.lists,
        "probes": record.settings.probes,
        "bytes_per_token": arguments.bytes,
        "bytes_an_image": round(sum(record.parts.values()) / record.images, 1),
        "parts": len(record.parts),
        "faiss": record.faiss,
    }


def run_search(folder: Path, _: argparse.Namespace) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    embeddings, queries = read_embeddings(folder / EMBEDDINGS), torch.from_numpy(np.load(folder / "queries.npy"))
    exact, record, found = np.load(folder / "exact.npy"), read_record(folder / INDEX), {}
    for name, times in WIDTHS.items():
        wide = {part: times * getattr(record.settings, part) for part in ("probes", "tokens", "images")}
        changed = record.model_copy(update={"settings": record.settings.model_copy(update=wide)})
        write_json(folder / INDEX / RECORD, changed.model_dump(mode="json"))
        before = anonymous_mib()
        index = IvfIndex.load(folder / INDEX, embeddings)
        milliseconds = [_timed(index, query) for query in queries]
        kept = [
            len(np.intersect1d(best, own.numpy())) / len(best)
            for best, (own, _) in zip(
                exact, index.search(queries, [TOP] * len(queries), [None] * len(queries)), strict=True
            )
        ]
        found[name] = {
            "ms_a_query": round(median(milliseconds), 2),
            "recall_at_10": round(float(np.mean(kept)), 4),
            "resident_mib": round(anonymous_mib() - before),
        }
    return found


SIDES = {"exact": run_exact, "build": run_build, "search": run_search}


def anonymous_mib() -> float:
    """MiB of memory that is this process's own."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def _timed(index: FlatIndex | IvfIndex, query: torch.Tensor) -> float:
    begun = time.process_time()
    index.search(query[None], [TOP], [None])
    return (time.process_time() - begun) * 1000


def _unit(rows: Floats) -> Floats:
    found: Floats = rows / np.sqrt(np.einsum("...d,...d->...", rows, rows))[..., None]
    return found


def _noise(draw: np.random.Generator, shape: tuple[int, ...], length: float) -> Floats:
    found: Floats = draw.standard_normal(shape, np.float32) * np.float32(length / np.sqrt(shape[-1]))
    return found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="20000x32x256,100000x32x256,1000000x8x64")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=32, help="of a token's code")
    parser.add_argument("--hold", type=int, default=4 << 30, help="bytes of a gallery that exact search holds at most")
    parser.add_argument("--folder", help="where galleries are written meanwhile; they take gigabytes")
    parser.add_argument("--add", action="store_true", help="keep what was measured of other sizes")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
