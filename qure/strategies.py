"""Ways to choose negatives, by name: qure's own, those that a program registers, and functions of a file of the user's.

A strategy is a function of rankings. It says which ranks of every query are its hard negatives; what it must not say
(the target, its copies, excluded images, queries that are left without any) `qure.negatives.selection` sees to::

    from torch import Tensor
    from qure.strategies import Ranking

    def close_scores(ranking: Ranking, *, margin: float = 0.1) -> Tensor:
        return (ranking.scores - ranking.target_scores[:, None]).abs() < margin

In a file of its own it is named in the settings: `strategy: close.py:close_scores`, `options: {margin: 0.2}`. A program
registers it with `@strategy("close_scores")`. docs/strategies.md tells the rules.
"""

import ast
import functools
import hashlib
import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from qure.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

#: The strategies of the paper. Found by name: their module needs torch, and settings are read without it.
PUBLISHED = ("all_corpus", "top_k", "after_target_top_k", "between_steep_drops")
_PUBLISHED_MODULE = "qure.negatives.published"

#: Settings of `negatives` that a strategy may ask for by a parameter of their name.
SETTINGS = ("top_k", "rule", "search_window", "consecutive_threshold")

#: Bytes of a user's file: it is part of the settings, and these travel as one argument of a pipeline's tasks.
LARGEST_FILE = 64 * 1024

_IN_A_FILE = re.compile(r"(?P<file>[^\0]+\.py):(?P<function>[^\W\d]\w*)")

Function = TypeVar("Function", bound=Callable[..., Any])


class Ranking:
    """A block of q queries, each with its corpus of N images in ranked order.

    Attributes:
        scores: (q, N) float32 relevance, descending.
        target_ranks: (q,) int64, 0-based rank of each query's target.

    Args:
        order: the attribute `order`, or what makes it: most strategies do without, and then it is never made.
    """

    def __init__(self, scores: "Tensor", order: "Tensor | Callable[[], Tensor]", target_ranks: "Tensor") -> None:
        self.scores = scores
        self.target_ranks = target_ranks
        self._order = order

    @functools.cached_property
    def order(self) -> "Tensor":
        """(q, N) int64, the corpus column at each rank."""
        return self._order() if callable(self._order) else self._order

    @property
    def ranks(self) -> "Tensor":
        """(N,) int64: 0, 1, ... on the scores' device."""
        import torch

        return torch.arange(self.scores.shape[1], device=self.scores.device)

    @property
    def target_scores(self) -> "Tensor":
        """(q,) float32 relevance of each query's target."""
        return self.scores.gather(1, self.target_ranks[:, None])[:, 0]


@dataclass(frozen=True)
class Choice:
    """What a strategy chose, where it can also say by which two drops.

    Attributes:
        ranked: (q, N) bool, whether the image at a rank is chosen.
        start, end: (q,) int64 ranks of the drops, -1 where a query has none.
    """

    ranked: "Tensor"
    start: "Tensor"
    end: "Tensor"


@dataclass(frozen=True)
class Range:
    """A choice of consecutive ranks. Nobody needs to know which image has which rank to find the images in it.

    Attributes:
        first, stop: (q,) int64, ranks first .. stop - 1 of each query; what lies outside the list does not count, and
            none are chosen where stop <= first.
        start, end: (q,) int64 ranks of the drops, -1 where a query has none; None: the strategy knows no drops.
    """

    first: "Tensor"
    stop: "Tensor"
    start: "Tensor | None" = None
    end: "Tensor | None" = None


@dataclass(frozen=True)
class Strategy:
    """A way to choose negatives.

    Attributes:
        name: as in the settings.
        choose: (ranking, *, options) -> (q, N) bool by rank, a `Choice` or a `Range`.
        whole_corpus: it chooses everything, so that sets need not be listed.
        file: the user's file that it was read from.
    """

    name: str
    choose: Callable[..., "Tensor | Choice | Range"]
    whole_corpus: bool = False
    file: str | None = None


class Chooser(Protocol):
    """The part of `qure.config.NegativeSettings` that a choice depends on, `SETTINGS` beside."""

    @property
    def strategy(self) -> str: ...

    @property
    def options(self) -> dict[str, Any]: ...

    @property
    def code(self) -> str | None: ...


_registered: dict[str, Strategy] = {}


