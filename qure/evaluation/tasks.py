"""A model's benchmarks as tasks: what to encode, and how to judge it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qure.config import BENCHMARK_FOLDERS, IMAGES_OF, EvaluationSettings
from qure.datasets import circo as circo_files
from qure.datasets import cirr as cirr_files
from qure.datasets import fashioniq as fashioniq_files
from qure.datasets import hp_fashioniq as hp_fashioniq_files
from qure.datasets.exclusions import Exclusions, read_exclusions
from qure.datasets.truth import Truth, read_truth
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation import circo, cirr, fashioniq, hp_fashioniq
from qure.evaluation.embeddings import Embeddings
from qure.evaluation.encoding import Question
from qure.evaluation.results import Evaluation

SPLIT = "val"


@dataclass(frozen=True)
class Task:
    """One benchmark's validation split.

    Attributes:
        benchmark: its name.
        image_set: whose features its images have.
        questions: what the model is asked.
        images: ids of all candidates.
        judge: query and candidate embeddings -> evaluation.
        dropped: how many images and queries validation's exclusions took away.
        triplets, galleries, truth: what the questions were made of; empty for HP-FashionIQ.
    """

    benchmark: str
    image_set: str
    questions: tuple[Question, ...]
    images: tuple[str, ...]
    judge: Callable[[Embeddings, Embeddings], Evaluation]
    dropped: Mapping[str, int]
    triplets: tuple[Triplet, ...] = ()
    galleries: Mapping[str, Gallery] | None = None
    truth: Truth | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where tasks come from.

    Attributes:
        data: data root.
        validation: validation folder with what to leave out, or None.
        settings: of the evaluation.
        device: where scores are computed.
        digest: image set and ids -> digest of the images' bytes.
    """

    data: Path
    validation: Path | None
    settings: EvaluationSettings
    device: str
    digest: Callable[[str, Sequence[str]], str]


def task_for(benchmark: str, source: Source) -> Task:
    """The task of a benchmark: "fashioniq", "hp-fashioniq", "cirr" or "circo".

    Raises:
        BadInput: the benchmark's files are missing or malformed, or exclusions leave nothing.
    """
    root = source.data / BENCHMARK_FOLDERS[benchmark]
    return _TASKS[benchmark](root, source, exclusions_for(benchmark, source.validation))


def exclusions_for(benchmark: str, validation: Path | None) -> Exclusions:
    """What to leave out of a benchmark: its own exclusions, and the images of all benchmarks that share its images."""
    own = read_exclusions(validation, benchmark)
    sharing = [other for other, images in IMAGES_OF.items() if images == IMAGES_OF[benchmark]]
    images = frozenset[str]().union(*(read_exclusions(validation, other).images for other in sharing))
    return replace(own, images=images)


def _fashioniq(root: Path, source: Source, exclusions: Exclusions) -> Task:
    protocol = source.settings.gallery_protocol
    everything = fashioniq_files.read_triplets(root, SPLIT, checked=False)
    triplets = fashioniq_files.read_triplets(root, SPLIT, exclusions=exclusions)
    whole = {one: fashioniq_files.read_gallery(root, SPLIT, one, protocol) for one in fashioniq_files.CATEGORIES}
    galleries = {category: exclusions.keep_gallery(gallery) for category, gallery in whole.items()}
    images = _distinct(galleries.values())
    truth = read_truth(root, SPLIT)

    def judge(queries: Embeddings, candidates: Embeddings) -> Evaluation:
        return fashioniq.evaluate(
            triplets,
            galleries,
            queries,
            candidates,
            settings=source.settings,
            split=SPLIT,
            truth=truth,
            device=source.device,
            images=source.digest("fashioniq", _with_references(images, triplets)),
        )

    return Task(
        "fashioniq",
        "fashioniq",
        _questions(triplets),
        images,
        judge,
        _dropped(everything, triplets, _distinct(whole.values()), images),
        tuple(triplets),
        galleries,
        truth,
    )


