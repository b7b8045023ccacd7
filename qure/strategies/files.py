"""Strategies in a file of the user: found, read, and run when they are needed."""

import ast
import functools
import hashlib
import linecache
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from qure.errors import BadInput
from qure.files import refuse_pipe
from qure.strategies.registry import Strategy

#: Bytes of a user's file: it is part of the settings, and these travel as one argument of a pipeline's tasks.
LARGEST_FILE = 64 * 1024

_IN_A_FILE = re.compile(r"(?P<file>[^\0]+\.py):(?P<function>[^\W\d]\w*)")


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
    refuse_pipe(path)
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
    except ValueError:  # half a character
        raise BadInput(f"the strategy {name!r} names a file that cannot be", file=path) from None
    if len(content) > LARGEST_FILE:
        raise BadInput(
            f"{len(content)} bytes are too many for a file of strategies",
            file=path,
            remedy=f"At most {LARGEST_FILE}: put large parts into a package of your own and install it",
        )
    _require_function(name, code, path)
    return code


@functools.lru_cache(maxsize=32)
def from_file(name: str, code: str) -> Strategy:
    """The strategy "file.py:function" whose file has this text, which is run.

    Raises:
        BadInput: the text is no Python, has no such function or fails; names file and line.
    """
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
        raise failed(file, error) from error
    return Strategy(name, vars(module)[function], file=file)


def failed(file: str, error: Exception) -> BadInput:
    """An exception of a user's file, with the last line of that file that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return BadInput(f"{type(error).__name__}: {error}", file=file, row=f"line {lines[-1]}" if lines else None)


def _parts(name: str) -> tuple[str, str]:
    match = _IN_A_FILE.fullmatch(name)
    if match is None:
        raise BadInput(f"{name!r} does not name a function of a file", remedy="Write FILE.py:FUNCTION")
    return match["file"], match["function"]


def _require_function(name: str, code: str, path: Path | str) -> None:
    try:
        tree = ast.parse(code, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested too deeply
        line = f"line {error.lineno}" if isinstance(error, SyntaxError) else None
        raise BadInput(f"not Python: {getattr(error, 'msg', error)}", file=path, row=line) from None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    wanted = _parts(name)[1]
    if wanted not in functions:
        there = f"It has {', '.join(functions)}" if functions else "It has none"
        raise BadInput(f"the file has no function {wanted!r}", file=path, remedy=f"{there} at its top level")
