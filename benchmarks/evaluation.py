"""The protocols at full size: peak memory and seconds on the real annotation files with synthetic embeddings.

    python -m benchmarks.evaluation --annotations FOLDER [--scratch FOLDER] [--dimensions 256] [--tokens 32]

FOLDER holds fashioniq/, cirr/, circo/ and hp_fashioniq/ as published. COCO's index of 123,403 unlabeled images is not
among the annotations: one of that size is made up around the images that CIRCO names. Embeddings are fp32, as large as
they get (CIRCO's gallery: 4 GB on disk, removed afterwards). Each protocol runs in a process of its own, whose peak
resident memory is what is reported; reading pages of the embeddings through a mapping would count there.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import write_result
from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.evaluation.ranking.embeddings import Floats, write_embeddings

COCO_IMAGES = 123_403
#: What issue and documentation promise, in MiB.
LIMITS = {"fashioniq": 2048, "circo": 4096}
BENCHMARKS = ("fashioniq", "cirr", "hp-fashioniq", "circo")


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
    for benchmark in arguments.benchmarks:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            measured[benchmark] = measure(benchmark, arguments, Path(folder))
        print(benchmark, json.dumps(measured[benchmark]))
    size = {"dimensions": arguments.dimensions, "tokens": arguments.tokens, "dtype": "fp32"}
    within = {name: measured[name]["peak_mib"] <= limit for name, limit in LIMITS.items() if name in measured}
    payload = {"embeddings": size, "protocols": measured, "limits_mib": LIMITS, "within_limits": within}
    print(write_result("evaluation", payload))


def measure(benchmark: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Makes a benchmark's embeddings, then evaluates them in a process of its own."""
    root, split = prepared(benchmark, arguments.annotations, folder)
    queries, images = asked(benchmark, root, split)
    write_embeddings(folder / "queries.safetensors", queries, Synthetic(len(queries), 1, arguments.dimensions, 1))
    shape = (arguments.tokens, arguments.dimensions)
    write_embeddings(folder / "gallery.safetensors", images, Synthetic(len(images), *shape, 2))
    command = [sys.executable, "-m", "benchmarks.evaluation", "--run", benchmark, "--annotations", str(root)]
    command += ["--scratch", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    size = (folder / "gallery.safetensors").stat().st_size
    return {"queries": len(queries), "images": len(images), "gallery_mib": round(size / 2**20), **found}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One protocol over the files in the scratch folder."""
    from qure.evaluation.external import evaluate_embeddings

    folder = arguments.scratch
    files = (folder / "queries.safetensors", folder / "gallery.safetensors", folder / "metrics.json")
    begun = time.perf_counter()
    found = evaluate_embeddings(arguments.run, arguments.annotations, "val", *files)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    metrics = {name: value for name, value in found.items() if isinstance(value, float)}
    return {"seconds": round(seconds, 1), "peak_mib": round(peak), "metrics": metrics}


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
    parser.add_argument("--run", choices=BENCHMARKS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
