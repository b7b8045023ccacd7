"""Where a split's images lie on average: one vector per split, to tell by whether other images are like these."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from qure.benchmarks import get_benchmark
from qure.datasets.benchmarks import image_ids_needed, present_splits
from qure.features.store import FeatureStore

#: Images a split at most: features of more would take minutes to read and move the mean by less than a hundredth.
MOST = 1000
_BATCH = 64


def split_centroids(store: FeatureStore, data: Path, image_set: str) -> dict[str, dict[str, object]]:
    """The mean features of every split's images.

    Args:
        store: the image set's features.
        data: the data root, whose annotation files say which images a split has.
        image_set: which.

    Returns:
        "{benchmark}/{split}" -> {"fingerprint": of the image tower, "vector": list of `width` floats, "images": how
        many were averaged}.

    Raises:
        BadInput: an annotation file is damaged.
    """
    root, present = get_benchmark(image_set).root(data), set(store.ids)
    found: dict[str, dict[str, object]] = {}
    for split in present_splits(image_set, root):
        chosen = spread([image for image in image_ids_needed(image_set, root, [split]) if image in present], MOST)
        if chosen:
            vector = [round(float(value), 6) for value in mean_features(store, chosen)]
            found[f"{image_set}/{split}"] = {
                "fingerprint": store.vision_fingerprint,
                "vector": vector,
                "images": len(chosen),
            }
    return found


def mean_features(store: FeatureStore, ids: Sequence[str]) -> torch.Tensor:
    """Mean over images and tokens, (width,) float64."""
    rows = store.rows(ids)
    total = torch.zeros(store.shape[1], dtype=torch.float64)
    for start in range(0, len(rows), _BATCH):
        features = store.read(rows[start : start + _BATCH])
        total += features.to("cpu", torch.float32).mean(dim=1).sum(dim=0, dtype=torch.float64)
    return total / len(rows)


def spread(ids: Sequence[str], most: int) -> list[str]:
    """At most so many of the ids, evenly spread over their order; the same ids always give the same.

    >>> spread(["a", "b", "c", "d", "e", "f"], 3)
    ['a', 'c', 'e']
    """
    if len(ids) <= most:
        return list(ids)
    return [ids[int(place)] for place in np.arange(most) * len(ids) // most]
