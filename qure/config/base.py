"""What every section of the settings is, and the names that several of them share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from qure.benchmarks import training_sets

Precision = Literal["fp32", "fp16", "bf16"]


def _known_training_set(name: str) -> str:
    if name not in training_sets():
        known = [repr(one) for one in training_sets()]
        raise PydanticCustomError("training_set", f"Input should be {', '.join(known[:-1])} or {known[-1]}")
    return name


TrainingSetName = Annotated[str, AfterValidator(_known_training_set)]


class Frozen(BaseModel):
    """A settings section: immutable, and an unknown key is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
