"""A run's settings as one line of text: what a form can hold, and what single values change in it."""

import json
import re
from typing import Any

import yaml

from qure.config import Settings, TrainingSettings, parsed_yaml, read_recipe, recipe_names, stated, validated
from qure.errors import BadInput

PARAMS = "pipeline argument params"
_PLACE = re.compile(r"at line (\d+), column (\d+)")
_KEY = re.compile(r"""([\w.-]+)["']?\s*:""")


def parse(params: str) -> Settings:
    """Settings from JSON or YAML, the form that params.yaml has.

    Raises:
        BadInput: no such text, an unknown key or a value out of range; names line and key.
    """
    params = _without_tabs(params)
    value = _mapping(params)
    try:
        return validated(Settings, value, file=PARAMS)
    except BadInput as error:
        raise BadInput(
            error.problem, file=PARAMS, row=_line(params, error.field), field=error.field, remedy=error.remedy
        ) from None


def changed(
    params: str,
    training_set: str,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    backbone: str | None = None,
    recipe: str | None = None,
    exclude_leaked: bool | None = None,
) -> str:
    """Settings with single values laid over them, as JSON on one line; None changes nothing.

    Args:
        params: JSON or YAML.
        training_set: whose training the values are about.
        epochs, seed, exclude_leaked: of its recipe.
        backbone: its name.
        recipe: name of a shipped recipe, in place of the settings' recipe and of the single values beside it.

    Raises:
        BadInput: the settings or a value are wrong, or there is no such training set; names line and key.
    """
    params = _without_tabs(params)
    parse(params).training_for(training_set)
    values = _mapping(params)
    chosen = dict(values["training"][training_set])
    if recipe is not None:
        if recipe not in recipe_names():
            raise BadInput(f"no recipe {recipe!r}", field="recipe", remedy=f"One of {', '.join(recipe_names())}")
        chosen = {"recipe": recipe}
    single = {"epochs": epochs, "seed": seed, "exclude_leaked": exclude_leaked}
    chosen["overrides"] = chosen.get("overrides", {}) | {key: one for key, one in single.items() if one is not None}
    values["training"][training_set] = chosen
    if backbone is not None:
        values["backbone"] = values.get("backbone", {}) | {"name": backbone}
    text = one_line(values)
    try:
        parse(text).training_for(training_set)
    except BadInput as error:
        told = f"pipeline argument {error.field}" if error.field in single else str(error.file)
        raise BadInput(error.problem, file=told, field=error.field, remedy=error.remedy) from None
    return text


def one_line(values: dict[str, Any]) -> str:
    """Settings as JSON on one line, without what states nothing: a form's field keeps it whole.

    A shipped recipe is named, so that its path on another machine does not matter, and where MLflow is stays with the
    environment, which wins anyway.

    >>> one_line({"training": {"cirr": {"recipe": "catalogue", "overrides": {"seed": None}}}, "tracking": {"uri": "x"}})
    '{"training": {"cirr": {"recipe": "catalogue"}}}'
    """
    values = dict(values)
    values["training"] = {name: _training(chosen) for name, chosen in (values.get("training") or {}).items()}
    tracking = dict(values.get("tracking") or {})
    if tracking.get("uri") is not None:
        tracking.pop("uri")
    values["tracking"] = tracking
    return json.dumps({key: one for key, one in values.items() if one != {}}, ensure_ascii=False, sort_keys=True)


def _training(chosen: dict[str, Any]) -> dict[str, Any]:
    overrides = stated(TrainingSettings, chosen.get("overrides") or {})
    told = {**chosen, "overrides": {key: value for key, value in overrides.items() if value != {}}}
    if "recipe" in chosen:
        told["recipe"] = _shipped(chosen["recipe"])
    return {key: value for key, value in told.items() if value != {}}


def _shipped(recipe: str) -> str:
    name = recipe.removesuffix(".yaml").removesuffix(".yml").rpartition("/")[2]
    if name != recipe and name in recipe_names() and read_recipe(recipe) == read_recipe(name):
        return name
    return recipe


def _without_tabs(params: str) -> str:
    """JSON that is indented with tabs, as YAML takes it: within its texts a tab is written as two letters."""
    try:
        json.loads(params)
    except ValueError:
        return params
    return params.replace("\t", " ")


def _mapping(params: str) -> dict[str, Any]:
    try:
        value = parsed_yaml(params)
    except ValueError as error:
        place = _PLACE.search(str(error))
        row = f"line {place[1]}, column {place[2]}" if place else None
        keys = _KEY.findall(_before(params, int(place[1]), int(place[2]))) if place else []
        raise BadInput(
            f"neither JSON nor YAML: {error}", file=PARAMS, row=row, field=keys[-1] if keys else None
        ) from None
    if not isinstance(value, dict):
        raise BadInput("not a mapping of settings", file=PARAMS)
    return value


def _before(text: str, line: int, column: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[: line - 1]) + "".join(lines[line - 1 : line])[: column - 1]


def _line(params: str, field: str | None) -> str | None:
    """Where a field stands, as far as its path can be followed."""
    node = yaml.compose(params, Loader=yaml.SafeLoader)
    mark = node.start_mark if node is not None else None
    for part in (field or "").split("."):
        if not isinstance(node, yaml.MappingNode):
            break
        found = [(key, value) for key, value in node.value if getattr(key, "value", None) == part]
        if not found:
            break
        mark, node = found[0][0].start_mark, found[0][1]
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else None
