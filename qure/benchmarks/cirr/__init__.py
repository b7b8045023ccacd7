"""CIRR (Liu et al., ICCV 2021): everyday scenes in image sets of six, and the training set named after it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks.base import WHOLE, PublishedTable, Scope
from qure.benchmarks.retrieval import RetrievalBenchmark

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

#: Counted in the published files; the train captions as the paper says.
_CAPTIONS = {"train": 28225, "val": 4181, "test1": 4148}
_IMAGES = {"train": 16939, "val": 2297, "test1": 2315}


class CIRR(RetrievalBenchmark):
    """Recall of the one labelled target in the whole split, and among the query's own image set."""

    name = folder = images = judges = "cirr"
    title = "CIRR"
    compared_by = "average"  # mean(R@5, R_subset@1)
    splits = ("train", "val", "test1")
    withheld = "test1"
    text = "caption"
    averages = "mean of recall_at_5 and recall_subset_at_1"
    entries = {
        **{f"captions/cap.rc2.{split}.json": count for split, count in _CAPTIONS.items()},
        **{f"image_splits/split.rc2.{split}.json": count for split, count in _IMAGES.items()},
    }
    #: Kwak et al., "QuRe", ICML 2025.
    published = PublishedTable(
        measured_on="CIRR test1 (the authors' server), not val",
        metrics=(
            "recall_at_1",
            "recall_at_5",
            "recall_at_10",
            "recall_at_50",
            "recall_subset_at_1",
            "recall_subset_at_2",
            "recall_subset_at_3",
            "average",
        ),
        rows={
            "SPRC": (50.75, 80.58, 88.72, 97.59, 79.57, 91.76, 96.70, 80.07),
            "QuRe": (52.22, 82.53, 90.31, 98.17, 78.51, 91.28, 96.48, 80.52),
        },
    )

    def split_files(self, root: Path, split: str) -> list[Path]:
        from qure.benchmarks.cirr.files import split_path

        return [split_path(root, split)]

    def query_files(self, root: Path, split: str) -> list[Path]:
        from qure.benchmarks.cirr.files import captions_path

        return [captions_path(root, split)]

    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        from qure.benchmarks.cirr.files import captions_path, image_paths, read_triplets
        from qure.datasets.types import named_images

        yield from image_paths(root, split)
        if captions_path(root, split).is_file():
            yield from named_images(read_triplets(root, split, checked=False))

    def image_files(self, root: Path) -> "ImageStore | None":
        from qure.benchmarks.cirr.files import image_files, split_path

        there = any(split_path(root, split).is_file() for split in self.splits)
        return image_files(root) if there else None

    def read_triplets(
        self,
        root: Path,
        split: str,
        *,
        categories: Sequence[str] | None = None,
        checked: bool = True,
        exclusions: "Exclusions | None" = None,
    ) -> "list[Triplet]":
        from qure.benchmarks.cirr.files import read_triplets

        return read_triplets(root, split, checked=checked, exclusions=exclusions)

    def read_galleries(self, root: Path, split: str, scope: Scope = WHOLE) -> "Mapping[str, Gallery]":
        from qure.benchmarks.cirr.files import read_gallery

        return {"": read_gallery(root, split)}

    def read_training(
        self, root: Path, exclusions: "Exclusions | None" = None
    ) -> "tuple[list[Triplet], dict[str, list[str]]]":
        """The corpus: all train images under the key "all", in the split file's order."""
        from qure.benchmarks.cirr.files import image_paths, read_triplets

        images = tuple(image_paths(root, "train"))
        triplets = read_triplets(root, "train", known_ids=images, exclusions=exclusions)
        triplets = self._labelled(root, "train", triplets)
        return triplets, {"all": exclusions.keep_ids(images) if exclusions else list(images)}

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
        from qure.benchmarks.cirr.protocol import evaluate

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
        )

    def chance(self, split: "Split") -> dict[str, float]:
        from qure.benchmarks.cirr.protocol import chance

        return chance(split)

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
        from qure.benchmarks.cirr.protocol import predict
        from qure.benchmarks.cirr.submission import write_submissions

        recall, subset = predict(split.triplets, split.gallery, queries, candidates, device=device)
        return write_submissions(folder, root, recall, subset, split=split.name)

    def check_submission(self, path: Path, root: Path, *, split: str | None = None) -> str:
        from qure.benchmarks.cirr.submission import check_submission

        return check_submission(path, root, split=split or self.withheld)

    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        from qure.benchmarks.cirr.tables import read

        return read(data)

    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        from qure.benchmarks.cirr.suites import suites

        return suites(settings)


BENCHMARK = CIRR()