def _hp_fashioniq(root: Path, source: Source, exclusions: Exclusions) -> Task:
    everything = hp_fashioniq_files.read_pairs(root)
    pairs = exclusions.keep_pairs(everything)
    images = tuple(dict.fromkeys(image for pair in pairs for image in (*pair.set_1, *pair.set_2)))
    references = [pair.reference for pair in pairs]

    def judge(queries: Embeddings, candidates: Embeddings) -> Evaluation:
        digest = source.digest("fashioniq", list(dict.fromkeys((*images, *references))))
        return hp_fashioniq.evaluate(pairs, queries, candidates, settings=source.settings, images=digest)

    questions = tuple(Question(pair.query_id, pair.reference, pair.text, pair.category) for pair in pairs)
    shown = {image for pair in everything for image in (*pair.set_1, *pair.set_2)}
    dropped = {"images": len(shown & exclusions.images), "queries": len(everything) - len(pairs)}
    return Task("hp-fashioniq", "fashioniq", questions, images, judge, dropped)


def _cirr(root: Path, source: Source, exclusions: Exclusions) -> Task:
    everything = cirr_files.read_triplets(root, SPLIT, checked=False)
    triplets = cirr_files.read_triplets(root, SPLIT, exclusions=exclusions)
    whole = cirr_files.read_gallery(root, SPLIT)
    gallery = exclusions.keep_gallery(whole)
    truth = read_truth(root, SPLIT)

    def judge(queries: Embeddings, candidates: Embeddings) -> Evaluation:
        return cirr.evaluate(
            triplets,
            gallery,
            queries,
            candidates,
            settings=source.settings,
            split=SPLIT,
            truth=truth,
            device=source.device,
            images=source.digest("cirr", gallery.ids),
        )

    dropped = _dropped(everything, triplets, whole.ids, gallery.ids)
    return Task(
        "cirr", "cirr", _questions(triplets), gallery.ids, judge, dropped, tuple(triplets), {"": gallery}, truth
    )


def _circo(root: Path, source: Source, exclusions: Exclusions) -> Task:
    if not circo_files.has_index(root):
        raise BadInput(
            "COCO's index is missing, and with it the gallery",
            file=root / circo_files.INDEX,
            remedy="Download COCO 2017's unlabeled image information there",
        )
    everything = circo_files.read_triplets(root, SPLIT, checked=False)
    triplets = circo_files.read_triplets(root, SPLIT, exclusions=exclusions)
    whole = circo_files.read_gallery(root)
    gallery = exclusions.keep_gallery(whole)
    truth = read_truth(root, SPLIT)

    def judge(queries: Embeddings, candidates: Embeddings) -> Evaluation:
        return circo.evaluate(
            triplets,
            gallery,
            queries,
            candidates,
            settings=source.settings,
            split=SPLIT,
            truth=truth,
            device=source.device,
            images=source.digest("circo", gallery.ids),
        )

    dropped = _dropped(everything, triplets, whole.ids, gallery.ids)
    return Task(
        "circo", "circo", _questions(triplets), gallery.ids, judge, dropped, tuple(triplets), {"": gallery}, truth
    )


_TASKS: dict[str, Callable[[Path, Source, Exclusions], Task]] = {
    "fashioniq": _fashioniq,
    "hp-fashioniq": _hp_fashioniq,
    "cirr": _cirr,
    "circo": _circo,
}


def _questions(triplets: Sequence[Triplet]) -> tuple[Question, ...]:
    return tuple(Question(one.query_id, one.reference, one.text, one.category or "") for one in triplets)


def _distinct(galleries: Iterable[Gallery]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(image for gallery in galleries for image in gallery.ids))


def _with_references(images: Sequence[str], triplets: Sequence[Triplet]) -> list[str]:
    return list(dict.fromkeys((*images, *(triplet.reference for triplet in triplets))))


def _dropped(
    everything: Sequence[Triplet], kept: Sequence[Triplet], whole: Sequence[str], images: Sequence[str]
) -> dict[str, int]:
    return {"images": len(whole) - len(images), "queries": len(everything) - len(kept)}
