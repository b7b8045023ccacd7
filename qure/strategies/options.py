"""A strategy's arguments: settings that its function asks for by name, and options as its annotations want them."""

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Protocol, get_type_hints

from pydantic import TypeAdapter, ValidationError

from qure.errors import BadInput
from qure.strategies.registry import Strategy

#: Settings of `negatives` that a strategy may ask for by a parameter of their name.
SETTINGS = ("top_k", "rule", "search_window", "consecutive_threshold")


class Chooser(Protocol):
    """The part of `qure.config.NegativeSettings` that a choice depends on, `SETTINGS` beside."""

    @property
    def strategy(self) -> str: ...

    @property
    def options(self) -> dict[str, Any]: ...

    @property
    def code(self) -> str | None: ...


def call_arguments(chosen: Strategy, settings: Chooser) -> dict[str, Any]:
    """What the function is called with: settings that it asks for by name, and the options.

    Raises:
        BadInput: the function takes no ranking; an option is unknown, missing or of another type.
    """
    parameters = list(inspect.signature(chosen.choose).parameters.values())
    if not parameters or parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        raise BadInput(f"the strategy {chosen.name!r} takes no ranking", file=chosen.file, row=line_of(chosen))
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters)
    takes = {one.name: one for one in parameters[1:] if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    own = [name for name in takes if name not in SETTINGS]
    for name in settings.options:
        if name in SETTINGS:
            raise BadInput("this is a setting and no option", field=f"options.{name}", remedy=f"Set negatives.{name}")
        if name not in takes and not takes_any:
            raise BadInput(
                f"the strategy {chosen.name!r} has no such option",
                field=f"options.{name}",
                remedy=f"Its options are {', '.join(own)}" if own else "It has none",
            )
    missing = [name for name in own if takes[name].default is inspect.Parameter.empty and name not in settings.options]
    if missing:
        raise BadInput(f"the strategy {chosen.name!r} needs this option", field=f"options.{missing[0]}")
    asked = {name: getattr(settings, name) for name in takes if name in SETTINGS}
    return asked | _typed(chosen, settings.options)


def _typed(chosen: Strategy, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the function's annotations want them."""
    values = {}
    for name, value in options.items():
        try:
            values[name] = TypeAdapter(_kind(chosen, name)).validate_python(value)
        except ValidationError as error:
            raise BadInput(
                f"{value!r} does not suit the strategy {chosen.name!r}: {error.errors()[0]['msg']}",
                field=f"options.{name}",
            ) from None
    return values


def _kind(chosen: Strategy, option: str) -> Any:
    """What an option's annotation means; anything where there is none."""
    parameter = inspect.signature(chosen.choose).parameters.get(option)
    if parameter is None or parameter.annotation is inspect.Parameter.empty:
        return Any
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    annotated = SimpleNamespace(__annotations__={option: parameter.annotation})
    try:
        return get_type_hints(annotated, globalns=getattr(chosen.choose, "__globals__", {}))[option]
    except NameError as error:
        raise BadInput(f"the annotation of {option!r}: {error}", file=chosen.file, row=line_of(chosen)) from None


def line_of(chosen: Strategy) -> str | None:
    """The line of a user's file where the function begins, for messages."""
    return (
        f"line {chosen.choose.__code__.co_firstlineno}" if chosen.file and hasattr(chosen.choose, "__code__") else None
    )
