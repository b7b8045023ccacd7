"""How mining and exact search grow with the corpus, from a thousand images to a million: seconds and memory.

    python -m benchmarks.growth [--sizes 1000,3000,...,1000000] [--tokens 8] [--dimensions 64]

The images lie on disk in half precision: mining maps the file, exact search reads it block by block. Each size is
measured in a process of its own, on one thread; seconds are processor seconds. Memory is what the process has for
itself at most (RssAnon), without the pages of the mapped file. The exponent is the slope of the logarithms over the
sizes from 10,000 on, where the work outweighs what every call costs; 1 is linear.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import write_result
from benchmarks.index import Clustered, PeakMemory, anonymous_mib
from qure.config import NegativeSettings
from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings
from qure.evaluation.ranking.streamed import search_stored
from qure.files import atomic_file
from qure.negatives.mining import mine
from qure.negatives.relevance import QUERY_TILE

SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
#: Mined at once: the fewest that a CPU's products are made for; and searched for in one pass.
MINED, SEARCHED = QUERY_TILE, 8
#: From here on the exponents are taken.
FITTED_FROM = 10_000


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return
    sizes = [int(size) for size in arguments.sizes.split(",")]
    found: dict[str, dict[str, Any]] = {side: {} for side in SIDES}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for size in sizes:
            for side in SIDES:
                found[side][str(size)] = measure(side, size, Path(folder), arguments)
                print(side, size, found[side][str(size)], flush=True)
    payload = {
        "size": {"tokens": arguments.tokens, "dimensions": arguments.dimensions, "mined": MINED, "searched": SEARCHED},
        "fitted_from": min(FITTED_FROM, sizes[-2]),
        **{side: {"sizes": one, "exponent": exponent(one, min(FITTED_FROM, sizes[-2]))} for side, one in found.items()},
    }
    print(write_result("growth", payload))


def measure(side: str, size: int, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """One side at one size, in a process of its own, on a gallery that is written once for both."""
    gallery = Clustered(size, arguments.tokens, arguments.dimensions)
    file, queries = folder / "gallery.safetensors", folder / "queries.npy"
    if side == next(iter(SIDES)):
        write_embeddings(file, [str(row) for row in range(size)], gallery, dtype="fp16")
        np.save(queries, gallery.queries(MINED))
    command = [sys.executable, "-m", "benchmarks.growth", "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run_mining(arguments: argparse.Namespace) -> dict[str, float]:
    """Mines for `MINED` queries, in the memory that mining takes by default."""
    candidates, queries = mapped(Path(arguments.folder)), loaded_queries(arguments)
    targets = np.linspace(0, len(candidates) - 1, len(queries)).astype(np.int64)
    return measured(lambda: mine(queries, candidates, targets, NegativeSettings()))


def run_retrieval(arguments: argparse.Namespace) -> dict[str, float]:
    """Exact search for `SEARCHED` queries, the gallery read from disk."""
    embeddings = read_embeddings(Path(arguments.folder) / "gallery.safetensors")
    queries = loaded_queries(arguments)[:SEARCHED]
    return measured(lambda: search_stored(queries, embeddings, 10))


SIDES = {"mining": run_mining, "retrieval": run_retrieval}


def measured(work: Any) -> dict[str, float]:
    """Processor seconds and MiB of some work, on one thread."""
    torch.set_num_threads(1)
    before, begun = anonymous_mib(), time.process_time()
    with PeakMemory() as peak:
        work()
    return {"seconds": round(time.process_time() - begun, 4), "peak_mib": round(peak.mib - before, 1)}


def mapped(folder: Path) -> torch.Tensor:
    """The gallery's rows (N, T, D) as they lie in its file, fp16."""
    from safetensors import safe_open

    with safe_open(folder / "gallery.safetensors", framework="pt") as file:
        rows: torch.Tensor = file.get_tensor("embeddings")  # mapped; nothing is read yet
    return rows


def loaded_queries(arguments: argparse.Namespace) -> torch.Tensor:
    """(MINED, D), unit rows."""
    return torch.from_numpy(np.load(Path(arguments.folder) / "queries.npy"))


def exponent(sizes: dict[str, Any], first: int) -> float:
    """Slope of log seconds over log images, by least squares.

    >>> exponent({"10000": {"seconds": 2.0}, "100000": {"seconds": 20.0}}, 0)
    1.0
    """
    points = [(int(size), one["seconds"]) for size, one in sizes.items() if int(size) >= first]
    images, seconds = np.log(np.array(points)).T
    return round(float(np.polyfit(images, seconds, 1)[0]), 3)


def draw(found: dict[str, Any], image: Path) -> None:
    """Seconds and memory over images, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (seconds, memory) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for side in SIDES:
        images = [int(size) for size in found[side]["sizes"]]
        for axes, key in ((seconds, "seconds"), (memory, "peak_mib")):
            label = f"{side}, exponent {found[side]['exponent']:.2f}" if key == "seconds" else side
            axes.loglog(images, [max(one[key], 1e-3) for one in found[side]["sizes"].values()], marker="o", label=label)
    seconds.set(xlabel="images", ylabel="processor seconds")
    memory.set(xlabel="images", ylabel="MiB of memory at most")
    for axes in (seconds, memory):
        axes.legend()
        axes.grid(which="major", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(image) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--folder", help="where the gallery is written meanwhile")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
