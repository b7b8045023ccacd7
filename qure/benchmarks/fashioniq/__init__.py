"""FashionIQ (Wu et al., CVPR 2021): garments in three categories, and the training set named after it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks.base import WHOLE, PublishedTable, Scope
from qure.benchmarks.retrieval import RetrievalBenchmark

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from qure.config import EvaluationSettings, ValidationSettings
    from qure.datasets.exclusions import Exclusions
    from qure.datasets.split import Split
    from qure.datasets.types import Gallery, Triplet
    from qure.evaluation.ranking.embeddings import Embeddings
    from qure.evaluation.statistics.results import Evaluation
    from qure.validation.annotations import Annotations

#: Counted in the published files.
_CAPTIONS = {
    "dress": {"train": 5985, "val": 2017, "test": 2024},
    "shirt": {"train": 5988, "val": 2038, "test": 2038},
    "toptee": {"train": 6027, "val": 1961, "test": 2056},
}
_IMAGES = {
    "dress": {"train": 11452, "val": 3817, "test": 3818},
    "shirt": {"train": 19036, "val": 6346, "test": 6346},
    "toptee": {"train": 16121, "val": 5373, "test": 5374},
}
_PROTOCOLS = {
    "original": "each category's whole split",
    "val": "the split's references and targets only, easier",
}


class FashionIQ(RetrievalBenchmark):
    """Recall of the one labelled target in its category's gallery, and the mean over categories."""

    name = folder = images = judges = "fashioniq"
    title = "FashionIQ"
    compared_by = "recall_at_10"
    splits = ("train", "val", "test")
    categories = ("dress", "shirt", "toptee")
    text = "captions"
    averages = "mean of recall_at_10 and recall_at_50"
    entries = {
        file.format(category=category, split=split): count
        for file, counts in (
            ("captions/cap.{category}.{split}.json", _CAPTIONS),
            ("image_splits/split.{category}.{split}.json", _IMAGES),
        )
        for category, of_splits in counts.items()
        for split, count in of_splits.items()
    }
    #: Kwak et al., "QuRe", ICML 2025.
    published = PublishedTable(
        measured_on="FashionIQ val, original gallery",
        metrics=(
            "dress_recall_at_10",
            "dress_recall_at_50",
            "shirt_recall_at_10",
            "shirt_recall_at_50",
            "toptee_recall_at_10",
            "toptee_recall_at_50",
            "recall_at_10",
            "recall_at_50",
            "average",
        ),
        rows={
            "CLIP4CIR": (38.32, 63.90, 44.31, 65.41, 47.27, 70.98, 43.30, 66.76, 55.03),
            "Bi-BLIP4CIR": (39.12, 62.92, 39.21, 62.81, 44.37, 67.06, 40.90, 64.26, 52.58),
            "CoVR-BLIP": (44.55, 69.03, 48.43, 67.42, 52.60, 74.31, 48.53, 70.25, 60.24),
            "SPRC": (45.71, 70.00, 51.37, 72.77, 55.48, 77.46, 50.86, 73.41, 62.13),
            "QuRe": (46.80, 69.81, 53.53, 72.87, 57.47, 77.77, 52.60, 73.48, 63.04),
        },
    )

    def split_files(self, root: Path, split: str) -> list[Path]:
        return [root / "image_splits" / f"split.{category}.{split}.json" for category in self.categories]

    def query_files(self, root: Path, split: str) -> list[Path]:
        from qure.benchmarks.fashioniq.files import captions_path

        return [captions_path(root, split, category) for category in self.categories]

    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        from qure.benchmarks.fashioniq.files import captions_path, read_triplets, split_ids
        from qure.datasets.types import named_images

        for category in self.categories:
            yield from split_ids(root, split, category)
            if captions_path(root, split, category).is_file():
                yield from named_images(read_triplets(root, split, [category], checked=False))

    def read_triplets(
        self,
        root: Path,
        split: str,
        *,
        categories: Sequence[str] | None = None,
        checked: bool = True,
        exclusions: "Exclusions | None" = None,
    ) -> "list[Triplet]":
        from qure.benchmarks.fashioniq.files import read_triplets

        return read_triplets(root, split, categories or self.categories, checked=checked, exclusions=exclusions)

    def read_galleries(self, root: Path, split: str, scope: Scope = WHOLE) -> "Mapping[str, Gallery]":
        from qure.benchmarks.fashioniq.files import read_gallery

        chosen = scope.categories or self.categories
        return {category: read_gallery(root, split, category, scope.gallery_protocol) for category in chosen}

    def read(self, root: Path, split: str, scope: Scope = WHOLE) -> "Split":
        """As every retrieval benchmark; of val also which targets the train triplets of any category name."""
        from dataclasses import replace

        from qure.datasets.leakage import leaked_queries
        from qure.datasets.split import present

        found = super().read(root, split, scope)
        if split != "val" or not present(self.query_files(root, "train")):
            return found
        training = self.read_triplets(root, "train", checked=False, exclusions=scope.exclusions)
        return replace(found, leaked=leaked_queries(found.triplets, training))

    def read_training(
        self, root: Path, exclusions: "Exclusions | None" = None
    ) -> "tuple[list[Triplet], dict[str, list[str]]]":
        """A category's corpus: the targets of its train triplets, each once, in the order of first occurrence."""
        triplets = self._labelled(root, "train", self.read_triplets(root, "train", exclusions=exclusions))
        corpora: dict[str, dict[str, None]] = {category: {} for category in self.categories}
        for triplet in triplets:
            if triplet.category is not None and triplet.target is not None:
                corpora[triplet.category][triplet.target] = None
        return triplets, {category: list(targets) for category, targets in corpora.items()}

    def training_galleries(self, root: Path) -> "Mapping[str, Gallery]":
        from qure.benchmarks.fashioniq.files import read_gallery

        return {category: read_gallery(root, "train", category) for category in self.categories}

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
        from qure.benchmarks.fashioniq.protocol import evaluate

        return evaluate(
            split.triplets,
            split.galleries,
            queries,
            candidates,
            settings=settings,
            split=split.name,
            truth=split.truth,
            leaked=split.leaked,
            device=device,
            images=images,
        )

    def chance(self, split: "Split") -> dict[str, float]:
        from qure.benchmarks.fashioniq.protocol import chance

        return chance(split)

    def notes(self, evaluation: "Evaluation") -> list[str]:
        protocol = evaluation.details["gallery_protocol"]
        sentences = [f"Gallery protocol {protocol}: {_PROTOCOLS[protocol]}."]
        leaked, asked = evaluation.details.get("leaked_queries"), evaluation.metrics["queries"]
        if leaked:
            sentences.append(
                f"Of {leaked:,.0f} of {asked:,.0f} queries the train triplets name the target; every number stands "
                f"beside the one of the other {asked - leaked:,.0f}."
            )
        elif leaked == 0:
            sentences.append("The train triplets name no query's target.")
        return sentences

    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        from qure.benchmarks.fashioniq.tables import read

        return read(data)

    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        from qure.benchmarks.fashioniq.suites import suites

        return suites(settings)


BENCHMARK = FashionIQ()
