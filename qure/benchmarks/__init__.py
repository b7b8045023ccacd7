"""Benchmarks: one folder each, which holds all that is known of it; everything else loops over `benchmarks()`.

    from qure.benchmarks import get_benchmark, judged_on

    cirr = get_benchmark("cirr")
    cirr.title, cirr.splits, cirr.compared_by, judged_on("cirr")

A benchmark's folder::

    __init__.py    its facts, and `BENCHMARK`: the object that is asked (`qure.benchmarks.base.Benchmark`)
    files.py       reads its published files
    protocol.py    how it judges
    tables.py      its files as tables, for validation
    suites.py      what these tables must meet
    submission.py  files for its evaluation server, where its answers are withheld

A benchmark of your own is one module with such an object, named in a package's entry points (`registry.GROUP`).
"""

from qure.benchmarks.base import Benchmark, PublishedTable, Scope
from qure.benchmarks.registry import (
    benchmarks,
    get_benchmark,
    image_sets,
    image_sets_of,
    judged_on,
    sharing_images,
    training_sets,
)

__all__ = [
    "Benchmark",
    "PublishedTable",
    "Scope",
    "benchmarks",
    "get_benchmark",
    "image_sets",
    "image_sets_of",
    "judged_on",
    "sharing_images",
    "training_sets",
]
