"""DVC on a folder of image files and on the same images in tar shards: add, push, checkout, status.

    python -m benchmarks.dvc_shards [--images 5000] [--bytes 10000] [--shard-bytes 67108864]

Both sides run one after the other, each in a DVC project of its own with a local remote and DVC's default settings.
Packing is counted apart: it happens once per version of the data.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from qure.datasets.image_shards import INDEX
from qure.datasets.image_store import SHARDS, pack_images


def main() -> None:
    arguments = parse_arguments()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_images(root / "source", arguments.images, arguments.bytes)
        packing = seconds(lambda: pack_images(root / "source", root / "packed", arguments.shard_bytes))
        files, came = measure(root / "files", root / "source" / "images")
        shards, came_packed = measure(root / "shards", root / "packed")
        same = came == came_packed == digests(root / "source" / "images")
        shard_count = len(list((root / "packed").glob("*.tar")))
    payload = {
        "load_before": round(load, 1),
        "images": arguments.images,
        "bytes_each": arguments.bytes,
        "shard_files": shard_count,
        "dvc": version("dvc"),
        "same_images_came_back": same,
        "packing_s": round(packing, 2),
        "files_s": files,
        "shards_s": shards,
        "times_faster": {name: round(files[name] / shards[name], 1) for name in files},
    }
    print(json.dumps(payload, indent=2))
    print(write_result("dvc_shards", payload))


def make_images(root: Path, count: int, size: int) -> None:
    """Files of random bytes, as well compressed as images are; DVC and the packing do not decode them."""
    (root / "images").mkdir(parents=True)
    numbers = random.Random(0)
    for number in range(count):
        (root / "images" / f"B{number:09d}.jpg").write_bytes(numbers.randbytes(size))


def measure(project: Path, images: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds that each DVC command takes in a project of its own, and the digests of the images that came back."""
    project.mkdir()
    dvc(project, "init", "--no-scm")
    dvc(project, "config", "core.analytics", "false")
    dvc(project, "config", "core.check_update", "false")
    dvc(project, "remote", "add", "--default", "here", str(project.parent / f"{project.name}-remote"))
    shutil.copytree(images, project / SHARDS)
    taken = {
        "add": seconds(lambda: dvc(project, "add", SHARDS)),
        "push": seconds(lambda: dvc(project, "push")),
        "push_again": seconds(lambda: dvc(project, "push")),
        "status": seconds(lambda: dvc(project, "status")),
    }
    shutil.rmtree(project / SHARDS)
    taken["checkout"] = seconds(lambda: dvc(project, "checkout"))
    return {name: round(value, 2) for name, value in taken.items()}, digests(project / SHARDS)


def digests(folder: Path) -> dict[str, str]:
    """Name of every image in a folder's files, or in its tar shards, with its SHA-256."""
    found = {}
    for file in folder.iterdir():
        if file.name == INDEX:
            continue
        if file.suffix != ".tar":
            found[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
            continue
        with tarfile.open(file) as shard:
            for member in shard:
                content = shard.extractfile(member)
                if content is not None:
                    found[Path(member.name).name] = hashlib.sha256(content.read()).hexdigest()
    return found


def dvc(project: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments, "--quiet"],
        cwd=project,
        check=True,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
    )


def seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--bytes", type=int, default=10_000, help="size of each image")
    parser.add_argument("--shard-bytes", type=int, default=64 * 2**20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
