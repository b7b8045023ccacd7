"""A model's benchmarks as tasks: what to encode, and how to judge it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from qure.benchmarks import Benchmark, Scope, get_benchmark
from qure.config import EvaluationSettings
from qure.datasets.split import Split
from qure.datasets.types import Question
from qure.datasets.validated import ValidatedData
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation

SPLIT = "val"


@dataclass(frozen=True, slots=True)
class Source:
    """Where tasks come from.

    Attributes:
        data: data root, with what to leave out.
        settings: of the evaluation.
        device: where scores are computed.
        digest: image set and ids -> digest of the images' bytes.
    """

    data: ValidatedData
    settings: EvaluationSettings
    device: str
    digest: Callable[[str, Sequence[str]], str]

    def read(self, of: Benchmark, split: str) -> Split:
        """What a benchmark asks on a split, without what validation excludes.

        Raises:
            BadInput: the benchmark's files are missing or malformed.
        """
        root = of.root(self.data.root)
        scope = Scope(self.settings.gallery_protocol, exclusions=self.data.exclusions(of.name))
        return of.ordered(of.read(root, split, scope), root, self.settings.caption_order)


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
