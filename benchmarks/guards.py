"""The tests that guard a module, run in a process of their own, those first that are the likeliest to notice a fault.

All of them are asked before a fault counts as one that survives; their order decides only how soon one is killed. The
run without any fault tells which tests reach which statements and what each test takes: those that reach the place of a
fault come first, the quickest at their head.
"""

import ast
import builtins
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GUARDING = Path(__file__).with_name("guarding_tests.yaml")

#: Imported once, before the processes that run the tests part from this one; nothing of the project is.
LIBRARIES = (
    *("pytest", "hypothesis", "xdist.plugin", "anyio.pytest_plugin", "hydra.extra.pytest_plugin", "pydantic"),
    *("numpy", "pandas", "scipy.stats", "pyarrow.parquet", "torch", "transformers", "PIL.Image", "mlflow"),
)

PROJECT = ("qure", "benchmarks", "components", "pipelines", "infra")

_TESTS = (
    "-x",
    "-q",
    "--no-header",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:untouched",  # looks over the whole environment, three seconds a fault, and others may be using it
    "-m",
    "not containers and not kfp_local and not integration",
)

#: A test that takes so many times longer than the longest did without a fault hangs (than the longest: in another order
#: it may be the one that makes the fixtures); and so many seconds are never too many.
_PATIENCE, _LEAST_PATIENCE = 5, 30.0


def guarding(module: str, root: Path = ROOT) -> list[str]:
    """Files whose tests guard a module, the module itself with its doctests first.

    >>> guarding("qure/negatives/sampling.py")
    ['qure/negatives/sampling.py', 'tests/qure/negatives/test_sampling.py']
    """
    path = Path(module)
    mirrored = sorted((root / "tests" / path.parent).glob(f"test_{path.stem}*.py"))
    names = [str(one.relative_to(root)) for one in mirrored]
    also = [f"tests/qure/{name}" for name in yaml.safe_load(GUARDING.read_text(encoding="utf-8")).get(module, [])]
    return [module, *names, *(one for one in also if one not in names)]


