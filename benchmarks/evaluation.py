"""The protocols at full size: CPU seconds and peak memory on the real annotation files with synthetic embeddings.

    python -m benchmarks.evaluation --annotations FOLDER [--before COMMIT] [--repeats 3] [--scratch FOLDER]

FOLDER holds fashioniq/, cirr/, circo/ and hp_fashioniq/ as published. COCO's index of 123,403 unlabeled images is not
among the annotations: one of that size is made up around the images that CIRCO names. Embeddings are fp32, as large as
they get (CIRCO's gallery: 4 GB on disk, removed afterwards). Each protocol runs in a process of its own on one thread,
whose peak resident memory is what is reported; reading pages of the embeddings through a mapping would count there.

In turns with it run the library of another commit (`--before`), whose metrics must be the same, and, for FashionIQ and
CIRR, the arrangement of the published code: all products of a gallery at once in fp32, the largest of each image's
tokens, a full sort, and names compared with the target's. It computes recall and nothing else.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.builds import environment, exported, revision
from benchmarks.common import CHECKOUT, write_result
from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.evaluation.ranking.embeddings import Floats, write_embeddings

COCO_IMAGES = 123_403
#: What issue and documentation promise, in MiB.
LIMITS = {"fashioniq": 2048, "circo": 4096}
BENCHMARKS = ("fashioniq", "cirr", "hp-fashioniq", "circo")
#: Those whose published code ranks by itself; the other two are judged elsewhere.
PUBLISHED = ("fashioniq", "cirr")


class Synthetic:
    """Random unit vectors that are made when they are read: (N, T, D)."""

    def __init__(self, count: int, tokens: int, dimensions: int, seed: int) -> None:
        self.shape = (count, tokens, dimensions)
        self._seed = seed

    def read(self, start: int, stop: int) -> Floats:
        generator = np.random.default_rng([self._seed, start])
        values = generator.standard_normal((stop - start, *self.shape[1:]), dtype=np.float32)
        return values / np.linalg.norm(values, axis=2, keepdims=True)


def main() -> None:
    arguments = parse_arguments()
    if arguments.run:
        print(json.dumps(run(arguments)))
        return
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        builds = {"now": CHECKOUT}
        if arguments.before:
            builds["before"] = exported(arguments.before, Path(folder))
        for benchmark in arguments.benchmarks:
            with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
                measured[benchmark] = measure(benchmark, builds, arguments, Path(scratch))
            print(benchmark, json.dumps(measured[benchmark]))
    size = {"dimensions": arguments.dimensions, "tokens": arguments.tokens, "dtype": "fp32"}
    peaks = {name: one["peak_mib"]["now"] for name, one in measured.items()}
    within = {name: peaks[name] <= limit for name, limit in LIMITS.items() if name in peaks}
    before = {"before_commit": revision(arguments.before)} if arguments.before else {}
    payload = {"embeddings": size, "protocols": measured, "limits_mib": LIMITS, "within_limits": within, **before}
    print(write_result("evaluation", payload))


def measure(benchmark: str, builds: dict[str, Path], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes a benchmark's embeddings, then evaluates them, each time in a process of its own."""
    root, split = prepared(benchmark, arguments.annotations, folder)
    queries, images = asked(benchmark, root, split)
    write_embeddings(folder / "queries.safetensors", queries, Synthetic(len(queries), 1, arguments.dimensions, 1))
    shape = (arguments.tokens, arguments.dimensions)
    write_embeddings(folder / "gallery.safetensors", images, Synthetic(len(images), *shape, 2))
    sides = builds | ({"published": CHECKOUT} if benchmark in PUBLISHED else {})
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(arguments.repeats):
        for side, build in sides.items():
            found[side].append(one_run(benchmark, side, build, root, folder))
    size = (folder / "gallery.safetensors").stat().st_size
    metrics = {side: runs[0]["metrics"] for side, runs in found.items()}
    recalls = {name: value for name, value in metrics["now"].items() if name in metrics.get("published", {})}
    return {
        "queries": len(queries),
        "images": len(images),
        "gallery_mib": round(size / 2**20),
        "cpu_s": {side: round(statistics.median(run["cpu_s"] for run in runs), 2) for side, runs in found.items()},
        "range_s": {
            side: [round(extreme(run["cpu_s"] for run in runs), 2) for extreme in (min, max)]
            for side, runs in found.items()
        },
        "peak_mib": {side: round(max(run["peak_mib"] for run in runs)) for side, runs in found.items()},
        "same_metrics": metrics.get("before", metrics["now"]) == metrics["now"]
        and {name: round(value, 2) for name, value in recalls.items()} == metrics.get("published", {}),
        "metrics": metrics["now"],
    }


