"""A training: its recipe, and where its hard negatives come from."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from qure import strategies
from qure.config.base import Frozen, Precision, Seed

Engine = Literal["auto", "graph", "eager"]


def _known_strategy(name: str) -> str:
    if name not in strategies.names() and not strategies.is_in_a_file(name):
        known = ", ".join(repr(one) for one in strategies.names())
        raise PydanticCustomError("strategy", f"Input should be {known} or FILE.py:FUNCTION")
    return name


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

    seed: Seed = 0
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
