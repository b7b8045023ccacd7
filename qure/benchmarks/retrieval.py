"""What benchmarks share whose queries have labelled targets in a gallery: FashionIQ, CIRR, CIRCO and their like."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qure.benchmarks.base import WHOLE, Benchmark, Scope

if TYPE_CHECKING:
    from qure.datasets.exclusions import Exclusions
    from qure.datasets.split import Split
    from qure.datasets.types import Gallery, Triplet


class RetrievalBenchmark(Benchmark):
    """Queries and galleries are read apart; the rest follows.

    Attributes:
        takes_labels: whether people's labels (`qure.datasets.labels`) join its targets; False where its own files hold
            all right answers.
    """

    takes_labels: ClassVar[bool] = True

    @abstractmethod
    def read_triplets(
        self,
        root: Path,
        split: str,
        *,
        categories: Sequence[str] | None = None,
        checked: bool = True,
        exclusions: "Exclusions | None" = None,
    ) -> "list[Triplet]":
        """A split's queries in the files' order.

        Args:
            root: the benchmark's folder.
            split: one of `splits`.
            categories: some of `categories`; None for all.
            checked: refuse what no later stage can use (`qure.datasets.checks`).
            exclusions: what is left out before that check.

        Raises:
            BadInput: a file is missing or malformed, or a rule is broken; names file, row and field.
        """

    @abstractmethod
    def read_galleries(self, root: Path, split: str, scope: Scope = WHOLE) -> "Mapping[str, Gallery]":
        """Category -> candidates, one gallery under "" where there are no categories; arguments as `read` takes them.

        Raises:
            BadInput: a file is missing or malformed, or the gallery cannot be known.
        """

    def read(self, root: Path, split: str, scope: Scope = WHOLE) -> "Split":
        from qure.datasets.exclusions import Exclusions
        from qure.datasets.split import Split, distinct_ids
        from qure.datasets.truth import read_truth

        left_out, categories = scope.exclusions or Exclusions(), scope.categories
        everything = self.read_triplets(root, split, categories=categories, checked=False) if left_out else None
        triplets = self._labelled(
            root, split, self.read_triplets(root, split, categories=categories, exclusions=left_out)
        )
        triplets = left_out.keep(triplets)
        whole = self.read_galleries(root, split, scope)
        galleries = {category: left_out.keep_gallery(gallery) for category, gallery in whole.items()}
        images = len(distinct_ids(whole.values())) - len(distinct_ids(galleries.values()))
        return Split(
            split,
            triplets=tuple(triplets),
            galleries=galleries,
            truth=None if split == self.withheld else read_truth(root, split),
            dropped={"images": images, "queries": len(everything or triplets) - len(triplets)},
        )

    def count_queries(self, root: Path, split: str, exclusions: "Exclusions") -> tuple[int, int]:
        kept = len(self._labelled(root, split, self.read_triplets(root, split, exclusions=exclusions)))
        if not exclusions:
            return kept, kept
        return len(self.read_triplets(root, split, checked=False)), kept

    def _labelled(self, root: Path, split: str, triplets: "list[Triplet]") -> "list[Triplet]":
        from qure.datasets.labels import with_labels

        return with_labels(root, split, triplets) if self.takes_labels else triplets