def one_run(benchmark: str, side: str, build: Path, root: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", __file__, "--run", benchmark, "--annotations", str(root)]
    command += ["--scratch", str(folder), *(["--published"] if side == "published" else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment(build))
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One protocol over the files in the scratch folder."""
    import torch

    from qure.evaluation.external import evaluate_embeddings

    torch.set_num_threads(1)
    folder = arguments.scratch
    files = (folder / "queries.safetensors", folder / "gallery.safetensors")
    begun = time.process_time()
    if arguments.published:
        metrics = as_published(arguments.run, arguments.annotations, *files)
    else:
        found = evaluate_embeddings(arguments.run, arguments.annotations, "val", *files, folder / "metrics.json")
        metrics = {name: value for name, value in found.items() if isinstance(value, float)}
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": seconds, "peak_mib": peak, "metrics": metrics}


def as_published(benchmark: str, root: Path, queries_file: Path, gallery_file: Path) -> dict[str, float]:
    """Recall in percent, two digits, by one product a gallery, a full sort, and comparison of names."""
    import torch

    from qure.evaluation.ranking.embeddings import read_embeddings

    queries, candidates = read_embeddings(queries_file), read_embeddings(gallery_file)
    if benchmark == "cirr":
        parts = [(cirr.read_triplets(root, "val"), cirr.read_gallery(root, "val"))]
    else:
        triplets = fashioniq.read_triplets(root, "val")
        parts = [
            ([one for one in triplets if one.category == category], fashioniq.read_gallery(root, "val", category))
            for category in fashioniq.CATEGORIES
        ]
    recalls: dict[str, list[float]] = {}
    for asked_for, gallery in parts:
        tokens = torch.from_numpy(candidates.take(gallery.ids))  # (N, T, D)
        texts = torch.from_numpy(queries.take([one.query_id for one in asked_for])[:, 0])  # (Q, D)
        scores = torch.einsum("qd,ntd->qnt", texts, tokens).amax(dim=2)
        names = np.array(gallery.ids)[torch.argsort(scores, dim=1, descending=True).numpy()]  # (Q, N)
        if benchmark == "cirr":
            kept = names != np.array([one.reference for one in asked_for])[:, None]
            names = names[kept].reshape(len(asked_for), -1)
        hits = names == np.array([one.target for one in asked_for])[:, None]
        for depth in (1, 5, 10, 50):
            recalls.setdefault(f"recall_at_{depth}", []).append(100.0 * float(hits[:, :depth].any(axis=1).mean()))
    return {name: round(float(np.mean(values)), 2) for name, values in recalls.items()}


def prepared(benchmark: str, annotations: Path, folder: Path) -> tuple[Path, str]:
    """The benchmark's root; CIRCO's is a copy beside which an index of COCO's size is made up."""
    if benchmark != "circo":
        return annotations / benchmark.replace("-", "_"), "val"
    root = folder / "circo"
    (root / "annotations").mkdir(parents=True)
    named: set[int] = set()
    for split in circo.SPLITS:
        rows = json.loads((annotations / "circo" / "annotations" / f"{split}.json").read_text(encoding="utf-8"))
        (root / "annotations" / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
        for row in rows:
            named |= {row["reference_img_id"], *row.get("gt_img_ids", [])}
    others = (number for number in range(1, 600_000) if number not in named)
    ids = sorted(named | {next(others) for _ in range(COCO_IMAGES - len(named))})
    index = {"images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in ids]}
    (root / circo.INDEX).parent.mkdir(parents=True)
    (root / circo.INDEX).write_text(json.dumps(index), encoding="utf-8")
    return root, "val"


def asked(benchmark: str, root: Path, split: str) -> tuple[list[str], list[str]]:
    """Query ids and image ids that a protocol needs."""
    if benchmark == "hp-fashioniq":
        pairs = hp_fashioniq.read_pairs(root)
        images = dict.fromkeys(image for pair in pairs for image in (*pair.set_1, *pair.set_2))
        return [pair.query_id for pair in pairs], list(images)
    if benchmark == "fashioniq":
        galleries = [fashioniq.read_gallery(root, split, category) for category in fashioniq.CATEGORIES]
        triplets = fashioniq.read_triplets(root, split)
    elif benchmark == "cirr":
        galleries, triplets = [cirr.read_gallery(root, split)], cirr.read_triplets(root, split)
    else:
        galleries, triplets = [circo.read_gallery(root)], circo.read_triplets(root, split)
    images = dict.fromkeys(image for gallery in galleries for image in gallery.ids)
    return [triplet.query_id for triplet in triplets], list(images)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, help="folder for the embeddings; 4.5 GB")
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--benchmarks", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--before", help="commit whose library is measured beside")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--published", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", choices=BENCHMARKS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
