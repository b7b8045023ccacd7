"""Submissions for the splits whose answers only the evaluation servers have."""

import logging
from collections.abc import Sequence
from pathlib import Path

from qure.config import BENCHMARK_FOLDERS
from qure.datasets import circo as circo_files
from qure.datasets import cirr as cirr_files
from qure.datasets.types import Triplet
from qure.evaluation import circo, cirr
from qure.evaluation.embeddings import Embeddings
from qure.evaluation.encoding import Encoder, Question
from qure.evaluation.submissions import CIRCO_SPLIT, CIRR_SPLIT, write_circo_submission, write_cirr_submissions
from qure.evaluation.tasks import Source, exclusions_for

logger = logging.getLogger(__name__)


def submit(benchmark: str, encoder: Encoder, gallery: Embeddings, source: Source, folder: Path) -> None:
    """Writes a benchmark's submission files, where its split without answers is there and whole.

    Args:
        benchmark: only CIRR and CIRCO have such a split; nothing is written for others.
        encoder: the trained model.
        gallery: the candidates of the benchmark's validation split, which CIRCO's test split shares.
        source: of data and exclusions.
        folder: where to write.
    """
    root = source.data / BENCHMARK_FOLDERS[benchmark]
    if benchmark == "cirr" and cirr_files.captions_path(root, CIRR_SPLIT).is_file():
        _submit_cirr(root, encoder, source, folder)
    if benchmark == "circo" and circo_files.annotations_path(root, CIRCO_SPLIT).is_file():
        _submit_circo(root, encoder, gallery, source, folder)


def _submit_cirr(root: Path, encoder: Encoder, source: Source, folder: Path) -> None:
    triplets, candidates = cirr_files.read_triplets(root, CIRR_SPLIT), cirr_files.read_gallery(root, CIRR_SPLIT)
    if not _whole("cirr", triplets, candidates.ids, source):
        return
    name = f"cirr {CIRR_SPLIT}"
    queries = encoder.queries("cirr", _questions(triplets), name)
    images = encoder.gallery("cirr", candidates.ids, name)
    recall, subset = cirr.predict(triplets, candidates, queries, images, device=source.device)
    write_cirr_submissions(folder, root, recall, subset)


def _submit_circo(root: Path, encoder: Encoder, gallery: Embeddings, source: Source, folder: Path) -> None:
    triplets, candidates = circo_files.read_triplets(root, CIRCO_SPLIT), circo_files.read_gallery(root)
    if not _whole("circo", triplets, candidates.ids, source):
        return
    queries = encoder.queries("circo", _questions(triplets), f"circo {CIRCO_SPLIT}")
    ranking = circo.predict(triplets, candidates, queries, gallery, device=source.device)
    write_circo_submission(folder / f"circo_{CIRCO_SPLIT}.json", root, ranking)


def _whole(benchmark: str, triplets: Sequence[Triplet], images: Sequence[str], source: Source) -> bool:
    """Whether nothing of a split is excluded: the servers want every query, ranked over the whole split."""
    exclusions = exclusions_for(benchmark, source.validation)
    whole = len(exclusions.keep(triplets)) == len(triplets) and exclusions.images.isdisjoint(images)
    if not whole:
        logger.warning("%s: no submission, validation excludes images or queries of the split", benchmark)
    return whole


def _questions(triplets: Sequence[Triplet]) -> list[Question]:
    return [Question(one.query_id, one.reference, one.text) for one in triplets]
