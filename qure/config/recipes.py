"""Recipes: found by path or by name, with the code of a strategy that lies in a file of the user."""

import os
from pathlib import Path
from typing import Any

from qure import strategies
from qure.config.reading import read_yaml
from qure.errors import BadInput
from qure.files import is_file

#: The recipes that come with qure.
_RECIPES = Path(__file__).parents[1] / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with qure."""
    return sorted(file.stem for file in _RECIPES.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe as a plain dict: a YAML file, by its path, or one of `recipe_names()`; with its strategy's code."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _RECIPES / f"{name}.yaml"
    if not is_file(path) and path.parent == Path("qure/recipes"):
        path = _RECIPES / path.name
    if not is_file(path):
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


def find_recipes_beside(params: Path, training: object) -> None:
    """Recipes' relative paths start at params.yaml, also for a command that was started in another folder.

    Raises:
        BadInput: under DVC a recipe has a name instead of a path, which DVC would not find and not follow.
    """
    for chosen in training.values() if isinstance(training, dict) else []:
        recipe = chosen.get("recipe") if isinstance(chosen, dict) else None
        if not isinstance(recipe, str):
            continue
        beside = params.parent / recipe
        if recipe.endswith((".yaml", ".yml")) and is_file(beside):
            chosen["recipe"] = str(beside)
        elif recipe in recipe_names() and "DVC_STAGE" in os.environ:
            raise BadInput(
                f"the recipe {recipe!r} has a name, and DVC follows files",
                file=params,
                field="recipe",
                remedy=f"Write its path: recipe: qure/recipes/{recipe}.yaml",
            )


def read_code_beside(params: Path, training: object) -> None:
    """Puts the code of the overrides' strategies, whose relative paths start at params.yaml, into the overrides."""
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
    followed = [Path(one).resolve() for one in stated.get("do", stated).get("deps", []) if isinstance(one, str)]
    if not any(file.resolve().is_relative_to(one) for one in followed):
        raise BadInput(
            "DVC does not follow this file of a strategy: an edit would not train again",
            file=file,
            remedy=f"Add `- {Path(os.path.relpath(file)).as_posix()}` to the deps of the stage train in dvc.yaml",
        )
