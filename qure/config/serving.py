"""How a registered model's gallery is searched."""

from typing import Literal

from pydantic import Field

from qure.config.base import Frozen


class IndexSettings(Frozen):
    """What finds the images of a gallery (owner: `qure.serving`); docs/large-galleries.md says which to use when.

    `exact` holds the gallery in memory and scores every image. `ivf_pq` keeps it on disk, beside an index (FAISS's
    IVF-PQ) of all its vectors: a search looks through the lists nearest to the query, and scores the images found there
    exactly.

    Attributes:
        kind: "exact", or "ivf_pq", which needs `pip install 'qure[index]'`.
        lists: that the vectors are divided among; null: the power of two nearest to the root of their number.
        bytes_per_token: of a vector's code; must divide the embedding's dimension. Each vector takes 8 bytes more.
        probes: lists that a search looks through for up to ten results in the whole gallery; in proportion more of them
            for more results, and in a group. null: as few as find `least_recall`, when the index is made.
        tokens: vectors that it takes from them, the best by their codes; more for more results.
        images: images that are scored exactly, those of the best of these vectors; more for more results.
        queries: of the evaluation, that an index is compared with exact search on before it is kept.
        least_recall: share of exact search's ten best images that it must find there; with less it is refused.
    """

    kind: Literal["exact", "ivf_pq"] = "exact"
    lists: int | None = Field(None, ge=1)
    bytes_per_token: int = Field(32, ge=1)
    probes: int | None = Field(None, ge=1)
    tokens: int = Field(2000, ge=1)
    images: int = Field(300, ge=10)
    queries: int = Field(200, ge=1)
    least_recall: float = Field(0.95, ge=0, le=1)


class ServingSettings(Frozen):
    """How what is registered answers (owner: `qure.serving`).

    Attributes:
        index: what finds the images; a version keeps it, so a changed one is a version of its own.
    """

    index: IndexSettings = IndexSettings()
