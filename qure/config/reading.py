"""YAML to plain values, plain values to checked ones; mistakes name the file, the place and the field."""

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from qure.errors import BadInput
from qure.files import refuse_pipe

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that must hold one mapping, and no key twice."""
    refuse_pipe(path)
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

    >>> from qure.config import TrainingSettings
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
