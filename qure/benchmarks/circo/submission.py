"""CIRCO's evaluation server takes one file for test: query id -> the 50 best image ids, as numbers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from qure.benchmarks.circo.files import has_index, read_gallery, read_triplets
from qure.benchmarks.circo.protocol import SUBMITTED
from qure.datasets.ids import shown
from qure.errors import BadInput
from qure.evaluation.submissions.checks import check_list, check_queries, named_query, read_object, write_compact
from qure.files import atomic_file

SPLIT = "test"

#: COCO's ids have at most twelve digits; Python refuses to read some thousands.
_DIGITS = re.compile(r"[0-9]{1,20}")


def write_submission(path: Path, root: Path, ranking: Mapping[str, Sequence[str]], *, split: str = SPLIT) -> Path:
    """Writes and checks CIRCO's file.

    Args:
        path: the file to write.
        root: CIRCO's folder, for the check.
        ranking: query id -> image ids, best first (`qure.benchmarks.circo.protocol.predict`).
        split: which split's queries these are.

    Raises:
        BadInput: the file would break one of the server's rules; it is not written.
    """
    path = Path(path)
    with atomic_file(path) as temporary:
        write_compact(temporary, {query: [int(image) for image in images] for query, images in ranking.items()})
        _check(temporary, root, split, path)
    return path


def check_submission(path: Path | str, root: Path | str, *, split: str = SPLIT) -> None:
    """Checks a file against the rules of CIRCO's evaluation server.

    Args:
        path: the file.
        root: CIRCO's folder; with COCO's index there, image ids must be in it.
        split: whose queries the file answers.

    Raises:
        BadInput: not JSON, a query missing, unknown or twice, not 50 image ids, an image id that is no number,
            repeated, or not in COCO's index.
    """
    _check(Path(path), Path(root), split, Path(path))


def _numbers(value: object) -> object:
    """Image ids as numbers: the server takes them as text too, as the published code of QuRe writes them.

    >>> _numbers(["57413", 494408, "x"])
    [57413, 494408, 'x']
    """
    if not isinstance(value, list):
        return value
    return [int(one) if isinstance(one, str) and _DIGITS.fullmatch(one) else one for one in value]


def _check(file: Path, root: Path, split: str, name: Path) -> None:
    content = read_object(file, name)
    triplets = read_triplets(root, split)
    check_queries(content, [triplet.query_id for triplet in triplets], name)
    images = frozenset(read_gallery(root).ids) if has_index(root) else None
    count = SUBMITTED if images is None else min(SUBMITTED, len(images))
    for triplet in triplets:
        for entry in check_list(_numbers(content[triplet.query_id]), count, int, triplet.query_id, name):
            if entry < 0 or (images is not None and str(entry) not in images):
                raise BadInput(f"no image {shown(entry)} in COCO's index", file=name, row=named_query(triplet.query_id))
