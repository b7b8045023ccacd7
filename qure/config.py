"""params.yaml -> frozen, validated settings.

Every number a run depends on is a field here; `Settings.load` names the file and the field of any mistake.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qure import strategies
from qure.benchmarks import get_benchmark, training_sets
from qure.errors import BadInput

Precision = Literal["fp32", "fp16", "bf16"]
Engine = Literal["auto", "graph", "eager"]
Model = TypeVar("Model", bound=BaseModel)

#: The recipes that come with qure.
_RECIPES = Path(__file__).parent / "recipes"


def _known_training_set(name: str) -> str:
    if name not in training_sets():
        known = [repr(one) for one in training_sets()]
        raise PydanticCustomError("training_set", f"Input should be {', '.join(known[:-1])} or {known[-1]}")
    return name


TrainingSetName = Annotated[str, AfterValidator(_known_training_set)]


def _known_strategy(name: str) -> str:
    if name not in strategies.names() and not strategies.is_in_a_file(name):
        known = ", ".join(repr(one) for one in strategies.names())
        raise PydanticCustomError("strategy", f"Input should be {known} or FILE.py:FUNCTION")
    return name


class Frozen(BaseModel):
    """A settings section: immutable, and an unknown key is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CatalogueSettings(Frozen):
    """The rendered data set (owner: `qure.catalogue`)."""

    seed: int = 7
    image_size: int = Field(64, ge=16, le=512)
    scale: float = Field(1.0, gt=0, le=100)  # share of the default counts of images and queries


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
    dropout: float = Field(0.0, ge=0, lt=1)  # BLIP-2 has 0.1; so small a model underfits and learns less with it


class PretrainingSettings(Frozen):
    """Image-text contrast on catalogue images and full captions: stands in for BLIP-2's pre-training.

    Attributes:
        least_recall_at_5: share of held-out captions that must find their image among the first five; with less the
            backbone stage fails, because nothing good can follow. 0 takes everything.
    """

    seed: int = Field(0, ge=0)
    steps: int = Field(1000, ge=1)  # with 800 the slowest seed ends a third lower
    batch_size: int = Field(32, ge=2)  # more, smaller steps learn faster here: 500 of 64 find half as many images
    learning_rate: float = Field(1e-3, gt=0)  # with 2e-3 some seeds never leave the plateau, 4e-3 diverges
    least_recall_at_5: float = Field(0.3, ge=0, le=1)


