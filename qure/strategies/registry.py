"""Strategies by name: the published ones, and those that a program registers."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from qure.errors import BadInput
from qure.strategies.ranking import Choice, Range

if TYPE_CHECKING:
    from torch import Tensor


#: The strategies of the paper. Found by name: their module needs torch, and settings are read without it.
PUBLISHED = ("all_corpus", "top_k", "after_target_top_k", "between_steep_drops")
_PUBLISHED_MODULE = "qure.negatives.published"

Function = TypeVar("Function", bound=Callable[..., Any])


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


def get(name: str) -> Strategy:
    """The registered strategy of a name.

    Raises:
        BadInput: there is none.
    """
    if name in PUBLISHED:
        import_module(_PUBLISHED_MODULE)
    if name not in _registered:
        raise BadInput(f"no strategy {name!r}", field="strategy", remedy=f"There are {', '.join(names())}")
    return _registered[name]


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__
