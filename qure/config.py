"""params.yaml -> frozen, validated settings.

Every number a run depends on is a field here; `Settings.load` names the file and the field of any mistake.
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qure.errors import BadInput

BenchmarkName = Literal["fashioniq", "hp-fashioniq", "cirr", "circo"]
TrainingSetName = Literal["fashioniq", "cirr"]
Precision = Literal["fp32", "fp16", "bf16"]
Model = TypeVar("Model", bound=BaseModel)

#: Which benchmarks judge the model trained on a training set (section 5 of the paper).
JUDGED_ON: dict[str, tuple[BenchmarkName, ...]] = {
    "fashioniq": ("fashioniq", "hp-fashioniq"),
    "cirr": ("cirr", "circo"),
}

#: Folder below the data root that holds a benchmark's own files; HP-FashionIQ's images are FashionIQ's.
BENCHMARK_FOLDERS: dict[str, str] = {
    "fashioniq": "fashioniq",
    "hp-fashioniq": "hp_fashioniq",
    "cirr": "cirr",
    "circo": "circo",
}

#: Benchmark whose image files a benchmark uses.
IMAGES_OF: dict[str, BenchmarkName] = {
    "fashioniq": "fashioniq",
    "hp-fashioniq": "fashioniq",
    "cirr": "cirr",
    "circo": "circo",
}


def image_sets_of(training_set: str) -> list[str]:
    """Image sets that a training set and its benchmarks use, its own first.

    >>> image_sets_of("fashioniq"), image_sets_of("cirr")
    (['fashioniq'], ['cirr', 'circo'])
    """
    return list(dict.fromkeys(IMAGES_OF[benchmark] for benchmark in JUDGED_ON[training_set]))


class Frozen(BaseModel):
    """A settings section: immutable, and an unknown key is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CatalogueSettings(Frozen):
    """The rendered data set (owner: `qure.catalogue`)."""

    seed: int = 7
    image_size: int = Field(64, ge=16, le=512)


class VisionDimensions(Frozen):
    """CLIP vision tower of the `catalogue` backbone."""

    image_size: int = 64
    patch_size: int = 8
    width: int = 64
    layers: int = 2
    heads: int = 4


class QFormerDimensions(Frozen):
    """BLIP-2 Q-Former of the `catalogue` backbone."""

    hidden: int = 64
    layers: int = 4
    heads: int = 4
    intermediate: int = 256
    query_tokens: int = 8
    cross_attention_every: int = 2
    embedding: int = 64
    text_tokens: int = 32


class PretrainingSettings(Frozen):
    """Image-text contrast on catalogue images and full captions: stands in for BLIP-2's pre-training."""

    steps: int = Field(800, ge=0)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-3, gt=0)


class BackboneSettings(Frozen):
    """The frozen image tower and the Q-Former's starting point (owner: `qure.backbone`)."""

    name: Literal["catalogue", "blip2-vitl", "blip2-vitg"] = "catalogue"
    weights: str | None = None
    tokenizer: str | None = None
    vision: VisionDimensions = VisionDimensions()
    qformer: QFormerDimensions = QFormerDimensions()
    pretraining: PretrainingSettings = PretrainingSettings()


class FeatureSettings(Frozen):
    """Precomputed ViT features (owner: `qure.features`)."""

    dtype: Precision = "fp16"
    batch_size: int = Field(64, ge=1)
    shard_images: int = Field(1024, ge=1)
    hold: Literal["auto", "device", "memory", "disk"] = "auto"


class NegativeSettings(Frozen):
    """Where hard negatives come from (owner: `qure.negatives`)."""

    strategy: Literal["all_corpus", "top_k", "after_target_top_k", "between_steep_drops"] = "between_steep_drops"
    rule: Literal["reference", "paper"] = "reference"
    top_k: int = Field(100, ge=1)
    search_window: int | None = Field(None, ge=2)
    consecutive_threshold: int = Field(1, ge=0)
    definitions: int = Field(6, ge=1)
    negatives_per_query: int = Field(1, ge=1)
    shared_negatives: bool = False