class BackboneSettings(Frozen):
    """The frozen image tower and the Q-Former's starting point (owner: `qure.backbone`)."""

    name: Literal["catalogue", "blip2-vitl", "blip2-vitg"] = "catalogue"
    weights: str | None = None
    vision_weights: str | None = None
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
    """Where hard negatives come from (owner: `qure.negatives`).

    Attributes:
        strategy: which images of a query's ranking are its set: the name of a registered strategy, of which
            `between_steep_drops` is the published one, or `FILE.py:FUNCTION`. A relative path starts at the file that
            names it: params.yaml, a recipe, arms of an ablation (docs/strategies.md).
        options: parameters of the strategy itself, checked by its function's signature.
        code: text of that FILE, put here when settings are read: an edited file is another training, and the file
            travels wherever the settings do. Not for params.yaml.
        rule: which two drops. `reference`: as released; `paper`: eq. 5-7. They choose different sets for 22-32 % of
            queries on bell-shaped scores.
        top_k: size of the set of the `top_k` strategies.
        search_window: only drops inside the first so many ranks after the target count. None is as published: on
            bell-shaped scores the steepest drops then lie in the far tail, and the sets hold the easiest images.
        consecutive_threshold: the `reference` rule's two drops are more than so many ranks apart.
        definitions: how many times a run defines the sets; more follow the model closer and cost one ranking each.
        negatives_per_query: draws from a query's set a step; each costs one more candidate encoding.
        shared_negatives: also compare a query with candidates that its batch encodes anyway and that lie in its set.
    """

    strategy: Annotated[str, AfterValidator(_known_strategy)] = "between_steep_drops"
    # Left out where they say nothing: settings of registered strategies have the fingerprints that they always had.
    options: dict[str, Any] = Field({}, exclude_if=lambda options: not options)
    code: str | None = Field(None, exclude_if=lambda code: code is None)
    rule: Literal["reference", "paper"] = "reference"
    top_k: int = Field(100, ge=1)
    search_window: int | None = Field(None, ge=3)
    consecutive_threshold: int = Field(1, ge=0)
    definitions: int = Field(6, ge=1)
    negatives_per_query: int = Field(1, ge=1)
    shared_negatives: bool = False

    @model_validator(mode="after")
    def _window_holds_two_drops(self) -> "NegativeSettings":
        smallest = 3 if self.rule == "paper" else self.consecutive_threshold + 3
        if self.search_window is not None and self.search_window < smallest:
            raise ValueError(
                f"search_window {self.search_window} can never hold two drops of the rule {self.rule!r}: "
                f"it must be at least {smallest}"
            )
        return self

    @model_validator(mode="after")
    def _code_and_file_agree(self) -> "NegativeSettings":
        if strategies.is_in_a_file(self.strategy) != (self.code is not None):
            problem = "its file was not read: see qure.config.with_code" if self.code is None else "it is in no file"
            raise ValueError(f"the strategy {self.strategy!r} and `code` do not agree: {problem}")
        return self

    def with_strategy(self, name: str) -> "NegativeSettings":
        """The same settings with a registered strategy, without what belongs to the present one alone."""
        return self.model_copy(update={"strategy": name, "options": {}, "code": None})


