"""True attributes of the rendered catalogue: how relevant any image is to any query."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qure.datasets.ids import shown
from qure.datasets.rows import Row, is_there, load_json
from qure.errors import BadInput

FILE = "truth.json"

#: Stands for "any value will do" among a query's wanted values.
_ANY = -1


class Truth:
    """What images show and what one split's queries want.

    Relevance is the share of a query's wanted attributes that an image meets, and 0 when it misses a must (garments:
    the category, which is not counted otherwise).
    """

    def __init__(
        self,
        file: Path,
        values: dict[str, list[str]],
        must: Sequence[str],
        images: dict[str, dict[str, list[int]]],
        queries: dict[str, list[int]],
        gallery: str,
    ) -> None:
        self._file, self._names, self._values = file, list(values), values
        self._must = np.array([name in must for name in values], dtype=bool)
        ids = [image_id for group in images.values() for image_id in group]
        self._row_of = {image_id: row for row, image_id in enumerate(ids)}
        codes = [code for group in images.values() for code in group.values()]
        self._codes = np.array(codes, dtype=np.int16).reshape(len(ids), len(values))
        self._queries = {query: np.array(wanted, dtype=np.int16) for query, wanted in queries.items()}
        self._gallery = tuple(images.get(gallery, images.get("all", {})))

    def relevance(self, query_id: str, image_ids: Sequence[str]) -> np.ndarray:
        """Share of wanted attributes met, float32 in [0, 1], one per image; 1.0 is fully relevant.

        Raises:
            BadInput: truth.json does not know the query or an image.
        """
        return self._relevance(self._wanted(query_id), self._rows(image_ids))

    def relevance_matrix(self, query_ids: Sequence[str], image_ids: Sequence[str]) -> np.ndarray:
        """`relevance` of many queries to the same images: (queries, images) float32."""
        rows = self._rows(image_ids)
        result = np.empty((len(query_ids), len(image_ids)), dtype=np.float32)
        for index, query_id in enumerate(query_ids):
            result[index] = self._relevance(self._wanted(query_id), rows)
        return result

    def relevant(self, query_id: str) -> frozenset[str]:
        """All fully relevant images among those of the query's split (CIRCO: of its one gallery)."""
        relevance = self.relevance(query_id, self._gallery)
        return frozenset(image for image, share in zip(self._gallery, relevance, strict=True) if share == 1)

    def wanted(self, query_id: str) -> dict[str, str]:
        """The values a query wants, by attribute; attributes that do not matter are left out."""
        return self._described(self._wanted(query_id))

    def attributes(self, image_id: str) -> dict[str, str]:
        """What an image shows, by attribute."""
        return self._described(self._codes[self._rows([image_id])[0]])

    @property
    def query_ids(self) -> tuple[str, ...]:
        """The split's queries."""
        return tuple(self._queries)

    def _relevance(self, wanted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        met = self._codes[rows] == wanted
        matters = wanted != _ANY
        counted = matters & ~self._must
        share = met[:, counted].sum(axis=1, dtype=np.float32) / np.float32(max(1, counted.sum()))
        fits = met[:, matters & self._must].all(axis=1)
        return np.where(fits, share, np.float32(0)).astype(np.float32)

    def _wanted(self, query_id: str) -> np.ndarray:
        if query_id not in self._queries:
            raise BadInput(f"no query {shown(query_id)}", file=self._file)
        return self._queries[query_id]

    def _rows(self, image_ids: Sequence[str]) -> np.ndarray:
        try:
            return np.fromiter((self._row_of[image_id] for image_id in image_ids), dtype=np.int64, count=len(image_ids))
        except KeyError as error:
            raise BadInput(f"no image {shown(error.args[0])}", file=self._file) from None

    def _described(self, codes: np.ndarray) -> dict[str, str]:
        return {name: self._values[name][code] for name, code in zip(self._names, codes, strict=True) if code != _ANY}


def read_truth(root: Path, split: str = "val") -> Truth | None:
    """The truth beside a rendered benchmark; None where there is none, as with the real benchmarks.

    Args:
        root: the benchmark's own folder.
        split: whose queries; FashionIQ numbers the queries of every split from 0.

    Raises:
        BadInput: truth.json is malformed, or has no such split.
    """
    path = Path(root) / FILE
    if not is_there(path):
        return None
    document = Row(load_json(path), path, None)
    if document.value("format") != "qure-truth" or document.value("version") != 1:
        raise BadInput("is not a truth file of version 1", file=path)
    attributes, groups, splits = document.part("attributes"), document.part("images"), document.part("queries")
    values = {name: attributes.texts(name) for name in attributes.names()}
    if split not in splits.names():
        raise BadInput(f"knows no split {shown(split)}", file=path, remedy=f"It has {', '.join(splits.names())}")
    limits = [len(options) for options in values.values()]
    images = {group: _codes(groups.part(group), limits, lowest=0) for group in groups.names()}
    queries = _codes(splits.part(split), limits, lowest=_ANY)
    return Truth(path, values, document.texts("must"), images, queries, gallery=split)


def _codes(part: Row, limits: list[int], lowest: int) -> dict[str, list[int]]:
    return {name: _checked(part, name, part.items(name, len(limits)), limits, lowest) for name in part.names()}


def _checked(part: Row, name: str, codes: list[Any], limits: list[int], lowest: int) -> list[int]:
    for code, limit in zip(codes, limits, strict=True):
        if not isinstance(code, int) or isinstance(code, bool) or not lowest <= code < limit:
            raise part.error(f"{shown(code)} is not the number of a value", name)
    return codes
