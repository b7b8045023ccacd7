"""What the page shows: images, queries and model versions of one training set."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qure.benchmarks import Benchmark, get_benchmark
from qure.config import Settings
from qure.datasets.image_base import ImageStore
from qure.datasets.image_store import open_images
from qure.datasets.split import Split
from qure.datasets.truth import Truth, read_truth
from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.tasks import SPLIT, exclusions_for
from qure.layout import SetLayout
from qure.registry.evaluations import TAG, attached
from qure.registry.loading import load
from qure.registry.registration import how_to_promote, registered_name
from qure.serving.searcher import Searcher
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import translated

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
        validation = self.layout.validation
        return self.benchmark.read(
            self.benchmark.root(self.layout.data),
            SPLIT,
            gallery_protocol=self.settings.evaluation.gallery_protocol,
            exclusions=exclusions_for(self.benchmark.name, validation if validation.is_dir() else None),
        )

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
        found = self.benchmark.training_triplets(self.benchmark.root(self.layout.data), None)
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

    def evaluation(self, version: Version, key: str) -> Evaluation | None:
        """A version's evaluation on the own benchmark with a key of `Version.evaluated`."""
        client = connect(self.settings.tracking)
        with translated(tracking_uri(self.settings.tracking)):
            found = client.get_model_version(self.name, str(version.number))
            return attached(client, found, self.training_set, key)


def _version(found: "ModelVersion", aliases: Mapping[str, str]) -> Version:
    number = int(found.version)
    own = tuple(sorted(alias for alias, version in aliases.items() if int(version) == number))
    keys = frozenset(tag.removeprefix(TAG) for tag in found.tags if tag.startswith(TAG))
    return Version(number, own, keys)
