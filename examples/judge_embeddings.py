"""Judge embeddings that another model made, by a benchmark's own protocol, with intervals.

    python examples/judge_embeddings.py --data data --output judged

Shows the embeddings file (any program can write one: safetensors with ids) and `evaluate_embeddings`. The other model
here is the mean colour of an image and ignores the text: what a trained model must beat.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from qure.benchmarks import get_benchmark
from qure.datasets.image_store import ImageStore, open_images
from qure.evaluation import evaluate_embeddings, write_embeddings
from qure.images import decode_image


def mean_colour(images: ImageStore, image_id: str) -> np.ndarray:
    """(12,) unit length: the mean colours of an image's four quarters, less grey."""
    picture = decode_image(images.read(image_id), name=images.name(image_id)).resize((2, 2), Image.Resampling.BOX)
    vector = np.asarray(picture, dtype=np.float32).reshape(-1) - 127.5
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", default="fashioniq")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=Path("judged"))
    asked = parser.parse_args()

    benchmark = get_benchmark(asked.benchmark)
    root = benchmark.root(asked.data)
    images, split = open_images(root), benchmark.read(root, "val")
    asked.output.mkdir(parents=True, exist_ok=True)
    queries, gallery = asked.output / "queries.safetensors", asked.output / "gallery.safetensors"
    write_embeddings(
        queries,
        [one.query_id for one in split.questions],
        np.stack([mean_colour(images, one.reference) for one in split.questions]),
    )
    write_embeddings(gallery, split.images, np.stack([mean_colour(images, one) for one in split.images]))

    found = evaluate_embeddings(benchmark.name, root, "val", queries, gallery, asked.output / "metrics.json")
    for name in (key for key in found["intervals"] if key.startswith("recall")):
        low, high = found["intervals"][name]
        print(f"{name:>24}  {found[name]:5.2f}  [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
