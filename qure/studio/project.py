"""What the page shows: images, queries and model versions of one training set."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks import Benchmark, Scope, get_benchmark
from qure.config import Settings
from qure.datasets.image_base import ImageStore
from qure.datasets.image_store import open_images
from qure.datasets.split import Split
from qure.datasets.truth import Truth, read_truth
from qure.datasets.types import Triplet
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.tasks import SPLIT
from qure.files import read_json
from qure.layout import SetLayout
from qure.negatives.record import Kept
from qure.negatives.record import load as read_record
from qure.registry.evaluations import TAG, download_evaluation
from qure.registry.loading import load
from qure.registry.names import how_to_promote, registered_name
from qure.serving.searcher import Searcher
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import translated
from qure.training.outputs import MININGS

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: Loaded versions that stay in memory.
KEPT = 3


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: in the registry.
        aliases: for example ("champion",).
        evaluated: keys of its evaluations: two versions with a common one were asked the same.
    """

    number: int
    aliases: tuple[str, ...]
    evaluated: frozenset[str]

    @property
    def title(self) -> str:
        """What people call it.

        >>> Version(3, ("champion",), frozenset()).title
        'version 3 (champion)'
        """
        return f"version {self.number}" + (f" ({', '.join(self.aliases)})" if self.aliases else "")


