"""What the data is like, in numbers small enough to keep with every run and to compare with another run's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from qure.benchmarks import get_benchmark
from qure.validation.annotations import Annotations

#: Raise when a measure changes its meaning or its bins: only equal versions are compared.
VERSION = 1

#: Bin edges; the last bin is open. They are fixed, so that two data sets' histograms can be compared bin by bin.
WORD_EDGES = [float(words) for words in range(61)]
SIDE_EDGES = [0.0, *(float(round(2 ** (step / 4), 3)) for step in range(12, 57))]
ASPECT_EDGES = [0.0, *(float(round(2 ** (step / 8), 4)) for step in range(-32, 33))]

#: Measure -> its bins.
EDGES = {
    "caption_words": WORD_EDGES,
    "image_width": SIDE_EDGES,
    "image_height": SIDE_EDGES,
    "image_aspect": ASPECT_EDGES,
}


def statistics(
    training_set: str, benchmarks: Sequence[Annotations], images: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """Numbers of queries and images, caption lengths, category shares and image sizes, per benchmark and split.

    Args:
        training_set: which.
        benchmarks: their annotations.
        images: benchmark -> one row per image and split, with `split`, `width` and `height`.

    Returns:
        {"version", "training_set", "splits": {"fashioniq/train": {"queries", "images", "categories": {name: count},
        "caption_words": histogram, "image_width", "image_height", "image_aspect"}}}; image_aspect is width / height.
    """
    splits: dict[str, Any] = {}
    for annotations in benchmarks:
        queries = _queries(annotations)
        sizes = images.get(annotations.benchmark)
        names = list(dict.fromkeys([*queries["split"], *(sizes["split"] if sizes is not None else ())]))
        for split in names:
            splits[f"{annotations.benchmark}/{split}"] = {
                **_of_queries(queries[queries["split"] == split], get_benchmark(annotations.benchmark).text),
                **(_of_images(sizes[sizes["split"] == split]) if sizes is not None else {}),
            }
    return {"version": VERSION, "training_set": training_set, "splits": splits}


def histogram(values: Sequence[float] | npt.NDArray[np.float64], edges: Sequence[float]) -> dict[str, Any]:
    """Counts per bin, with mean, standard deviation and quartiles of the values themselves.

    Args:
        values: the values, none below the first edge.
        edges: where bins begin; the last bin has no end.

    >>> histogram([1.0, 1.5, 7.0], [0.0, 1.0, 2.0])["counts"]
    [0, 2, 1]
    """
    array = np.asarray(values, dtype=np.float64)
    counts, _ = np.histogram(array, bins=[*edges, np.inf])
    if array.size == 0:
        return {"count": 0, "counts": counts.tolist()}
    low, median, high = (round(float(value), 4) for value in np.quantile(array, (0.25, 0.5, 0.75)))
    return {
        "count": int(array.size),
        "mean": round(float(array.mean()), 4),
        "deviation": round(float(array.std()), 4),
        "quartiles": [low, median, high],
        "counts": counts.tolist(),
    }


def _queries(annotations: Annotations) -> pd.DataFrame:
    tables = [
        annotations.tables[name] if split is None else annotations.tables[name].assign(split=split)
        for name, split in get_benchmark(annotations.benchmark).queries.items()
    ]
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def _of_queries(queries: pd.DataFrame, text: str) -> dict[str, Any]:
    words = [float(len(value.split())) for value in queries[text] if value is not None]
    result: dict[str, Any] = {"queries": len(queries), "caption_words": histogram(words, WORD_EDGES)}
    if "category" in queries:
        categories = queries["category"].dropna()
        result["categories"] = {str(name): int(count) for name, count in sorted(categories.value_counts().items())}
    return result


def _of_images(images: pd.DataFrame) -> dict[str, Any]:
    known = images.dropna(subset=["width", "height"])
    width, height = (known[name].to_numpy(dtype=np.float64) for name in ("width", "height"))
    return {
        "images": len(images),
        "image_width": histogram(width, SIDE_EDGES),
        "image_height": histogram(height, SIDE_EDGES),
        "image_aspect": histogram(width / height, ASPECT_EDGES),
    }
