"""Relevance labels: what people marked as also right, beside the one labelled target, in CIRCO's form.

`labels.<split>.json` in a benchmark's own folder, beside its public files and versioned with them: a list of
{"id", "reference_img_id", "target_img_id", "relative_caption", "gt_img_ids", ...}, ids as the benchmark writes them.
Evaluation then also reports recall and mAP over all right answers, and training never draws them as negatives.
`qure studio` collects them, `qure labels export` writes the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qure.datasets.ids import shown
from qure.datasets.rows import Row, is_there, read_rows
from qure.datasets.types import Triplet


def labels_path(root: Path, split: str) -> Path:
    """Where the labels of a split lie.

    >>> labels_path(Path("data/fashioniq"), "val").as_posix()
    'data/fashioniq/labels.val.json'
    """
    return Path(root) / f"labels.{split}.json"


def read_labels(root: Path, split: str) -> dict[str, Row]:
    """Query id -> its row, of the labels of a split; empty where there are none.

    Raises:
        BadInput: the file is malformed, or names a query twice.
    """
    path = labels_path(root, split)
    if not is_there(path):
        return {}
    found: dict[str, Row] = {}
    for row in read_rows(path):
        query = row.text("id")
        if query in found:
            raise row.error(f"query {shown(query)} occurs twice", "id")
        found[query] = row
    return found


def with_labels(root: Path, split: str, triplets: Sequence[Triplet]) -> list[Triplet]:
    """Triplets with all their right answers, the target first, where people marked any; others as they were.

    Args:
        root: the benchmark's folder.
        split: of the triplets.
        triplets: some or all of the split; labels of other queries are passed over (exclusions, single categories).

    Raises:
        BadInput: the file is malformed, or a row is about another query than the one of its id.
    """
    labels = read_labels(root, split)
    if not labels:
        return list(triplets)
    return [replace(one, answers=_answers(labels, one)) if one.query_id in labels else one for one in triplets]


def _answers(labels: Mapping[str, Row], triplet: Triplet) -> tuple[str, ...]:
    """A query's right answers, once its row is seen to be about this very query."""
    row = labels[triplet.query_id]
    for field, expected in (
        ("reference_img_id", triplet.reference),
        ("target_img_id", triplet.target),
        ("relative_caption", triplet.text),
    ):
        if row.text(field) != expected:
            raise row.error(
                f"must be the query's own, {shown(expected)}, not {shown(row.text(field))}",
                field,
                "The labels are of other data: export them anew",
            )
    answers = row.image_ids("gt_img_ids")
    if triplet.target not in answers:
        raise row.error(f"the target {shown(triplet.target)} is not among the right answers", "gt_img_ids")
    if triplet.reference in answers:
        raise row.error("the reference is no answer", "gt_img_ids")
    return (str(triplet.target), *(answer for answer in answers if answer != triplet.target))