class TrainingSettings(Frozen):
    """One training run (owner: `qure.training`); the published values are in qure/recipes/."""

    seed: int = 0
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulation_steps: int = Field(1, ge=1)
    learning_rate: float = Field(5e-6, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    final_learning_rate_ratio: float = Field(0.01, ge=0, le=1)
    gradient_clipping: float | None = Field(None, gt=0)
    precision: Precision = "fp16"
    gradient_checkpointing: bool = False
    loss: Literal["bradley_terry", "contrastive"] = "bradley_terry"
    temperature: Literal["learned", "fixed"] = "learned"
    temperature_value: float = Field(0.07, gt=0)
    negatives: NegativeSettings = NegativeSettings()
    early_stop_patience: int | None = Field(None, ge=1)
    checkpoint_every_steps: int | None = Field(None, ge=1)


class EvaluationSettings(Frozen):
    """How models are judged (owner: `qure.evaluation`)."""

    gallery_protocol: Literal["original", "val"] = "original"
    bootstrap_samples: int = Field(1000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: int = 0
    batch_size: int = Field(64, ge=1)


class PromotionSettings(Frozen):
    """When a challenger becomes champion (owner: `qure.registry`)."""

    required: bool = False
    confidence: float = Field(0.95, gt=0, lt=1)
    thresholds: dict[str, dict[str, float]] = {}


class ValidationSettings(Frozen):
    """What data must look like (owner: `qure.validation`)."""

    tolerate: dict[str, int] = {}


class TrackingSettings(Frozen):
    """Where MLflow is. The environment's MLFLOW_TRACKING_URI wins over `uri`, so that secrets stay out of files."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "qure"


class TrainingSetSettings(Frozen):
    """A recipe by name, and what differs from it."""

    recipe: str
    overrides: dict[str, Any] = {}


class Settings(Frozen):
    """All of params.yaml."""

    catalogue: CatalogueSettings = CatalogueSettings()
    backbone: BackboneSettings = BackboneSettings()
    features: FeatureSettings = FeatureSettings()
    training: dict[TrainingSetName, TrainingSetSettings]
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    validation: ValidationSettings = ValidationSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _recipes_hold(self) -> "Settings":
        for name in self.training:
            self.training_for(name)
        return self

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Reads and checks params.yaml.

        Raises:
            BadInput: no such file, not YAML, an unknown key or a value out of range; names the field.
        """
        return validated(cls, read_yaml(path), file=path)

    def training_for(self, training_set: str) -> TrainingSettings:
        """The recipe of a training set with its overrides applied."""
        if training_set not in self.training:
            raise BadInput(f"no training set {training_set!r}; there are {', '.join(sorted(self.training))}")
        chosen = self.training[training_set]  # type: ignore[index]
        recipe = read_recipe(chosen.recipe)
        return validated(TrainingSettings, merged(recipe, chosen.overrides), file=f"recipe {chosen.recipe!r}")


def recipe_names() -> list[str]:
    """Names of the recipes that come with qure."""
    return sorted(file.stem for file in (Path(__file__).parent / "recipes").glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe as a plain dict: one of `recipe_names()`, or the path of a YAML file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path(__file__).parent / "recipes" / f"{name}.yaml"
    if not path.is_file():
        raise BadInput(
            f"no recipe {name!r}",
            field="recipe",
            remedy=f"Recipes are {', '.join(recipe_names())}, or the path of a YAML file",
        )
    return read_yaml(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that must hold one mapping."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"not valid YAML: {error}", file=path) from None
    if not isinstance(value, dict):
        raise BadInput("not a mapping of settings", file=path)
    return value


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings inside mappings merged too.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(base)
    for key, value in changes.items():
        both_mappings = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both_mappings else value
    return result


def validated(model: type[Model], value: dict[str, Any], *, file: Path | str) -> Model:
    """A settings object from a plain dict; the first mistake becomes a BadInput naming file and field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(first["msg"], file=file, field=field or None) from None
