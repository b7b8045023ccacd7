"""What every section of the settings is, and the names that several of them share."""

from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from qure.benchmarks import training_sets

Precision = Literal["fp32", "fp16", "bf16"]

#: What numpy and torch both take.
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _known_training_set(name: str) -> str:
    if name not in training_sets():
        known = [repr(one) for one in training_sets()]
        raise PydanticCustomError("training_set", f"Input should be {', '.join(known[:-1])} or {known[-1]}")
    return name


TrainingSetName = Annotated[str, AfterValidator(_known_training_set)]


class Frozen(BaseModel):
    """A settings section: immutable, and an unknown key is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `on` and `yes` are true, which pydantic takes for the number 1."""
        kind = cls.model_fields[info.field_name or ""].annotation
        is_wrong = isinstance(value, bool) and not {bool, Any} & {kind, *get_args(kind)}
        if is_wrong or (_holds_numbers(kind) and _has_truth_value(value)):
            raise PydanticCustomError("truth_value", "Input should be no truth value")
        return value


def _holds_numbers(kind: Any) -> bool:
    """Whether a type is a mapping to numbers, or to such mappings."""
    if get_origin(kind) is not dict:
        return False
    inside = get_args(kind)[-1]
    return _holds_numbers(inside) or (get_args(inside)[0] if get_origin(inside) is Annotated else inside) in (
        int,
        float,
    )


def _has_truth_value(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, dict) and any(map(_has_truth_value, value.values())))