@dataclass
class Known:
    """What the run without any fault has told.

    Attributes:
        seconds: test -> what it took, with the fixtures that it was the first to ask for.
        reached: test -> lines in which the statements begin that it ran, in this process.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, set[int]] = field(default_factory=dict)

    def ordered(self, tests: Iterable[str], statement: int) -> list[str]:
        """Tests in the order in which they are asked about a fault in a statement; a file's stay together.

        >>> known = Known({"a::x": 1.0, "a::y": 2.0, "b::z": 0.5, "a::w": 0.1}, {"a::x": {7}, "a::y": {7}, "b::z": {8}})
        >>> known.ordered(["a::w", "a::y", "a::x", "b::z"], 7)
        ['a::x', 'a::y', 'a::w', 'b::z']
        """
        names = list(tests)
        away = {name: statement not in self.reached.get(name, ()) for name in names}
        totals: dict[tuple[bool, str], float] = defaultdict(float)
        for name in names:
            totals[away[name], _file(name)] += self.seconds.get(name, 0.0)

        def key(name: str) -> tuple[bool, float, str, float]:
            file = _file(name)
            return away[name], totals[away[name], file], file, self.seconds.get(name, 0.0)

        return sorted(names, key=key)


class Guards:
    """A module's tests.

    Args:
        module: path below the project's root.
        copied: the copy of the project that is run.
        tests: files.
    """

    def __init__(self, module: str, copied: Path, tests: Iterable[str]) -> None:
        self._module, self._copied, self._tests = module, copied, list(tests)
        self._known: Known | None = None
        tree = ast.parse((copied / module).read_bytes())
        self._statements = sorted({one.lineno for one in ast.walk(tree) if isinstance(one, ast.stmt)})

    def run(self, limit: float, *, line: int | None = None) -> tuple[str, str]:
        """Runs the tests until one fails.

        Args:
            limit: seconds for all of them.
            line: where a fault is; None: there is none, and what the tests take and reach is remembered.

        Returns:
            "passed", "failed" or "timed out", and the first that failed.
        """
        statement = None if line is None else max((one for one in self._statements if one <= line), default=0)
        context = multiprocessing.get_context("fork")
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=self._child, args=(sending, statement))
        process.start()
        sending.close()
        told, deadline = None, time.monotonic() + limit
        try:
            while told is None and process.exitcode is None and time.monotonic() < deadline:
                # Looked at again each second: a process that the tests have left behind keeps the pipe open.
                multiprocessing.connection.wait([receiving, process.sentinel], 1)
                if receiving.poll():
                    with suppress(EOFError):
                        told = receiving.recv()
                    break
            ended = told is not None or process.exitcode is not None
        finally:  # also where this process is told to end: no signal reaches a group of their own
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)  # with whatever the tests have started
            process.kill()  # it may not have its group yet
            process.join()
        if told is None:
            hung = self._stacks.is_file() and self._stacks.stat().st_size > 0
            return ("failed", "died") if ended and not hung else ("timed out", "")
        failed, seconds, reached = told
        if statement is None:
            self._known = Known(seconds, reached)
        return ("failed", failed) if failed else ("passed", "")

    @property
    def _stacks(self) -> Path:
        """Where a test that hangs leaves what it was doing, beside the copy."""
        return Path(f"{self._copied}.stacks")

    def _child(self, sending: Any, statement: int | None) -> None:
        """Sends the first failure, or an empty text, and what is known of the tests."""
        from hypothesis import Phase, settings

        # One failing example is enough, nobody reads the smallest one; and a busy machine is no fault.
        settings.register_profile("planted", phases=[Phase.explicit, Phase.reuse, Phase.generate], deadline=None)
        settings.load_profile("planted")
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.chdir(self._copied)
        os.environ["PYTHONPATH"] = str(self._copied)  # for what the tests start
        # A fault of the same second and size would be taken for the one before it.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.path.insert(0, str(self._copied))
        for name in [name for name in sys.modules if name.partition(".")[0] in PROJECT]:
            del sys.modules[name]  # this program's own are the original's
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        watching = _Watching(self._known, statement, self._stacks, str(self._copied / self._module))
        # Beside the copy: many a fault leaves its process no time to clear away.
        code = pytest.main([*_TESTS, "--basetemp", f"{self._copied}.tests", *self._tests], plugins=[watching])
        failed = "" if code == 0 else watching.failed or f"pytest ended with {int(code)}"
        sending.send((failed, watching.seen.seconds, watching.seen.reached))
        os._exit(0)


class _Watching:
    """Orders the tests, ends one that hangs, and remembers the first that failed and what each took and reached."""

    def __init__(self, known: Known | None, statement: int | None, stacks: Path, module: str) -> None:
        self._known, self._statement, self._module = known, statement, module
        self._stacks = stacks.open("w", encoding="utf-8")
        self.statements: set[int] = set()
        self.seen = Known()
        self.failed = ""

    def pytest_configure(self) -> None:
        if self._statement is None:
            builtins._qure_reached = self.statements.add  # type: ignore[attr-defined]
            sys.meta_path.insert(0, _Finder(self._module))  # before pytest's own, which loads files that it is given

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._known is not None and self._statement is not None:
            names = self._known.ordered((item.nodeid for item in items), self._statement)
            place = {name: number for number, name in enumerate(names)}
            items.sort(key=lambda item: place[item.nodeid])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        name, started = item.nodeid, time.monotonic()
        if self._known is not None and self._known.seconds:
            patience = max(_LEAST_PATIENCE, _PATIENCE * max(self._known.seconds.values()))
            faulthandler.dump_traceback_later(patience, file=self._stacks, exit=True)
        self.statements.clear()
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()
            self.seen.seconds[name] = time.monotonic() - started
            self.seen.reached[name] = set(self.statements)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.failed:
            self.failed = f"collecting {report.nodeid}"


class _Telling(SourceFileLoader):
    """Loads a module whose functions say which of their statements are run; its text on the disk stays as it is."""

    def source_to_code(self, data: Any, path: Any, *arguments: Any, **named: Any) -> Any:
        return super().source_to_code(telling(data), path, *arguments, **named)


class _Finder(MetaPathFinder):
    """Finds one file's module for `_Telling`."""

    def __init__(self, file: str) -> None:
        self._file = file

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin != self._file:
            return None
        found.loader = _Telling(fullname, self._file)
        return found


def telling(source: bytes) -> ast.Module:
    """Source whose functions call `_qure_reached` with the line of each statement before they run it.

    >>> print(ast.unparse(telling(b"A = 1\\ndef f(a):\\n    'Text.'\\n    if a:\\n        return 2")))
    A = 1
    <BLANKLINE>
    def f(a):
        \"\"\"Text.\"\"\"
        _qure_reached(4)
        if a:
            _qure_reached(5)
            return 2
    """
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    # A function inside another is met twice.
    for node in {id(inner): inner for one in functions for inner in ast.walk(one)}.values():
        for name, body in ast.iter_fields(node):
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and name == "body"
                kept = int(documented and ast.get_docstring(node, clean=False) is not None)  # type: ignore[arg-type]
                told = [part for one in body[kept:] for part in (_call(one), one)]
                setattr(node, name, [*body[:kept], *told])
    return ast.fix_missing_locations(tree)


def _call(statement: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name("_qure_reached", ast.Load()), [ast.Constant(statement.lineno)], [])
    return ast.copy_location(ast.Expr(call), statement)


def _file(test: str) -> str:
    return test.partition("::")[0]
