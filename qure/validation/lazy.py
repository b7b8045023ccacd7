"""Great Expectations without what validation never calls, which is half of its import's processor time.

It imports a plotting library, JSON schemas and statistical tests at once, for expectations that are not used here
(1.24.1). They are left for when an attribute of theirs is first asked for. `importlib.util.LazyLoader` does not do:
an `import` statement asks for an attribute already.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

#: Processor seconds of 5.8: scipy.stats 1.0, altair 0.2; jsonschema 1.9 where rfc3987-syntax is installed beside it.
SELDOM_USED = ("altair", "jsonschema", "scipy.stats")

#: What Great Expectations can do without, and asks for only to read tables from databases and clouds: a quarter of what
#: is left.
NOT_NEEDED = ("sqlalchemy", "google")


def prepare() -> None:
    """Imports Great Expectations; where that has been done already it does nothing."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the library is imported
    for name in SELDOM_USED:
        load_when_used(name)
    with as_if_not_installed(NOT_NEEDED):
        import_module("great_expectations")


@contextmanager
def as_if_not_installed(names: tuple[str, ...]) -> Iterator[None]:
    """Lets an import of these packages fail as where they are missing; one that is imported already stays."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "the import system looks no further"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def load_when_used(name: str) -> None:
    """Makes an `import` of a module a promise; one that is imported already, or is not there, stays as it is."""
    if name in sys.modules or not _is_there(name):
        return
    promise = ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is promise:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    promise.__getattr__ = load  # type: ignore[method-assign]  # PEP 562
    sys.modules[name] = promise


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it is part of is not there
        return False