def strategy(name: str, *, whole_corpus: bool = False) -> Callable[[Function], Function]:
    """Registers a function as a strategy of that name, which settings of the same program can then have.

    Raises:
        BadInput: another function has the name.
    """
    if not name.isidentifier():
        raise BadInput(f"{name!r} is not a name for a strategy", remedy="Use letters, digits and _")

    def register(function: Function) -> Function:
        taken = _registered.get(name)
        # A module that is imported anew registers the same functions again.
        if (taken is not None and _place(taken.choose) != _place(function)) or (
            name in PUBLISHED and function.__module__ != _PUBLISHED_MODULE
        ):
            raise BadInput(f"there is a strategy {name!r} already", remedy="Register yours by another name")
        _registered[name] = Strategy(name, function, whole_corpus)
        return function

    return register


def names() -> list[str]:
    """Names of all registered strategies, the published ones first.

    >>> names()[:2]
    ['all_corpus', 'top_k']
    """
    return list(dict.fromkeys((*PUBLISHED, *_registered)))


def is_in_a_file(name: object) -> bool:
    """Whether settings name a function of a file.

    >>> is_in_a_file("mine.py:nearest"), is_in_a_file("top_k")
    (True, False)
    """
    return isinstance(name, str) and _IN_A_FILE.fullmatch(name) is not None


def file_of(name: str) -> Path:
    """The file that settings name.

    >>> file_of("lab/mine.py:nearest").as_posix()
    'lab/mine.py'
    """
    return Path(_parts(name)[0])


def read_code(name: str, folder: Path) -> str:
    """Text of the file of a strategy "file.py:function"; nothing of it is run.

    Args:
        name: as in the settings.
        folder: where a relative path starts: that of the file that names it.

    Raises:
        BadInput: there is no such file, it is no Python, or has no such function; names file and line.
    """
    path = folder / file_of(name)
    try:
        content = path.read_bytes()
        code = content.decode("utf-8")
    except FileNotFoundError:
        remedy = "A relative path starts at the file that names it"
        raise BadInput(f"the strategy {name!r} names a file that does not exist", file=path, remedy=remedy) from None
    except OSError as error:
        raise BadInput(f"the strategy {name!r} cannot be read: {error.strerror}", file=path) from None
    except UnicodeDecodeError:
        raise BadInput("not a text in UTF-8", file=path) from None
    if len(content) > LARGEST_FILE:
        raise BadInput(
            f"{len(content)} bytes are too many for a file of strategies",
            file=path,
            remedy=f"At most {LARGEST_FILE}: put large parts into a package of your own and install it",
        )
    _require_function(name, code, path)
    return code


def find(settings: Chooser) -> Strategy:
    """The strategy of the settings.

    Raises:
        BadInput: there is none of that name, or its file cannot be run; names file and line.
    """
    if settings.code is not None:
        return _from_file(settings.strategy, settings.code)
    if settings.strategy in PUBLISHED:
        import_module(_PUBLISHED_MODULE)
    if settings.strategy not in _registered:
        raise BadInput(f"no strategy {settings.strategy!r}", field="strategy", remedy=f"There are {', '.join(names())}")
    return _registered[settings.strategy]


def choose(settings: Chooser, ranking: Ranking) -> Choice | Range:
    """What the strategy of the settings chooses.

    Raises:
        BadInput: see `require_usable`; or a function that raises or gives something else; names its file and line.
    """
    chosen = find(settings)
    arguments = _arguments(chosen, settings)
    try:
        found = chosen.choose(ranking, **arguments)
    except BadInput:
        raise
    except Exception as error:
        if chosen.file is None:
            raise
        raise _failed(chosen.file, error) from error
    if isinstance(found, Range):
        _require_range(chosen, found, ranking)
        return found
    if not isinstance(found, Choice):
        import torch

        none = torch.full_like(ranking.target_ranks, -1)
        found = Choice(found, none, none)
    _require_ranks(chosen, found.ranked, ranking)
    return found


def require_usable(settings: Chooser) -> None:
    """Runs the strategy's file, if it is in one, and checks the options: before the work that would need it.

    Raises:
        BadInput: no such strategy, a file that cannot be run, an option that is unknown, missing or of another type.
    """
    _arguments(find(settings), settings)