class Project:
    """One training set of a project.

    Args:
        settings: say where MLflow is and how the benchmark is read.
        layout: where things lie.
        params: the file that `settings` came from; `qure.load` reads it.
        device: where models compute; None finds out.
    """

    def __init__(self, settings: Settings, layout: SetLayout, *, params: Path, device: str | None = None) -> None:
        self.settings, self.layout = settings, layout
        self._params, self._device = params, device
        self._loaded: OrderedDict[int, Searcher] = OrderedDict()
        self._evaluations: dict[tuple[int, str], Evaluation | None] = {}
        self._lock = threading.Lock()

    @property
    def training_set(self) -> str:
        """Its name."""
        return self.layout.training_set

    @property
    def name(self) -> str:
        """The registered model's name."""
        return registered_name(self.training_set)

    @cached_property
    def benchmark(self) -> Benchmark:
        """The training set's own benchmark: its queries, its gallery."""
        return get_benchmark(self.training_set)

    @cached_property
    def images(self) -> ImageStore:
        """Its image files.

        Raises:
            BadInput: there are none.
        """
        return open_images(get_benchmark(self.benchmark.images).root(self.layout.data))

    @cached_property
    def split(self) -> Split:
        """The validation split, without what validation excludes."""
        there = self.layout.validation.is_dir()
        data = ValidatedData(self.layout.data, self.layout.validation if there else None)
        protocol, exclusions = self.settings.evaluation.gallery_protocol, data.exclusions(self.benchmark.name)
        return self.benchmark.read(self.benchmark.root(self.layout.data), SPLIT, Scope(protocol, exclusions=exclusions))

    @cached_property
    def gallery(self) -> Mapping[str, tuple[str, ...]]:
        """Group -> image ids that can be picked; one group "" where there are none."""
        return {name: gallery.ids for name, gallery in self.split.galleries.items()}

    @cached_property
    def queries(self) -> Mapping[str, Triplet]:
        """Query id -> validation query."""
        return {one.query_id: one for one in self.split.triplets}

    @cached_property
    def training_queries(self) -> Mapping[str, Triplet]:
        """Query id -> training query."""
        found = self.benchmark.read_training(self.benchmark.root(self.layout.data))[0]
        return {one.query_id: one for one in found}

    def queries_of(self, split: str) -> Mapping[str, Triplet]:
        """The queries of "val" or "train"."""
        return self.training_queries if split == "train" else self.queries

    @cached_property
    def truth(self) -> Truth | None:
        """True relevance; None with real data."""
        return read_truth(self.benchmark.root(self.layout.data), SPLIT)

    def versions(self) -> list[Version]:
        """Registered versions, the newest first; asked anew each time, because others register and promote.

        Raises:
            BadInput: there is none.
            StageFailed: MLflow does not answer.
        """
        client = connect(self.settings.tracking)
        from mlflow.exceptions import MlflowException

        with translated(tracking_uri(self.settings.tracking)):
            try:
                aliases = client.get_registered_model(self.name).aliases
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                aliases = {}
            found = list(client.search_model_versions(f"name='{self.name}'"))
        if not found:
            raise BadInput(f"{self.name} has no version", remedy=how_to_promote(self.training_set))
        return sorted((_version(one, aliases) for one in found), key=lambda one: -one.number)

    def version(self, wanted: str | None, versions: list[Version]) -> Version:
        """A version by its number or alias; the champion, else the newest, where nothing is wanted.

        Raises:
            BadInput: there is none like that.
        """
        for one in versions:
            if wanted in (str(one.number), *one.aliases):
                return one
        if wanted:
            known = ", ".join(str(one.number) for one in versions)
            raise BadInput(f"{self.name} has no version {wanted!r}", field="model", remedy=f"Versions are {known}")
        return next((one for one in versions if "champion" in one.aliases), versions[0])

    def searcher(self, number: int) -> Searcher:
        """A version, loaded; the last few stay in memory.

        Raises:
            BadInput: its files are gone.
        """
        with self._lock:
            if number not in self._loaded:
                address = f"models:/{self.name}/{number}"
                self._loaded[number] = load(address, data=self.layout.data, params=self._params, device=self._device)
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(number)
            return self._loaded[number]

    def evaluated(self, version: Version) -> Evaluation | None:
        """A version's evaluation that asked the present queries; None where it has none."""
        for key in sorted(version.evaluated):
            found = self.evaluation(version, key)
            if found is not None and set(found.top) == set(self.queries):
                return found
        return None

    def evaluated_rankings(self) -> Mapping[str, Sequence[tuple[str, float]]]:
        """Validation query -> its best images with their relevance, of the champion, else of the newest version."""
        versions = self.versions()
        chosen = self.version(None, versions)
        for version in (chosen, *versions):
            found = self.evaluated(version)
            if found is not None:
                return found.top
        return {}

    def minings(self) -> dict[int, Path]:
        """Epoch (0-based) before which was mined -> the record of it, of the last training."""
        found = (self.layout.training / MININGS).glob("*.safetensors")
        return {int(file.stem): file for file in sorted(found, key=lambda one: int(one.stem)) if file.stem.isdecimal()}

    def mining(self, epoch: int) -> Kept:
        """What a mining saw of every query.

        Raises:
            BadInput: there is none, or it is damaged.
        """
        file = self.minings().get(epoch)
        if file is None:
            raise BadInput(f"no mining before epoch {epoch + 1} is kept", remedy="Train the model again")
        return _read_mining(file, file.stat().st_mtime_ns)

    def mining_strategy(self, epoch: int) -> str:
        """By which strategy a mining chose its hard negatives.

        Raises:
            BadInput: its statistics are missing or damaged.
        """
        file = self.layout.training / MININGS / f"{epoch}.json"
        summary = read_json(file, remedy="Train the model again")
        try:
            return str(summary["settings"]["strategy"])
        except (KeyError, TypeError):
            raise BadInput("are no statistics of a mining", file=file, remedy="Train the model again") from None

    def mined_rankings(self) -> Mapping[str, Sequence[tuple[str, float]]]:
        """Training query -> its best images with their relevance, as the last mining saw them."""
        epochs = list(self.minings())
        return _rankings(self.mining(epochs[-1])) if epochs else {}

    def evaluation(self, version: Version, key: str) -> Evaluation | None:
        """A version's evaluation on the own benchmark with a key of `Version.evaluated`; it never changes."""
        if (version.number, key) not in self._evaluations:
            self._evaluations[version.number, key] = self._download(version, key)
        return self._evaluations[version.number, key]

    def _download(self, version: Version, key: str) -> Evaluation | None:
        client = connect(self.settings.tracking)
        with translated(tracking_uri(self.settings.tracking)):
            found = client.get_model_version(self.name, str(version.number))
            return download_evaluation(client, found, self.training_set, key)


@lru_cache(4)
def _read_mining(file: Path, changed: int) -> Kept:
    """A record; `changed` makes a new one of a file that was written again."""
    return read_record(file)


@lru_cache(2)
def _rankings(kept: Kept) -> dict[str, list[tuple[str, float]]]:
    best, scores = kept.record.best, kept.record.scores
    return {
        query: [(kept.images[column], float(score)) for column, score in zip(own, line, strict=False) if column >= 0]
        for query, own, line in zip(kept.queries, best.tolist(), scores, strict=True)
    }


def _version(found: "ModelVersion", aliases: Mapping[str, str]) -> Version:
    number = int(found.version)
    own = tuple(sorted(alias for alias, version in aliases.items() if int(version) == number))
    keys = frozenset(tag.removeprefix(TAG) for tag in found.tags if tag.startswith(TAG))
    return Version(number, own, keys)
