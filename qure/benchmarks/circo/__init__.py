"""CIRCO (Baldrati et al., ICCV 2023): COCO's unlabeled images, and several right answers per query."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks.base import WHOLE, PublishedTable, Scope
from qure.benchmarks.retrieval import RetrievalBenchmark
from qure.errors import BadInput

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from qure.config import EvaluationSettings, ValidationSettings
    from qure.datasets.exclusions import Exclusions
    from qure.datasets.image_base import ImageStore
    from qure.datasets.split import Split
    from qure.datasets.types import Gallery, Triplet
    from qure.evaluation.ranking.embeddings import Embeddings
    from qure.evaluation.statistics.results import Evaluation
    from qure.validation.annotations import Annotations

#: The gallery's name where COCO's index is missing: what was given instead is not the whole one.
PARTIAL = "circo/partial"


class CIRCO(RetrievalBenchmark):
    """Mean average precision over all right answers; judges models that are trained on CIRR."""

    name = folder = images = "circo"
    title = "CIRCO"
    judges = "cirr"
    splits = ("val", "test")
    withheld = "test"
    takes_labels = False
    text = "relative_caption"
    gallery_file = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    #: Counted in the published files.
    entries = {"annotations/val.json": 220, "annotations/test.json": 800, gallery_file: 123_403}
    #: Kwak et al., "QuRe", ICML 2025.
    published = PublishedTable(
        measured_on="CIRCO test (the authors' server), not val",
        metrics=("map_at_5", "map_at_10", "map_at_25", "map_at_50"),
        rows={
            "CoVR-BLIP": (18.35, 19.25, 21.02, 21.88),
            "SPRC": (17.57, 18.48, 20.14, 20.98),
            "QuRe": (23.22, 24.23, 26.26, 27.24),
        },
    )

    def split_files(self, root: Path, split: str) -> list[Path]:
        from qure.benchmarks.circo.files import annotations_path

        return [annotations_path(root, split)]

    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        from qure.benchmarks.circo.files import has_index, read_gallery, read_triplets
        from qure.datasets.types import named_images

        yield from named_images(read_triplets(root, split, checked=False))
        if has_index(root):
            yield from read_gallery(root).ids

    def image_files(self, root: Path) -> "ImageStore | None":
        from qure.benchmarks.circo.files import IMAGES, annotations_path, image_files

        annotated = any(annotations_path(root, split).is_file() for split in self.splits)
        return image_files(root) if annotated or (root / IMAGES.parent).is_dir() else None

    def read_triplets(
        self,
        root: Path,
        split: str,
        *,
        categories: Sequence[str] | None = None,
        checked: bool = True,
        exclusions: "Exclusions | None" = None,
    ) -> "list[Triplet]":
        from qure.benchmarks.circo.files import read_triplets

        return read_triplets(root, split, checked=checked, exclusions=exclusions)

    def read_galleries(self, root: Path, split: str, scope: Scope = WHOLE) -> "Mapping[str, Gallery]":
        from qure.benchmarks.circo.files import INDEX, has_index, read_gallery
        from qure.datasets.types import Gallery

        if has_index(root):
            return {"": read_gallery(root)}
        if scope.candidates is None:
            raise BadInput(
                "COCO's index is missing, and with it the gallery",
                file=root / INDEX,
                remedy="Download COCO 2017's unlabeled image information there",
            )
        return {"": Gallery(PARTIAL, tuple(scope.candidates))}

    def canonical_ids(self, ids: Sequence[str], *, file: str) -> Sequence[str]:
        from qure.benchmarks.circo.protocol import coco_ids

        return coco_ids(ids, file=file)

    def judge(
        self,
        split: "Split",
        queries: "Embeddings",
        candidates: "Embeddings",
        *,
        settings: "EvaluationSettings",
        device: str = "cpu",
        images: str = "",
    ) -> "Evaluation":
        from qure.benchmarks.circo.protocol import evaluate

        return evaluate(
            split.triplets,
            split.gallery,
            queries,
            candidates,
            settings=settings,
            split=split.name,
            truth=split.truth,
            device=device,
            images=images,
            partial_gallery=split.gallery.name == PARTIAL,
        )

    def write_submissions(
        self,
        split: "Split",
        queries: "Embeddings",
        candidates: "Embeddings",
        folder: Path,
        *,
        root: Path,
        device: str = "cpu",
    ) -> dict[str, Path]:
        from qure.benchmarks.circo.protocol import predict
        from qure.benchmarks.circo.submission import write_submission

        ranking = predict(split.triplets, split.gallery, queries, candidates, device=device)
        return {"map": write_submission(folder / f"circo_{split.name}.json", root, ranking, split=split.name)}

    def check_submission(self, path: Path, root: Path, *, split: str | None = None) -> str:
        from qure.benchmarks.circo.submission import check_submission

        check_submission(path, root, split=split or self.withheld)
        return "map"

    def notes(self, evaluation: "Evaluation") -> list[str]:
        partial = evaluation.details.get("partial_gallery")
        return ["Partial gallery, not COCO's whole index: numbers are too high."] if partial else []

    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        from qure.benchmarks.circo.tables import read

        return read(data)

    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        from qure.benchmarks.circo.suites import suites

        return suites(settings)


BENCHMARK = CIRCO()
