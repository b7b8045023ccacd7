"""Submissions for the splits whose answers only the evaluation servers have."""

import logging
from pathlib import Path

from qure.benchmarks import get_benchmark
from qure.datasets.split import present
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.tasks import Source

logger = logging.getLogger(__name__)


def submit(name: str, encoder: Encoder, gallery: Embeddings, source: Source, folder: Path) -> None:
    """Writes a benchmark's submission files, where it has a split without answers that is there and whole.

    The servers want every query, ranked over the whole split.

    Args:
        name: the benchmark's.
        encoder: the trained model.
        gallery: the candidates of its validation split: not encoded again where the other split shares them (CIRCO).
        source: of data and exclusions.
        folder: where to write.
    """
    one = get_benchmark(name)
    root = one.root(source.data.root)
    if one.withheld is None or not present(one.query_files(root, one.withheld)):
        return
    split = source.read(one, one.withheld)
    if any(split.dropped.values()):
        logger.warning("%s: no submission, validation excludes images or queries of the split", name)
        return
    title = f"{name} {split.name}"
    queries = encoder.queries(one.images, split.questions, title)
    shared = all(image in gallery for image in split.images)
    candidates = gallery if shared else encoder.gallery(one.images, split.images, title)
    one.write_submissions(split, queries, candidates, folder, root=root, device=source.device)
