"""The arms of an ablation: recipes that differ in what is studied and in nothing else, read from a YAML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from qure.config import Frozen, Settings, TrainingSettings, merged, read_yaml, validated, with_code
from qure.errors import BadInput
from qure.strategies import require_usable

#: The arms that come with qure.
ARMS = Path(__file__).parent / "arms.yaml"


class ArmEntry(Frozen):
    """One arm as the file states it.

    Attributes:
        title: what tables and figures call it.
        group: heading that it stands under.
        like: arm whose changes it starts from.
        changes: what differs from that arm, or from the base, as in a recipe.
        budget: how many times as many epochs it gets as the shared budget.
        against: arm that it is compared with where that is not the baseline: the baseline's own line under its budget.
    """

    title: str = Field(min_length=1, max_length=80)
    group: str = Field(min_length=1, max_length=40)
    like: str | None = None
    changes: dict[str, Any] = {}
    budget: int = Field(1, ge=1)
    against: str | None = None


class ArmsFile(Frozen):
    """The whole file."""

    baseline: str
    base: dict[str, Any] = {}
    arms: dict[str, ArmEntry]

    @field_validator("arms")
    @classmethod
    def _baseline_is_there(cls, arms: dict[str, ArmEntry], info: ValidationInfo) -> dict[str, ArmEntry]:
        if "baseline" in info.data and info.data["baseline"] not in arms:
            raise ValueError(f"the baseline {info.data['baseline']!r} is not among them")
        return arms


@dataclass(frozen=True)
class Arm:
    """One recipe to train.

    Attributes:
        name, title, group, budget: as in `ArmEntry`.
        against: arm that it is compared with; None for the baseline itself.
        recipe: the whole recipe; the seed is set run by run.
    """

    name: str
    title: str
    group: str
    budget: int
    against: str | None
    recipe: TrainingSettings


@dataclass(frozen=True)
class Arms:
    """The arms of one ablation, in the order in which they are shown.

    Attributes:
        baseline: name of the arm that the others are compared with unless they say otherwise; it may be none of `arms`.
    """

    baseline: str
    arms: tuple[Arm, ...]


def read_arms(
    settings: Settings,
    training_set: str,
    *,
    file: Path = ARMS,
    names: Sequence[str] | None = None,
    epochs: int | None = None,
) -> Arms:
    """The arms of a file as whole recipes.

    Args:
        settings: their recipe of the training set is what the file's `base` is laid over.
        training_set: fashioniq or cirr.
        file: the arms.
        names: which of them; None for all.
        epochs: the shared budget; None for the recipe's epochs.

    Raises:
        BadInput: an unknown arm, a `like` that leads nowhere or in a circle, an unknown setting or a bad value; names
            file, arm and field. A strategy that cannot be run; names its file and line.
    """
    stated = validated(ArmsFile, read_yaml(file), file=file)
    chosen = list(stated.arms) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in stated.arms:
            raise BadInput(f"no arm {name!r}; there are {', '.join(stated.arms)}", file=file, field="arms")
    if not chosen:
        raise BadInput("there is no arm to train", file=file, field="arms")
    recipe = settings.training_for(training_set).model_dump(mode="json")
    base = merged(recipe, with_code(stated.base, Path(file).parent)) | (
        {"epochs": epochs} if epochs is not None else {}
    )
    return Arms(stated.baseline, tuple(_arm(name, stated, base, file) for name in chosen))


def _arm(name: str, stated: ArmsFile, base: dict[str, Any], file: Path) -> Arm:
    entry = stated.arms[name]
    recipe = base
    for ancestor in _line(name, stated, file):
        recipe = merged(recipe, with_code(stated.arms[ancestor].changes, Path(file).parent))
    recipe = recipe | {"epochs": recipe["epochs"] * entry.budget}
    whole = validated(TrainingSettings, recipe, file=f"{file}, arm {name!r}")
    _require_usable(whole, name, file)
    return Arm(name, entry.title, entry.group, entry.budget, _against(name, stated, file), whole)


def _require_usable(recipe: TrainingSettings, name: str, file: Path) -> None:
    """A strategy that cannot be run ends the ablation before its first training."""
    try:
        require_usable(recipe.negatives)
    except BadInput as error:
        if error.file is not None:  # the strategy's own
            raise
        where = f"arms.{name}.changes.negatives.{error.field or 'strategy'}"
        raise BadInput(error.problem, file=file, field=where, remedy=error.remedy) from None


def _against(name: str, stated: ArmsFile, file: Path) -> str | None:
    other = stated.arms[name].against or stated.baseline
    if other not in stated.arms:
        known = ", ".join(stated.arms)
        raise BadInput(f"no arm {other!r}; there are {known}", file=file, field=f"arms.{name}.against")
    return None if other == name else other


def _line(name: str, stated: ArmsFile, file: Path) -> list[str]:
    """An arm with those it is like, the farthest first."""
    line = [name]
    while (parent := stated.arms[line[-1]].like) is not None:
        field = f"arms.{line[-1]}.like"
        if parent not in stated.arms:
            raise BadInput(f"no arm {parent!r}; there are {', '.join(stated.arms)}", file=file, field=field)
        if parent in line:
            raise BadInput(f"the arms lead in a circle: {' -> '.join([*line, parent])}", file=file, field=field)
        line.append(parent)
    return line[::-1]
