"""A fifth benchmark, as somebody else would add it: one module, and nothing of qure is edited.

FashionIQ-like, but a query has several right answers. Files: captions.{split}.json, a list of
{"reference": id, "captions": [text, text], "answers": [ids]}, the answers left out in test; gallery.json, a list of
ids; and images/. The evaluation server takes query id -> the ten best ids.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.benchmarks.base import WHOLE, Scope
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

SUBMITTED = 10


class Shoes(RetrievalBenchmark):
    """Recall of the first right answer, and average precision over all of them."""

    name = folder = images = "shoes"
    title = "Shoes"
    judges = "fashioniq"
    splits = ("val", "test")
    withheld = "test"
    text = "captions"
    entries = {"gallery.json": 14_658}

    def split_files(self, root: Path, split: str) -> list[Path]:
        return [root / f"captions.{split}.json"]

    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        from qure.datasets.types import named_images

        yield from self.read_galleries(root, split)[""].ids
        yield from named_images(self.read_triplets(root, split, checked=False))

    def read_triplets(
        self,
        root: Path,
        split: str,
        *,
        categories: Sequence[str] | None = None,
        checked: bool = True,
        exclusions: "Exclusions | None" = None,
    ) -> "list[Triplet]":
        from qure.benchmarks.fashioniq.files import join_captions
        from qure.datasets.rows import check_split, read_rows
        from qure.datasets.types import Triplet

        triplets = []
        for number, row in enumerate(read_rows(root / f"captions.{check_split(split, self.splits, self.title)}.json")):
            answers = () if split == self.withheld else row.image_ids("answers")
            triplets.append(
                Triplet(
                    query_id=str(number),
                    reference=row.image_id("reference"),
                    text=join_captions(*row.texts("captions", count=2)),
                    target=answers[0] if answers else None,
                    answers=answers,
                    source=row.source,
                    split=split,
                )
            )
        return exclusions.keep(triplets) if exclusions else triplets

    def read_galleries(self, root: Path, split: str, scope: Scope = WHOLE) -> "Mapping[str, Gallery]":
        from qure.datasets.rows import read_id_list
        from qure.datasets.types import Gallery

        return {"": Gallery("shoes", read_id_list(root / "gallery.json"))}

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
        import numpy as np

        from qure.benchmarks.circo.protocol import average_precision
        from qure.evaluation.ranking.queries import rank_queries, recall_columns, require_embeddings, required_targets
        from qure.evaluation.ranking.scores import columns_of, ranks
        from qure.evaluation.statistics.bootstrap import Measure
        from qure.evaluation.statistics.results import questions_fingerprint, summarised

        required_targets(split.triplets, self.name, split.name)
        require_embeddings(queries, candidates, [one.query_id for one in split.triplets], split.images)
        answers = [columns_of(one.answers, split.gallery.ids, what="answer") for one in split.triplets]

        def from_scores(chosen: slice, scores: Any) -> dict[str, Any]:
            found = [
                np.sort(ranks(line[None], own[None])[0]) for line, own in zip(scores, answers[chosen], strict=True)
            ]
            best = np.array([own[0] for own in found])
            precisions = np.array([average_precision(own, 10) for own in found])
            return {"rank": best, "best_rank": best, **recall_columns(best, (1, 10)), "map_at_10": precisions}

        table, top = rank_queries(split.triplets, split.gallery, queries, candidates, from_scores, device=device)
        table["answers"] = [list(one.answers) for one in split.triplets]
        return summarised(
            self.name,
            split.name,
            table,
            [Measure(name, name) for name in ("recall_at_1", "recall_at_10", "map_at_10")],
            settings=settings,
            counts={"queries": len(table), "gallery_size": len(split.images)},
            top=top,
            data_fingerprint=questions_fingerprint(split.triplets, [split.gallery], images=images),
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
        from qure.evaluation.ranking.queries import rank_queries
        from qure.files import write_json

        _, top = rank_queries(split.triplets, split.gallery, queries, candidates, lambda *_: {}, device=device)
        path = folder / f"shoes_{split.name}.json"
        write_json(path, {query: [image for image, _ in best[:SUBMITTED]] for query, best in top.items()})
        self.check_submission(path, root, split=split.name)
        return {"map": path}

    def check_submission(self, path: Path, root: Path, *, split: str | None = None) -> str:
        from qure.evaluation.submissions.checks import check_list, check_queries

        content = json.loads(path.read_text())
        check_queries(content, [one.query_id for one in self.read_triplets(root, split or self.withheld)], path)
        for query, images in content.items():
            check_list(images, SUBMITTED, str, query, path)
        return "map"

    def notes(self, evaluation: "Evaluation") -> list[str]:
        return ["Shoes have several right answers."]

    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        from qure.validation.annotations import MENTION_COLUMNS, Collector

        collector = Collector(data, self.name)
        for table in ("queries", "unlabelled"):
            collector.table(table, "key", "split", "reference", "target", "captions")
        collector.table("mentions", *MENTION_COLUMNS)
        collector.table("image_lists", "image", "split")
        collector.table("files", "entries")
        for index, value in enumerate(collector.load("gallery.json", list)):
            record = collector.record("image_lists", "gallery.json", index, {"image": value})
            collector.list_image(record.take("image", lambda row: row.text("image")), "gallery.json", index, "gallery")
        collector.result.lists["gallery"] = frozenset(collector.result.images)
        collector.add(
            "files", {"file": collector.name("gallery.json"), "row": "", "entries": len(collector.result.images)}
        )
        for split in self.splits:
            for index, value in enumerate(collector.load(f"captions.{split}.json", list)):
                self._record(collector, split, index, value)
        return collector.finish()

    def _record(self, collector: Any, split: str, index: int, value: Any) -> None:
        table = "unlabelled" if split == self.withheld else "queries"
        record = collector.record(table, f"captions.{split}.json", index, value)
        reference = record.take("reference", lambda row: row.text("reference"))
        captions = record.take("captions", lambda row: row.texts("captions", count=2)) or []
        answers = (record.take("target", lambda row: row.texts("answers")) if table == "queries" else None) or []
        record.set(key=f"{split}/{index}", split=split, captions=" and ".join(captions), target=" ".join(answers[:1]))
        named = [("reference", reference), *((f"answers[{place}]", one) for place, one in enumerate(answers))]
        collector.mention(record, f"{split}/{index}", named, listed_in="gallery")

    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        from qure.validation.shared import present, query_rules, unlabelled_query_rules

        return {
            "queries": [
                *present("reference", "target", "captions"),
                *query_rules("reference", "target", "captions", settings),
            ],
            "unlabelled": unlabelled_query_rules("reference", "captions", settings),
            "image_lists": present("image"),
        }


BENCHMARK = Shoes()