def _parts(name: str) -> tuple[str, str]:
    match = _IN_A_FILE.fullmatch(name)
    if match is None:
        raise BadInput(f"{name!r} does not name a function of a file", remedy="Write FILE.py:FUNCTION")
    return match["file"], match["function"]


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def _require_function(name: str, code: str, path: Path | str) -> None:
    try:
        tree = ast.parse(code, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}" if isinstance(error, SyntaxError) else None
        raise BadInput(f"not Python: {getattr(error, 'msg', error)}", file=path, row=line) from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    wanted = _parts(name)[1]
    if wanted not in functions:
        there = f"It has {', '.join(functions)}" if functions else "It has none"
        raise BadInput(f"the file has no function {wanted!r}", file=path, remedy=f"{there} at its top level")


@functools.lru_cache(maxsize=32)
def _from_file(name: str, code: str) -> Strategy:
    file, function = _parts(name)
    _require_function(name, code, file)
    digest = hashlib.sha256(code.encode()).hexdigest()[:12]
    module = ModuleType(f"qure_strategies_{digest}")
    # The place that messages and tracebacks show; the text is at hand also where the file is not.
    module.__file__ = file
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, file, "exec"), vars(module))  # the user's own file, named in the user's settings
    except BadInput:
        raise
    except Exception as error:
        del sys.modules[module.__name__]
        raise _failed(file, error) from error
    return Strategy(name, vars(module)[function], file=file)


def _failed(file: str, error: Exception) -> BadInput:
    """An exception of a user's file, with the last line of that file that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return BadInput(f"{type(error).__name__}: {error}", file=file, row=f"line {lines[-1]}" if lines else None)


def _arguments(chosen: Strategy, settings: Chooser) -> dict[str, Any]:
    """What the function is called with: settings that it asks for by name, and the options."""
    parameters = list(inspect.signature(chosen.choose).parameters.values())
    if not parameters or parameters[0].kind not in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD):
        raise BadInput(f"the strategy {chosen.name!r} takes no ranking", file=chosen.file, row=_line(chosen))
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters)
    named = {one.name: one for one in parameters[1:] if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)}
    own = [name for name in named if name not in SETTINGS]
    for name in settings.options:
        if name in SETTINGS:
            raise BadInput("this is a setting and no option", field=f"options.{name}", remedy=f"Set negatives.{name}")
        if name not in named and not takes_any:
            raise BadInput(
                f"the strategy {chosen.name!r} has no such option",
                field=f"options.{name}",
                remedy=f"Its options are {', '.join(own)}" if own else "It has none",
            )
    missing = [name for name in own if named[name].default is inspect.Parameter.empty and name not in settings.options]
    if missing:
        raise BadInput(f"the strategy {chosen.name!r} needs this option", field=f"options.{missing[0]}")
    asked = {name: getattr(settings, name) for name in named if name in SETTINGS}
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
        raise BadInput(f"the annotation of {option!r}: {error}", file=chosen.file, row=_line(chosen)) from None


def _line(chosen: Strategy) -> str | None:
    return (
        f"line {chosen.choose.__code__.co_firstlineno}" if chosen.file and hasattr(chosen.choose, "__code__") else None
    )


def _require_ranks(chosen: Strategy, ranked: Any, ranking: Ranking) -> None:
    import torch

    shape = tuple(ranking.scores.shape)
    if isinstance(ranked, torch.Tensor) and ranked.dtype == torch.bool and tuple(ranked.shape) == shape:
        if ranked.device == ranking.scores.device:
            return
        found = f"a tensor on {ranked.device} where the scores are on {ranking.scores.device}"
    elif isinstance(ranked, torch.Tensor):
        found = f"{str(ranked.dtype).removeprefix('torch.')} {tuple(ranked.shape)}"
    else:
        found = type(ranked).__name__
    raise BadInput(
        f"the strategy {chosen.name!r} must give bool {shape}, a mark for every query and rank, and gave {found}",
        file=chosen.file,
        row=_line(chosen),
    )


def _require_range(chosen: Strategy, found: Range, ranking: Ranking) -> None:
    import torch

    wanted = ranking.target_ranks
    for name, ranks in vars(found).items():
        if ranks is None and name in ("start", "end"):
            continue
        if not isinstance(ranks, torch.Tensor) or (ranks.dtype, ranks.shape) != (wanted.dtype, wanted.shape):
            raise BadInput(
                f"the strategy {chosen.name!r} must give int64 {tuple(wanted.shape)}, a rank for every query",
                file=chosen.file,
                row=_line(chosen),
                field=name,
            )