class TrainingSettings(Frozen):
    """One training run (owner: `qure.training`); the published values are in qure/recipes/, with their consequences.

    Attributes:
        seed: data order, drawn negatives and dropout follow from it.
        epochs, batch_size, learning_rate, weight_decay: as in the recipe; the batch is that of one optimizer step,
            over all processes and accumulation steps together.
        accumulation_steps: parts that a batch is computed in, to save memory. Queries share candidates inside a part.
        final_learning_rate_ratio: the cosine ends at this share of the learning rate.
        gradient_clipping: largest norm of the gradients; None as published.
        precision: fp32, bf16, or fp16 with loss scaling (CUDA only).
        gradient_checkpointing: recompute the Q-Former in the backward pass: less memory, a third more time.
        engine: graph launches a whole optimizer step as one CUDA graph (one process on one GPU), eager launches every
            operation, auto is graph where it is possible. Results are the same to rounding.
        loss: the published reward objective, or the in-batch contrastive baseline.
        several_negatives: Bradley-Terry with several negatives a query: mean of the pairs' losses, or softmax over
            all of them; the same for one.
        batches: of one category where queries share candidates (auto), always, or never.
        temperature: learned from `temperature_value` on, or fixed there.
        negatives: where hard negatives come from.
        exclude_leaked: leave out the train triplets that name an image of another split (FashionIQ's categories share
            images across splits; docs/datasets.md has the numbers). The published numbers are without it.
        held_out_share: share of the TRAIN queries kept out of training to judge every epoch (recall@10 in the train
            corpus); the best epoch's weights become the model. 0 trains on all and keeps the last epoch's.
        early_stop_patience: epochs without a better held-out recall after which training ends.
        checkpoint_every_steps: checkpoints inside epochs too; None: at the end of each.
    """

    seed: int = Field(0, ge=0)
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(32, ge=1)
    accumulation_steps: int = Field(1, ge=1)
    learning_rate: float = Field(5e-6, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    final_learning_rate_ratio: float = Field(0.01, ge=0, le=1)
    gradient_clipping: float | None = Field(None, gt=0)
    precision: Precision = "fp16"
    gradient_checkpointing: bool = False
    engine: Engine = "auto"
    loss: Literal["bradley_terry", "contrastive"] = "bradley_terry"
    several_negatives: Literal["mean", "softmax"] = "mean"
    batches: Literal["auto", "one_category", "mixed"] = "auto"
    temperature: Literal["learned", "fixed"] = "learned"
    temperature_value: float = Field(0.07, gt=0)
    negatives: NegativeSettings = NegativeSettings()
    # Left out where it says nothing: trainings without it have the fingerprints that they always had.
    exclude_leaked: bool = Field(False, exclude_if=lambda chosen: not chosen)
    held_out_share: float = Field(0.0, ge=0, le=0.5)
    early_stop_patience: int | None = Field(None, ge=1)
    checkpoint_every_steps: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _options_agree(self) -> "TrainingSettings":
        if self.early_stop_patience is not None and self.held_out_share == 0:
            raise ValueError(
                "early_stop_patience needs held_out_share > 0, for example 0.05: train queries to judge by"
            )
        if self.batches == "mixed" and self.negatives.shared_negatives and self.loss == "bradley_terry":
            raise ValueError("shared_negatives needs batches of one category: set batches to auto or one_category")
        if self.engine == "graph" and self.gradient_checkpointing:
            raise ValueError("engine graph cannot recompute layers: set engine to auto, or no gradient_checkpointing")
        if self.accumulation_steps > self.batch_size:
            raise ValueError(f"accumulation_steps {self.accumulation_steps} exceeds batch_size {self.batch_size}")
        return self

    @property
    def shares_candidates(self) -> bool:
        """Whether a query is also compared with candidates that other queries of its batch brought along."""
        return self.loss == "contrastive" or self.negatives.shared_negatives

    @property
    def one_category_batches(self) -> bool:
        """Whether every batch holds triplets of one category."""
        return self.batches == "one_category" or (self.batches == "auto" and self.shares_candidates)


class EvaluationSettings(Frozen):
    """How models are judged (owner: `qure.evaluation`).

    Attributes:
        gallery_protocol: FashionIQ's gallery: "original" (a category's whole split, as QuRe reports) or "val" (the
            split's references and targets only, as many papers do; easier).
        caption_order: the order of HP-FashionIQ's two captions behind its numbers: "file" (as published, half of them
            exchanged against FashionIQ), "exchanged", or "fashioniq" (as FashionIQ joins them). The other order's
            numbers are reported beside them.
        bootstrap_samples: resamples behind every interval.
        confidence: of the intervals.
        seed: of the resamples and of the shuffled references.
        batch_size: queries or images encoded at once.
    """

    gallery_protocol: Literal["original", "val"] = "original"
    # Left out where it says nothing, as `exclude_leaked`.
    caption_order: Literal["file", "exchanged", "fashioniq"] = Field("file", exclude_if=lambda chosen: chosen == "file")
    bootstrap_samples: int = Field(1000, ge=100)
    confidence: float = Field(0.95, gt=0, lt=1)
    seed: int = 0
    batch_size: int = Field(64, ge=1)


class PromotionSettings(Frozen):
    """When a challenger becomes champion (owner: `qure.registry`; qure/registry/comparison.py explains the rule).

    Attributes:
        required: whether a pipeline run in which the challenger is not promoted fails.
        thresholds: training set -> "<benchmark>/<metric>", or a metric of its own benchmark -> least value in percent.
        compare: training set -> metric of its own benchmark by which challenger and champion are compared.
        max_risk: largest share of bootstrap resamples in which the challenger may be worse than the champion. 0.5: it
            wins at least half; 0.05: it must be significantly better; 0.95: it must not be significantly worse, and
            small losses add up: 20 promotions of models each 0.3 points worse would cost 5 points (0.5: half a point),
            if `max_loss` did not end it. At least 1 / (2 (`evaluation.bootstrap_samples` + 1)), which is the least
            that the bootstrap can tell; 1: every challenger passes.
        max_loss: percentage points that a challenger may measure below the best champion of the window.
        window: how many changes of champion are looked back on for that.
        held_back: share of the queries that decide nothing, chosen by their ids: reports show what the champion, which
            was chosen on the others, measures there.
        environment: where a challenger must answer its example: "installed", in a fresh interpreter from the package's
            own code; or "own", in a virtual environment made from the package's requirements (needs a package index).
        confidence: of the interval that is reported with the comparison.
        refuse_collapsed: whether a model whose relevances are level, or that answers all queries alike, is refused
            whatever its numbers are. Only trials of the pipeline itself, with a model that cannot learn, want false.
    """

    required: bool = False
    refuse_collapsed: bool = True
    thresholds: dict[TrainingSetName, dict[str, float]] = {}
    compare: dict[TrainingSetName, str] = Field({}, validate_default=True)
    max_risk: float = Field(0.5, gt=0, le=1)
    max_loss: float = Field(1.0, ge=0)
    window: int = Field(20, ge=1)
    held_back: float = Field(0.0, ge=0, le=0.5)
    environment: Literal["installed", "own"] = "installed"
    confidence: float = Field(0.95, gt=0, lt=1)

    @field_validator("compare")
    @classmethod
    def _with_defaults(cls, compare: dict[TrainingSetName, str]) -> dict[TrainingSetName, str]:
        own = {name: str(get_benchmark(name).compared_by) for name in training_sets()}
        return own | compare


class ValidationSettings(Frozen):
    """What data must look like (owner: `qure.validation`; docs/validation.md explains every rule).

    Attributes:
        tolerate: rule -> how many rows may break it; they are left out of every later stage.
        expect_public: whether numbers of entries must be the published ones; None warns where the folder does not
            say that it is the rendered catalogue.
        max_text_characters: longest modification text (the published ones have up to 302).
        min_image_side: fewest pixels of an image's short side.
        max_image_aspect: long side / short side at most.
        max_image_bytes: larger files are not read.
        workers: processes that check images; None uses every core.
        drift_psi, drift_ks, drift_centroid: population stability index, Kolmogorov-Smirnov distance and cosine distance
            from which training data counts as shifted against the champion's.
    """

    tolerate: dict[str, Annotated[int, Field(ge=0)]] = {}
    expect_public: bool | None = None
    max_text_characters: int = Field(1000, ge=1)
    min_image_side: int = Field(16, ge=1)
    max_image_aspect: float = Field(10.0, ge=1)
    max_image_bytes: int = Field(64 * 2**20, ge=1)
    workers: int | None = Field(None, ge=1)
    drift_psi: float = Field(0.25, gt=0)
    drift_ks: float = Field(0.15, gt=0)
    drift_centroid: float = Field(0.1, gt=0)


class TrackingSettings(Frozen):
    """Where MLflow is (owner: `qure.tracking`).

    Attributes:
        uri: tracking server and registry; the variable MLFLOW_TRACKING_URI wins, so that secrets stay out of files.
            null (or "none") runs without tracking; registering and promoting need it.
        experiment: name of the MLflow experiment.
        artifacts: where a new experiment keeps its artifacts, for example s3://bucket/mlflow; left out, the tracking
            server decides, and a SQLite database keeps them in mlruns/ beside itself.
    """

    #: Where params.yaml lies, when that is not the present folder: a relative path in `uri` is from there.
    _folder: Path | None = PrivateAttr(None)

    uri: str | None = "sqlite:///mlflow.db"
    experiment: str = Field("qure", min_length=1, max_length=200)
    artifacts: str | None = None

    @field_validator("uri")
    @classmethod
    def _is_uri(cls, value: str | None) -> str | None:
        urlsplit(value or "")  # raises ValueError: "Invalid IPv6 URL"
        return value

    @property
    def folder(self) -> Path | None:
        """The folder of the params.yaml that this was read from, when it is not the present one."""
        return self._folder


class TrainingSetSettings(Frozen):
    """A recipe, and what differs from it.

    Attributes:
        recipe: path of a YAML file, relative to params.yaml, as DVC follows it; `qure/recipes/...` is the library's own
            where the project has no such file. Elsewhere than under DVC the bare name of one of those does as well.
        overrides: values that differ from the recipe's. null leaves a value as the recipe has it, unless null is itself
            a value of that setting (`search_window`, `gradient_clipping`, ...).
    """

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

    @model_validator(mode="after")
    def _risk_can_be_told(self) -> "Settings":
        least = 0.5 / (self.evaluation.bootstrap_samples + 1)
        if self.promotion.max_risk < least:
            raise ValueError(
                f"promotion.max_risk: {self.promotion.max_risk:g} is less than {least:.2g}, the least that "
                f"{self.evaluation.bootstrap_samples} resamples can tell: nothing would pass. Raise it, or "
                "evaluation.bootstrap_samples"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Reads and checks params.yaml.

        Raises:
            BadInput: no such file, not YAML, an unknown key or a value out of range; names the field. A strategy's
                file that is missing or no Python; names it and the line.
        """
        values = read_yaml(path)
        _find_recipes_beside(path, values.get("training"))
        _read_code_beside(path, values.get("training"))
        settings = validated(cls, values, file=path)
        folder = Path(path).resolve().parent
        if folder != Path.cwd():
            settings.tracking._folder = folder
        return settings

    def training_for(self, training_set: str) -> TrainingSettings:
        """The recipe of a training set with its overrides applied."""
        if training_set not in self.training:
            raise BadInput(f"no training set {training_set!r}; there are {', '.join(sorted(self.training))}")
        chosen = self.training[training_set]
        recipe = read_recipe(chosen.recipe)
        whole = merged(recipe, stated(TrainingSettings, chosen.overrides))
        return validated(TrainingSettings, whole, file=f"recipe {chosen.recipe!r}")

    def resolved(self) -> dict[str, Any]:
        """All settings as JSON-able values, with the recipes' own: two of one name may differ in content."""
        recipes = {name: self.training_for(name).model_dump(mode="json") for name in self.training}
        return self.model_dump(mode="json") | {"recipes": recipes}


def recipe_names() -> list[str]:
    """Names of the recipes that come with qure."""
    return sorted(file.stem for file in _RECIPES.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe as a plain dict: a YAML file, by its path, or one of `recipe_names()`; with its strategy's code."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _RECIPES / f"{name}.yaml"
    if not path.is_file() and path.parent == Path("qure/recipes"):
        path = _RECIPES / path.name
    if not path.is_file():
        raise BadInput(
            f"no recipe {name!r}",
            field="recipe",
            remedy=f"Name the path of a YAML file, for example qure/recipes/NAME.yaml with {', '.join(recipe_names())}",
        )
    return with_code(read_yaml(path), path.parent)


def with_code(recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe, or changes of one, whose strategy is in a user's file, with the text of that file.

    Args:
        recipe: as read from a YAML file.
        folder: of that YAML file, where a relative path starts.

    Raises:
        BadInput: no such file, no Python, or no such function; under DVC: a file that DVC does not follow.
    """
    negatives = recipe.get("negatives")
    name = negatives.get("strategy") if isinstance(negatives, dict) else None
    if not isinstance(negatives, dict) or not isinstance(name, str) or not strategies.is_in_a_file(name):
        return recipe
    if negatives.get("code") is not None:  # written out, for a pipeline's tasks
        return recipe
    code = strategies.read_code(name, folder)
    _require_followed(folder / strategies.file_of(name))
    return recipe | {"negatives": negatives | {"code": code}}


def _read_code_beside(params: Path, training: object) -> None:
    for chosen in training.values() if isinstance(training, dict) else []:
        overrides = chosen.get("overrides") if isinstance(chosen, dict) else None
        if isinstance(overrides, dict):
            chosen["overrides"] = with_code(overrides, params.parent)


def _require_followed(file: Path) -> None:
    """In DVC's train stage: DVC would not train again after an edit of a file that the stage does not name."""
    stage, dvc = os.environ.get("DVC_STAGE", "").split("@")[0], Path("dvc.yaml")
    if stage != "train" or not dvc.is_file():
        return
    stated = read_yaml(dvc).get("stages", {}).get(stage, {})
    named = [Path(one).resolve() for one in stated.get("do", stated).get("deps", []) if isinstance(one, str)]
    if not any(file.resolve().is_relative_to(one) for one in named):
        raise BadInput(
            "DVC does not follow this file of a strategy: an edit would not train again",
            file=file,
            remedy=f"Add `- {Path(os.path.relpath(file)).as_posix()}` to the deps of the stage train in dvc.yaml",
        )


def _find_recipes_beside(params: Path, training: object) -> None:
    """Recipes' relative paths start at params.yaml, also for a command that was started in another folder.

    Raises:
        BadInput: under DVC a recipe has a name instead of a path, which DVC would not find and not follow.
    """
    for chosen in training.values() if isinstance(training, dict) else []:
        recipe = chosen.get("recipe") if isinstance(chosen, dict) else None
        if not isinstance(recipe, str):
            continue
        beside = params.parent / recipe
        if recipe.endswith((".yaml", ".yml")) and beside.is_file():
            chosen["recipe"] = str(beside)
        elif recipe in recipe_names() and "DVC_STAGE" in os.environ:
            raise BadInput(
                f"the recipe {recipe!r} has a name, and DVC follows files",
                file=params,
                field="recipe",
                remedy=f"Write its path: recipe: qure/recipes/{recipe}.yaml",
            )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that must hold one mapping, and no key twice."""
    try:
        value = parsed_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=path) from None
    except IsADirectoryError:
        raise BadInput("this is a folder, not a file", file=path, remedy="Name a file: --params FILE") from None
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path) from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadInput(f"not valid YAML: {error}", file=path) from None
    if not isinstance(value, dict):
        raise BadInput("not a mapping of settings", file=path)
    return value


def parsed_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        ValueError: it is no YAML, or a mapping has a key twice; one line that names the place.
    """
    try:
        value = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
        _check_nesting(value)
        return value
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


#: Values that a file of settings may hold, its aliases written out, and levels that it may have.
_MOST_VALUES, _MOST_LEVELS = 100_000, 50


def _check_nesting(value: Any) -> None:
    """Refuses what aliases make endless: a mapping that holds itself, or lists of lists that each double the last.

    Raises:
        ValueError: more values or levels than settings can have.
    """
    waiting, seen = [(value, 0)], 0
    while waiting:
        found, level = waiting.pop()
        seen += 1
        if level > _MOST_LEVELS:
            raise ValueError(f"nested more than {_MOST_LEVELS} levels deep, or without end")
        if seen > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values once its aliases are written out")
        parts = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
        waiting += [(part, level + 1) for part in parts]


class _Loader(yaml.SafeLoader):
    """Of a key that stands twice PyYAML takes the last one, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mappings inside mappings merged too; another strategy has no former options.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    >>> merged({"strategy": "mine.py:near", "options": {"margin": 1}, "code": "..."}, {"strategy": "top_k"})
    {'strategy': 'top_k'}
    """
    result = dict(base)
    if "strategy" in changes and changes["strategy"] != base.get("strategy"):
        result = {key: value for key, value in result.items() if key not in ("options", "code")}
    for key, value in changes.items():
        both_mappings = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both_mappings else value
    return result


def stated(model: type[BaseModel], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` without the nulls that state nothing: those of fields that have no null.

    >>> stated(TrainingSettings, {"epochs": None, "seed": 1, "negatives": {"top_k": None, "search_window": None}})
    {'seed': 1, 'negatives': {'search_window': None}}
    """
    result = {}
    for key, value in changes.items():
        kind = model.model_fields[key].annotation if key in model.model_fields else None
        if value is None and kind is not None and type(None) not in get_args(kind):
            continue
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
            value = stated(kind, value)
        result[key] = value
    return result


def validated(model: type[Model], value: dict[str, Any], *, file: Path | str) -> Model:
    """A settings object from a plain dict; the first mistake becomes a BadInput naming file and field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(first["msg"], file=file, field=field or None) from None
