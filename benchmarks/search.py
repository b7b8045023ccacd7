"""One search of a gallery: converting half-precision embeddings at every request, and the index that is served.

    python -m benchmarks.search [--images 50000] [--tokens 32] [--dimensions 256] [--searches 5]

Both sides run on one thread and search the same embeddings; the index holds them in fp32, which is what evaluation
ranked. `same_order` counts the searches whose ten best are, in order, those of evaluation's own ranking.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import write_result
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.flat_index import BLOCK, FlatIndex
from qure.evaluation.ranking.scores import score_rows, top
from qure.models.relevance import relevance

TOP = 10


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    shape = (arguments.images, arguments.tokens, arguments.dimensions)
    gallery = torch.nn.functional.normalize(torch.randn(shape, generator=draw), dim=-1)
    queries = torch.randn(arguments.searches, arguments.dimensions, generator=draw)
    queries = torch.nn.functional.normalize(queries, dim=-1)
    half, index = gallery.half(), FlatIndex(gallery)
    sides: dict[str, Callable[[Tensor], list[int]]] = {
        "converting_s": lambda query: _converting(query, half),
        "index_s": lambda query: index.search(query[None], [TOP], [None])[0][0].tolist(),
    }
    expected = _as_evaluated(queries, gallery)
    payload: dict[str, object] = {
        "size": {name: getattr(arguments, name) for name in ("images", "tokens", "dimensions", "searches")}
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    same = dict.fromkeys(sides, 0)
    for query, best in zip(queries, expected, strict=True):
        for name, search in sides.items():  # side by side: both meet the same load
            begun = time.perf_counter()
            found = search(query)
            seconds[name].append(time.perf_counter() - begun)
            same[name] += found == best
    payload |= {
        name: {"median": round(statistics.median(each), 4), "range": [round(min(each), 4), round(max(each), 4)]}
        for name, each in seconds.items()
    }
    payload["same_order"] = {name.removesuffix("_s"): count for name, count in same.items()}
    payload["times_faster"] = round(
        statistics.median(seconds["converting_s"]) / statistics.median(seconds["index_s"]), 2
    )
    print(json.dumps(payload, indent=2))
    print(write_result("search", payload))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 50_000), ("tokens", 32), ("dimensions", 256), ("searches", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def _converting(query: Tensor, half: Tensor) -> list[int]:
    scores = torch.cat([relevance(query[None], block.float()) for block in half.split(BLOCK)], dim=1)[0]
    found: list[int] = torch.argsort(scores, descending=True, stable=True)[:TOP].tolist()
    return found


def _as_evaluated(queries: Tensor, gallery: Tensor) -> list[list[int]]:
    ids = [str(number) for number in range(len(gallery))]
    parts = [top(rows, TOP) for _, rows in score_rows(queries.numpy(), Embeddings(ids, gallery.numpy()), ids)]
    found: list[list[int]] = np.concatenate(parts).tolist()
    return found


if __name__ == "__main__":
    main()
