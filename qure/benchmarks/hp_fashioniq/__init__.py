"""HP-FashionIQ (Kwak et al., ICML 2025): which of two sets of FashionIQ's images people prefer for a query."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks.base import WHOLE, Benchmark, PublishedTable, Scope

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from qure.config import EvaluationSettings, ValidationSettings
    from qure.datasets.exclusions import Exclusions
    from qure.datasets.split import Split
    from qure.evaluation.ranking.embeddings import Embeddings
    from qure.evaluation.statistics.results import Evaluation
    from qure.validation.annotations import Annotations


class HPFashionIQ(Benchmark):
    """How often the model prefers the set that a person preferred."""

    name = "hp-fashioniq"
    folder = "hp_fashioniq"
    title = "HP-FashionIQ"
    images = judges = "fashioniq"
    splits = ("answers",)
    text = "sentences"
    queries = {"answers": "answers"}
    entries = {"hpfiq.json": 3050}  # counted in the published file
    resampled = "people"
    #: Kwak et al., "QuRe", ICML 2025.
    published = PublishedTable(
        measured_on="HP-FashionIQ, 2,715 rows (307 flagged ones were dropped, whose flags are not public)",
        metrics=("preference_rate",),
        rows={
            "CoSMo": (72.96,),
            "MGUR": (73.99,),
            "CLIP4CIR": (74.45,),
            "Bi-BLIP4CIR": (67.33,),
            "CoVR-BLIP": (73.15,),
            "SPRC": (73.82,),
            "QuRe": (74.55,),
        },
    )

    def split_files(self, root: Path, split: str) -> list[Path]:
        from qure.benchmarks.hp_fashioniq.files import file_path

        return [file_path(root)]

    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        from qure.benchmarks.hp_fashioniq.files import read_pairs

        for pair in read_pairs(root):
            yield from (pair.reference, pair.target, *pair.set_1, *pair.set_2)

    def read(self, root: Path, split: str, scope: Scope = WHOLE) -> "Split":
        """It has one split only: any name will do."""
        from qure.benchmarks.hp_fashioniq.files import read_pairs
        from qure.datasets.split import Split

        everything, exclusions = read_pairs(root), scope.exclusions
        if exclusions is None:
            return Split(split, pairs=tuple(everything))
        pairs = exclusions.keep_pairs(everything)
        shown = {image for pair in everything for image in (*pair.set_1, *pair.set_2)}
        dropped = {"images": len(shown & exclusions.images), "queries": len(everything) - len(pairs)}
        return Split(split, pairs=tuple(pairs), dropped=dropped)

    def ordered(self, split: "Split", root: Path, order: str) -> "Split":
        from dataclasses import replace

        from qure.benchmarks.hp_fashioniq.files import in_fashioniqs_order, with_captions_exchanged
        from qure.benchmarks.registry import get_benchmark

        if order == "file":
            return split
        if order == "exchanged":
            return replace(split, pairs=tuple(with_captions_exchanged(pair) for pair in split.pairs))
        fashioniq = get_benchmark(self.images)
        queries = fashioniq.read(fashioniq.root(root.parent), "val").triplets
        return replace(split, pairs=tuple(in_fashioniqs_order(split.pairs, queries)))

    def count_queries(self, root: Path, split: str, exclusions: "Exclusions") -> tuple[int, int]:
        from qure.benchmarks.hp_fashioniq.files import read_pairs

        pairs = read_pairs(root)
        return len(pairs), len(exclusions.keep_pairs(pairs))

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
        from qure.benchmarks.hp_fashioniq.protocol import evaluate

        return evaluate(split.pairs, queries, candidates, settings=settings, images=images)

    def notes(self, evaluation: "Evaluation") -> list[str]:
        orders = {"exchanged": "exchanged against the published file", "fashioniq": "in FashionIQ's own order"}
        order = evaluation.details.get("caption_order")
        return [f"Every sentence's two captions are {orders[order]} (`caption_order: {order}`)."] if order else []

    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        from qure.benchmarks.hp_fashioniq.tables import read

        return read(data, found[self.images].lists)

    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        from qure.benchmarks.hp_fashioniq.suites import suites

        return suites(settings)


BENCHMARK = HPFashionIQ()
