"""Files for the two evaluation servers whose answers are withheld, and checks of any such file.

CIRR test1 takes two files, `metric` recall (50 names a query) and recall_subset (3 names), `version` rc2, at most
5 MB each. CIRCO test takes one: query id -> the 50 best image ids, as numbers. A server says little about what is
wrong with a file, and CIRR's allows few tries: the checks here name query and field.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qure.datasets import circo, cirr
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.circo import SUBMITTED
from qure.evaluation.cirr import RECALL_NAMES, SUBSET_NAMES
from qure.evaluation.embeddings import named
from qure.files import atomic_file

VERSION = "rc2"
#: metric -> how many names a query gets.
NAMES = {"recall": RECALL_NAMES, "recall_subset": SUBSET_NAMES}
MAX_BYTES = 5_000_000
CIRR_SPLIT, CIRCO_SPLIT = "test1", "test"


def write_cirr_submissions(
    folder: Path,
    root: Path,
    recall: Mapping[str, Sequence[str]],
    subset: Mapping[str, Sequence[str]],
    *,
    split: str = CIRR_SPLIT,
) -> dict[str, Path]:
    """Writes and checks `cirr_{split}_recall.json` and `cirr_{split}_recall_subset.json`.

    Args:
        folder: where to write.
        root: CIRR's folder, for the check.
        recall, subset: query id -> names, best first (`qure.evaluation.cirr.predict`).
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
            _write_compact(temporary, {"version": VERSION, "metric": metric, **body})
            _check_cirr(temporary, cirr.read_triplets(root, split), cirr.read_gallery(root, split), path)
        files[metric] = path
    return files


def check_cirr_submission(path: Path | str, root: Path | str, *, split: str = CIRR_SPLIT) -> str:
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
    return _check_cirr(Path(path), cirr.read_triplets(root, split), cirr.read_gallery(root, split), Path(path))


def write_circo_submission(
    path: Path, root: Path, ranking: Mapping[str, Sequence[str]], *, split: str = CIRCO_SPLIT
) -> Path:
    """Writes and checks CIRCO's file.

    Args:
        path: the file to write.
        root: CIRCO's folder, for the check.
        ranking: query id -> image ids, best first (`qure.evaluation.circo.predict`).
        split: which split's queries these are.

    Raises:
        BadInput: the file would break one of the server's rules; it is not written.
    """
    path = Path(path)
    with atomic_file(path) as temporary:
        _write_compact(temporary, {query: [int(image) for image in images] for query, images in ranking.items()})
        _check_circo(temporary, root, split, path)
    return path


def check_circo_submission(path: Path | str, root: Path | str, *, split: str = CIRCO_SPLIT) -> None:
    """Checks a file against the rules of CIRCO's evaluation server.

    Args:
        path: the file.
        root: CIRCO's folder; with COCO's index there, image ids must be in it.
        split: whose queries the file answers.

    Raises:
        BadInput: not JSON, a query missing, unknown or twice, not 50 image ids, an image id that is no number,
            repeated, or not in COCO's index.
    """
    _check_circo(Path(path), Path(root), split, Path(path))


def _check_cirr(file: Path, triplets: Sequence[Triplet], gallery: Gallery, name: Path) -> str:
    size = file.stat().st_size if file.is_file() else 0
    if size > MAX_BYTES:
        raise BadInput(f"{size:,} bytes; the server takes at most {MAX_BYTES:,}", file=name)
    content = _read_object(file, name)
    version, metric = content.pop("version", None), content.pop("metric", None)
    if version != VERSION:
        raise BadInput(f"{version!r}, must be {VERSION!r}", file=name, field="version")
    if metric not in NAMES:
        raise BadInput(f"{metric!r}, must be 'recall' or 'recall_subset'", file=name, field="metric")
    _check_queries(content, [triplet.query_id for triplet in triplets], name)
    images = frozenset(gallery.ids)
    for triplet in triplets:
        allowed = images if metric == "recall" else frozenset(triplet.members)
        others = allowed - {triplet.reference}
        names = _check_list(content[triplet.query_id], min(NAMES[metric], len(others)), str, triplet.query_id, name)
        for entry in names:
            if entry == triplet.reference:
                raise BadInput(f"{entry!r} is the query's reference image", file=name, row=_query(triplet.query_id))
            if entry not in images:
                raise BadInput(f"no image {entry!r} in {gallery.name}", file=name, row=_query(triplet.query_id))
            if entry not in others:
                raise BadInput(f"{entry!r} is not in the query's image set", file=name, row=_query(triplet.query_id))
    return str(metric)


def _check_circo(file: Path, root: Path, split: str, name: Path) -> None:
    content = _read_object(file, name)
    triplets = circo.read_triplets(root, split)
    _check_queries(content, [triplet.query_id for triplet in triplets], name)
    images = frozenset(circo.read_gallery(root).ids) if circo.has_index(root) else None
    count = SUBMITTED if images is None else min(SUBMITTED, len(images))
    for triplet in triplets:
        for entry in _check_list(content[triplet.query_id], count, int, triplet.query_id, name):
            if entry < 0 or (images is not None and str(entry) not in images):
                raise BadInput(f"no image {entry!r} in COCO's index", file=name, row=_query(triplet.query_id))


def _check_queries(content: Mapping[str, Any], query_ids: Sequence[str], name: Path) -> None:
    missing = [query for query in query_ids if query not in content]
    if missing:
        raise BadInput(f"{len(missing)} of {len(query_ids)} queries are missing: {named(missing)}", file=name)
    unknown = sorted(content.keys() - set(query_ids))
    if unknown:
        raise BadInput(f"{len(unknown)} keys are no queries of the split: {named(unknown)}", file=name)


def _check_list(value: object, count: int, kind: type, query: str, name: Path) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"must be a list, not {type(value).__name__}", file=name, row=_query(query))
    if len(value) != count:
        raise BadInput(f"{len(value)} entries, must be {count}", file=name, row=_query(query))
    for entry in value:
        if not isinstance(entry, kind) or isinstance(entry, bool):
            expected = {str: "an image's name", int: "a whole number"}[kind]
            raise BadInput(f"{entry!r} is not {expected}", file=name, row=_query(query))
    if len(set(value)) != len(value):
        repeated = next(entry for number, entry in enumerate(value) if entry in value[:number])
        raise BadInput(f"{repeated!r} occurs more than once", file=name, row=_query(query))
    return value


def _query(query_id: str) -> str:
    return f"query {query_id!r}"


def _read_object(file: Path, name: Path) -> dict[str, Any]:
    """A JSON object; a key that occurs twice is an error rather than silently the last one."""
    repeated: list[str] = []

    def collect(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(entries)
        if len(content) != len(entries):
            keys = [key for key, _ in entries]
            repeated.extend(key for number, key in enumerate(keys) if key in keys[:number])
        return content

    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=collect)
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=name) from None
    except (ValueError, OSError, RecursionError) as error:
        raise BadInput(f"not a readable JSON file: {error}", file=name) from None
    if repeated:
        raise BadInput(f"keys that occur more than once: {named(dict.fromkeys(repeated))}", file=name)
    if not isinstance(content, dict):
        raise BadInput(f"not a JSON object but {type(content).__name__}", file=name)
    return content


def _write_compact(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
