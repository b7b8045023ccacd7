"""What a benchmark is: facts that are read at once, and acts whose imports wait until they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

    from qure.config import EvaluationSettings, ValidationSettings
    from qure.datasets.exclusions import Exclusions
    from qure.datasets.image_base import ImageStore
    from qure.datasets.split import Split
    from qure.datasets.types import Gallery, Triplet
    from qure.evaluation.ranking.embeddings import Embeddings
    from qure.evaluation.statistics.results import Evaluation
    from qure.validation.annotations import Annotations


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """Published results (percent), which the report sets beside: other data and weights than a catalogue run's.

    Attributes:
        measured_on: split and gallery.
        metrics: the columns' keys.
        rows: method -> a number per column.
    """

    measured_on: str
    metrics: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Scope:
    """What is read of a split.

    Attributes:
        gallery_protocol: which gallery, where there are several.
        categories: some of the benchmark's; None for all.
        exclusions: what to leave out; the split counts it.
        candidates: the gallery where the benchmark's own cannot be known; None refuses that.
    """

    gallery_protocol: str = "original"
    categories: Sequence[str] | None = None
    exclusions: "Exclusions | None" = None
    candidates: Sequence[str] | None = None


WHOLE = Scope()


class Benchmark(ABC):
    """One benchmark. `root` is always the benchmark's own folder, `data` the folder that holds all of them.

    Attributes:
        name: what commands and results call it.
        title: what people call it.
        folder: its folder below the data root, and its key in metrics.json.
        images: the benchmark whose image files it uses; its own name where it has files of its own.
        judges: the training set whose models it judges; its own name where it is a training set.
        compared_by: the metric by which two models of this training set are compared; None: it is no training set.
        splits: names of its splits.
        withheld: the split whose answers only an evaluation server has; None where there is none.
        categories: the parts that its metrics are averaged over, which can be evaluated alone; empty: there are none.
        text: column of its annotation tables that holds the modification text.
        queries: its annotation tables that hold queries -> their split; None: the table's column `split` says it.
        gallery_file: the optional file, below its folder, without which its gallery is not known.
        entries: file below its folder -> how many entries the published one has.
        averages: what its metric `average` is the mean of, in words.
        resampled: what the bootstrap draws: "queries", or what they come from.
        published: published results.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    folder: ClassVar[str]
    images: ClassVar[str]
    judges: ClassVar[str]
    compared_by: ClassVar[str | None] = None
    splits: ClassVar[tuple[str, ...]]
    withheld: ClassVar[str | None] = None
    categories: ClassVar[tuple[str, ...]] = ()
    text: ClassVar[str]
    queries: ClassVar[Mapping[str, str | None]] = {"queries": None, "unlabelled": None}
    gallery_file: ClassVar[str | None] = None
    entries: ClassVar[Mapping[str, int]] = {}
    averages: ClassVar[str | None] = None
    resampled: ClassVar[str] = "queries"
    published: ClassVar[PublishedTable | None] = None

    def root(self, data: Path) -> Path:
        """Its folder below a data root."""
        return Path(data) / self.folder

    # Files.

    @abstractmethod
    def split_files(self, root: Path, split: str) -> list[Path]:
        """Files of which one must be there for the split to be there."""

    def query_files(self, root: Path, split: str) -> list[Path]:
        """Files that hold the split's queries; a split can come as a bare list of images."""
        return self.split_files(root, split)

    @abstractmethod
    def image_ids(self, root: Path, split: str) -> Iterable[str]:
        """Every image id that a split's files name, in any order and any number of times.

        Raises:
            BadInput: a file is missing or malformed.
        """

    def image_files(self, root: Path) -> "ImageStore | None":
        """The image files of a folder in this benchmark's layout.

        None where the folder is laid out otherwise, and where the layout is the plain one: images/, named by their ids.

        Raises:
            BadInput: two files for one image, or a link that leaves the data folder.
        """
        return None

    @abstractmethod
    def read(self, root: Path, split: str, scope: Scope = WHOLE) -> "Split":
        """What is asked on one split.

        Args:
            root: the benchmark's folder.
            split: one of `splits`.
            scope: what of it.

        Raises:
            BadInput: a file is missing or malformed, or a query breaks a rule.
        """

    def ordered(self, split: "Split", root: Path, order: str) -> "Split":
        """A split whose questions join two captions in the order that is asked for; as it is where nothing is joined.

        Args:
            split: from `read`.
            root: the benchmark's folder.
            order: `EvaluationSettings.caption_order`.

        Raises:
            BadInput: the files that say which order it is are missing.
        """
        return split

    @abstractmethod
    def count_queries(self, root: Path, split: str, exclusions: "Exclusions") -> tuple[int, int]:
        """How many queries a split's files hold, and how many stay; reads all that later stages read.

        Raises:
            BadInput: a reader refuses the data.
        """

    def read_training(
        self, root: Path, exclusions: "Exclusions | None" = None
    ) -> "tuple[list[Triplet], dict[str, list[str]]]":
        """What a model is trained on; only a training set is asked.

        Returns:
            the triplets, and category -> the images from which its negatives come, each once.

        Raises:
            BadInput: a file is missing or malformed, or a query breaks a rule.
        """
        raise NotImplementedError(f"{self.name} is no training set")

    def training_galleries(self, root: Path) -> "Mapping[str, Gallery]":
        """Category -> its train images, where the training set is divided into categories."""
        return {}

    # Judging.

    def canonical_ids(self, ids: Sequence[str], *, file: str) -> Sequence[str]:
        """Image ids of an embeddings file as the benchmark's files write them.

        Raises:
            BadInput: an id that can be none of the benchmark's.
        """
        return ids

    @abstractmethod
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
        """Ranks the split's galleries for its queries, and measures.

        Args:
            split: from `read`.
            queries: one vector per query id.
            candidates: embeddings of `split.images`; may hold more than memory does.
            settings: of the bootstrap.
            device: where scores are computed.
            images: digest of the images' bytes, when known; becomes part of the data fingerprint.

        Raises:
            BadInput: missing embeddings, another dimension, NaN, an answer outside the gallery, withheld answers.
        """

    def chance(self, split: "Split") -> dict[str, float]:
        """What a random order of the candidates scores on average, in percent; only a training set is asked."""
        raise NotImplementedError(f"{self.name} is no training set")

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
        """Writes and checks the evaluation server's files for a split; only one with `withheld` is asked.

        Returns:
            the server's metric -> file.

        Raises:
            BadInput: a file would break one of the server's rules; it is not written.
        """
        raise NotImplementedError(f"{self.name} has no evaluation server")

    def check_submission(self, path: Path, root: Path, *, split: str | None = None) -> str:
        """Checks a file against the evaluation server's rules.

        Args:
            path: the file.
            root: the benchmark's folder.
            split: whose queries the file answers; None for the withheld one.

        Returns:
            the metric that the file is for.

        Raises:
            BadInput: the file breaks a rule; names query and field.
        """
        raise NotImplementedError(f"{self.name} has no evaluation server")

    def notes(self, evaluation: "Evaluation") -> list[str]:
        """Sentences that must stand beside an evaluation's numbers."""
        return []

    # Validation.

    @abstractmethod
    def tables(self, data: Path, found: "Mapping[str, Annotations]") -> "Annotations":
        """Its annotation files as tables, bad rows included.

        Args:
            data: the data root.
            found: benchmark -> tables of those that judge the same models and were read before.

        Raises:
            BadInput: a file is missing or damaged as a whole.
        """

    @abstractmethod
    def suites(self, settings: "ValidationSettings") -> "dict[str, list[Expectation]]":
        """Table -> what it must meet. Imports Great Expectations, which takes seconds."""
