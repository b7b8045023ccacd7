"""CIRR's evaluation server takes two files for test1: `metric` recall (50 names a query) and recall_subset (3 names).

`version` is rc2, and a file has at most 5 MB. The server allows few tries.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from qure.benchmarks.cirr.files import read_gallery, read_triplets
from qure.benchmarks.cirr.protocol import RECALL_NAMES, SUBSET_NAMES
from qure.datasets.ids import shown
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.submissions.checks import check_list, check_queries, named_query, read_object, write_compact
from qure.files import atomic_file

SPLIT = "test1"
VERSION = "rc2"
#: metric -> how many names a query gets.
NAMES = {"recall": RECALL_NAMES, "recall_subset": SUBSET_NAMES}
MAX_BYTES = 5_000_000


def write_submissions(
    folder: Path,
    root: Path,
    recall: Mapping[str, Sequence[str]],
    subset: Mapping[str, Sequence[str]],
    *,
    split: str = SPLIT,
) -> dict[str, Path]:
    """Writes and checks `cirr_{split}_recall.json` and `cirr_{split}_recall_subset.json`.

    Args:
        folder: where to write.
        root: CIRR's folder, for the check.
        recall, subset: query id -> names, best first (`qure.benchmarks.cirr.protocol.predict`).
        split: which split's queries these are.

    Returns:
        metric -> file.

    Raises:
        BadInput: a file would break one of the server's rules; it is not written.
    """
    files: dict[str, Path] = {}
    for metric, ranking in (("recall", recall), ("recall_subset", subset)):
        path = Path(folder) / f"cirr_{split}_{metric}.json"
        body = {query: list(names) for query, names in ranking.items()}
        with atomic_file(path) as temporary:
            write_compact(temporary, {"version": VERSION, "metric": metric, **body})
            _check(temporary, read_triplets(root, split), read_gallery(root, split), path)
        files[metric] = path
    return files


def check_submission(path: Path | str, root: Path | str, *, split: str = SPLIT) -> str:
    """Checks a file against the rules of CIRR's evaluation server.

    Args:
        path: the file.
        root: CIRR's folder: captions/ and image_splits/ of the split.
        split: whose queries the file answers.

    Returns:
        the file's metric: "recall" or "recall_subset".

    Raises:
        BadInput: not JSON, larger than 5 MB, another version, an unknown metric, a query missing, unknown or twice, not
            50 (3) names, a name that is unknown, repeated, the reference, or not of the query's image set.
    """
    root = Path(root)
    return _check(Path(path), read_triplets(root, split), read_gallery(root, split), Path(path))


def _check(file: Path, triplets: Sequence[Triplet], gallery: Gallery, name: Path) -> str:
    size = file.stat().st_size if file.is_file() else 0
    if size > MAX_BYTES:
        raise BadInput(f"{size:,} bytes; the server takes at most {MAX_BYTES:,}", file=name)
    content = read_object(file, name)
    version, metric = content.pop("version", None), content.pop("metric", None)
    if version != VERSION:
        raise BadInput(f"{shown(version)}, must be {VERSION!r}", file=name, field="version")
    if not isinstance(metric, str) or metric not in NAMES:
        raise BadInput(f"{shown(metric)}, must be 'recall' or 'recall_subset'", file=name, field="metric")
    check_queries(content, [triplet.query_id for triplet in triplets], name)
    images = frozenset(gallery.ids)
    for triplet in triplets:
        allowed = images if metric == "recall" else frozenset(triplet.members)
        others = allowed - {triplet.reference}
        names = check_list(content[triplet.query_id], min(NAMES[metric], len(others)), str, triplet.query_id, name)
        row = named_query(triplet.query_id)
        for entry in names:
            if entry == triplet.reference:
                raise BadInput(
                    f"{shown(entry)} is the query's reference image", file=name, row=named_query(triplet.query_id)
                )
            if entry not in images:
                raise BadInput(f"no image {shown(entry)} in {gallery.name}", file=name, row=row)
            if entry not in others:
                raise BadInput(
                    f"{shown(entry)} is not in the query's image set", file=name, row=named_query(triplet.query_id)
                )
    return metric
