"""A model's benchmarks as tasks: what to encode, and how to judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from qure.benchmarks import Benchmark, get_benchmark, sharing_images
from qure.config import EvaluationSettings
from qure.datasets.exclusions import Exclusions, read_exclusions
from qure.datasets.split import Split
from qure.datasets.types import Question
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation

SPLIT = "val"


@dataclass(frozen=True, slots=True)
class Source:
    """Where tasks come from.

    Attributes:
        data: data root.
        validation: validation folder with what to leave out, or None.
        settings: of the evaluation.
        device: where scores are computed.
        digest: image set and ids -> digest of the images' bytes.
    """

    data: Path
    validation: Path | None
    settings: EvaluationSettings
    device: str
    digest: Callable[[str, Sequence[str]], str]

    def read(self, of: Benchmark, split: str) -> Split:
        """What a benchmark asks on a split, without what validation excludes.

        Raises:
            BadInput: the benchmark's files are missing or malformed.
        """
        return of.read(
            of.root(self.data),
            split,
            gallery_protocol=self.settings.gallery_protocol,
            exclusions=exclusions_for(of.name, self.validation),
        )


@dataclass(frozen=True)
class Task:
    """One benchmark's validation split.

    Attributes:
        of: the benchmark.
        split: what it asks.
        source: how it is judged.
    """

    of: Benchmark
    split: Split
    source: Source

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return self.of.name

    @property
    def image_set(self) -> str:
        """Whose features its images have."""
        return self.of.images

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """What the model is asked."""
        return self.split.questions

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Ids of all candidates."""
        return self.split.images

    def judge(self, queries: Embeddings, candidates: Embeddings) -> Evaluation:
        """Query and candidate embeddings -> evaluation."""
        return self.of.judge(
            self.split,
            queries,
            candidates,
            settings=self.source.settings,
            device=self.source.device,
            images=self.source.digest(self.image_set, self.split.all_images),
        )


def task_for(name: str, source: Source) -> Task:
    """The task of a benchmark.

    Raises:
        BadInput: no such benchmark, its files are missing or malformed, or exclusions leave nothing.
    """
    one = get_benchmark(name)
    return Task(one, source.read(one, SPLIT), source)


def exclusions_for(name: str, validation: Path | None) -> Exclusions:
    """What to leave out of a benchmark: its own exclusions, and the images of all benchmarks that share its images."""
    own = read_exclusions(validation, name)
    sharing = sharing_images(get_benchmark(name).images)
    images = frozenset[str]().union(*(read_exclusions(validation, other).images for other in sharing))
    return replace(own, images=images)
