"""Where everything of a project lies: the one place that puts paths together.

data/                            the benchmarks' own files, as DVC keeps them
artifacts/backbone/              what every training starts from
artifacts/<training set>/        what the stages of a training set leave: validation/, features/<image set>/, model/,
                                 training/, evaluation/, registration.json, promotion.json, ablation/
.work/<training set>/<stage>/    scratch that survives a killed run: checkpoints and caches
"""

from dataclasses import dataclass
from pathlib import Path

from qure.benchmarks import image_sets_of


@dataclass(frozen=True)
class Layout:
    """The three roots of a project.

    Args:
        data: data root: fashioniq/, cirr/, circo/, hp_fashioniq/.
        artifacts: where stages leave their outputs.
        work: scratch.
    """

    data: Path = Path("data")
    artifacts: Path = Path("artifacts")
    work: Path = Path(".work")

    @property
    def backbone(self) -> Path:
        """Model folder that the trainings of all training sets start from."""
        return self.artifacts / "backbone"

    def of(self, training_set: str) -> "SetLayout":
        """What belongs to one training set.

        >>> Layout().of("fashioniq").model.as_posix()
        'artifacts/fashioniq/model'
        """
        return SetLayout(training_set, self)


@dataclass(frozen=True)
class SetLayout:
    """What the stages of one training set read and write."""

    training_set: str
    project: Layout

    @property
    def data(self) -> Path:
        return self.project.data

    @property
    def backbone(self) -> Path:
        return self.project.backbone

    @property
    def folder(self) -> Path:
        """Everything of this training set; the train stage puts its model/ and training/ there."""
        return self.project.artifacts / self.training_set

    @property
    def validation(self) -> Path:
        return self.folder / "validation"

    @property
    def features(self) -> Path:
        """The feature stores, a folder for each image set."""
        return self.folder / "features"

    @property
    def training_features(self) -> Path:
        """The feature store that training reads: that of the training set's own images."""
        return self.features / self.training_set

    @property
    def feature_stores(self) -> dict[str, Path]:
        """Image set -> feature store, for every image set that the training set and its benchmarks use.

        >>> {name: path.as_posix() for name, path in Layout().of("fashioniq").feature_stores.items()}
        {'fashioniq': 'artifacts/fashioniq/features/fashioniq'}
        """
        return {name: self.features / name for name in image_sets_of(self.training_set)}

    @property
    def present_feature_stores(self) -> dict[str, Path]:
        """Those that have been computed."""
        return {name: store for name, store in self.feature_stores.items() if store.is_dir()}

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def training(self) -> Path:
        """What is known of the training: losses, hard-negative sets, summary."""
        return self.folder / "training"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    @property
    def metrics(self) -> Path:
        return self.evaluation / "metrics.json"

    @property
    def report(self) -> Path:
        return self.evaluation / "report.html"

    @property
    def registration(self) -> Path:
        return self.folder / "registration.json"

    @property
    def promotion(self) -> Path:
        return self.folder / "promotion.json"

    @property
    def ablation(self) -> Path:
        return self.folder / "ablation"

    def scratch(self, stage: str) -> Path:
        """A stage's scratch folder: `validation`, `train` or `ablation`."""
        return self.project.work / self.training_set / stage
