"""Would the tests notice? Plants one small fault at a time into a copy of the project and runs the module's tests.

    python -m benchmarks.mutation qure/training/step.py qure/negatives/sampling.py [--sample 40] [--seed 0]

Faults: a comparison turned, `and` for `or`, a sign or a mask operator exchanged, a number one larger, True for False, a
condition negated, a statement left out, None returned, `continue` for `break`. A module's tests are those that mirror
it (qure/a/b.py: tests/qure/a/test_b*.py), those that guarding_tests.yaml names, and the module's doctests. A fault is killed when one
of them fails or runs many times longer than before; equivalent_mutants.yaml names faults that change nothing a caller
can see, with the reason, and these are left out. Writes results/mutation.json: kill rate and survivors per module;
what it holds of other modules stays. Not part of CI: a mutant costs seconds of a processor.
"""

import argparse
import ast
import copy
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import RESULTS, circumstances, write_result

ROOT = Path(__file__).parents[1]
ACCEPTED = Path(__file__).with_name("equivalent_mutants.yaml")
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

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        line: 1-based.
        kind: what was done.
        before, after: the place's text, as it was and with the fault.
        start, stop: the place, in bytes of the source.
    """

    line: int
    kind: str
    before: str
    after: str
    start: int
    stop: int

    def planted(self, source: bytes) -> bytes:
        """The source with the fault."""
        return source[: self.start] + self.after.encode() + source[self.stop :]


def mutants(source: bytes) -> list[Mutant]:
    """Every fault that can be planted, in the order of the source."""
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    found = {}
    for node, kind, changed in _changes(ast.parse(source)):
        assert isinstance(node, ast.stmt | ast.expr)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(changed)
        if isinstance(node, ast.expr) and not isinstance(node, ast.Constant):
            after = f"({after})"
        mutant = Mutant(node.lineno, kind, source[start:stop].decode(), after, start, stop)
        found[start, stop, after] = mutant
    return sorted(found.values(), key=lambda one: (one.start, one.stop, one.after))


def _changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """A node, what is done to it, and what takes its place."""
    for node in _reached(tree):
        match node:
            case ast.Compare(ops=[operator]):
                yield node, "comparison", _with(node, ops=[_COMPARISONS[type(operator)]()])
            case ast.BoolOp():
                yield node, "and/or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                yield node, "arithmetic", _with(node, op=_ARITHMETIC[type(node.op)]())
            case ast.UnaryOp(op=ast.Not()):
                yield node, "not", node.operand
            case ast.UnaryOp(op=ast.USub() | ast.Invert()):
                yield node, "sign", node.operand
            case ast.Constant(value=bool(value)):
                yield node, "constant", ast.Constant(not value)
            case ast.Constant(value=int(value) | float(value)):
                yield node, "constant", ast.Constant(value + 1)
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
                yield test, "condition", ast.UnaryOp(ast.Not(), test)
            case ast.Expr(value=ast.Call() | ast.Yield()) | ast.Raise() | ast.AugAssign() | ast.Delete():
                yield node, "statement left out", ast.Pass()
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield node, "statement left out", ast.Pass()
            case ast.Return(value=ast.expr()) if not _is_none(node.value):
                yield node, "None returned", ast.Return(ast.Constant(None))
            case ast.Continue():
                yield node, "loop", ast.Break()
            case ast.Break():
                yield node, "loop", ast.Continue()


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below one, without what does not run or has no place of its own: annotations, assertions, f-strings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr | ast.Assert):
                yield child
                yield from _reached(child)


def _with(node: ast.AST, **changes: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _is_none(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


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


def examined(module: str, copied: Path, *, sample: int | None, seed: int) -> dict[str, Any]:
    """Plants a module's faults, one after the other, into the copy of the project.

    Args:
        module: path below the project's root.
        copied: a copy of the project that may be changed.
        sample: so many faults, drawn without repetition; None: all.
        seed: of the draw.

    Returns:
        what the result file holds of the module.

    Raises:
        SystemExit: the module has no mirrored tests, or they fail without any fault.
    """
    tests = guarding(module, copied)
    if len(tests) < 2:
        raise SystemExit(f"{module} has no mirrored test")
    source = (copied / module).read_bytes()
    every = mutants(source)
    accepted = Accepted.of(module, source)
    drawn = every if sample is None or sample >= len(every) else random.Random(seed).sample(every, sample)
    started = time.monotonic()
    ended, failed = _tested(copied, tests, 600)
    if ended != "passed":
        raise SystemExit(f"the tests of {module} fail without any fault: {failed}")
    limit = max(30.0, 5 * (time.monotonic() - started))
    counts: Counter[str] = Counter()
    survivors, killers = [], Counter[str]()
    for mutant in sorted(drawn, key=lambda one: one.start):
        if mutant in accepted:
            counts["equivalent"] += 1
            continue
        (copied / module).write_bytes(mutant.planted(source))
        ended, failed = _tested(copied, tests, limit)
        counts[ended] += 1
        killers.update([failed.split("[")[0]] if failed else [])
        print(
            f"{module}:{mutant.line} {mutant.kind}: {mutant.before!r} -> {mutant.after!r}: {ended} {failed}", flush=True
        )
        if ended == "passed":
            survivors.append({name: asdict(mutant)[name] for name in ("line", "kind", "before", "after")})
    (copied / module).write_bytes(source)
    run = counts["failed"] + counts["timed out"] + counts["passed"]
    return {
        "tests": tests,
        "mutants": len(every),
        "sampled": len(drawn),
        "seed": seed,
        "equivalent": counts["equivalent"],
        "killed": counts["failed"],
        "timed_out": counts["timed out"],
        "survived": counts["passed"],
        "kill_rate": round((run - counts["passed"]) / run, 3) if run else None,
        "survivors": survivors,
        "killers": dict(killers.most_common()),
    }


class Accepted:
    """Faults of a module that nobody can tell from none.

    Args:
        rows: what equivalent_mutants.yaml holds of the module: before, after, why, and in which line where it is not
            the same everywhere ("in", a part of the line).
        source: of the module.

    Raises:
        SystemExit: a row names no fault that could be planted: the code has changed since.
    """

    def __init__(self, module: str, rows: list[dict[str, str]], source: bytes) -> None:
        self._rows = rows
        self._lines = source.decode().splitlines()
        every = mutants(source)
        for row in rows:
            if not any(self._means(row, one) for one in every):
                raise SystemExit(
                    f"{ACCEPTED.name}: {module} has no fault {row['before']!r} -> {row['after']!r} any more"
                )

    @classmethod
    def of(cls, module: str, source: bytes) -> "Accepted":
        return cls(module, yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")).get(module, []), source)

    def __contains__(self, mutant: Mutant) -> bool:
        return any(self._means(row, mutant) for row in self._rows)

    def _means(self, row: dict[str, str], mutant: Mutant) -> bool:
        same = (row["before"], row["after"]) == (mutant.before, mutant.after)
        return same and row.get("in", "") in self._lines[mutant.line - 1]


def _tested(copied: Path, tests: Iterable[str], limit: float) -> tuple[str, str]:
    """Runs tests in a process of their own: "passed", "failed" or "timed out", and the first that failed."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run_tests, args=(copied, list(tests), sending))
    process.start()
    sending.close()
    process.join(limit)
    if process.exitcode is None:
        process.kill()
        process.join()
        return "timed out", ""
    failed = receiving.recv() if receiving.poll() else "died"
    return ("failed", failed) if failed else ("passed", "")


def _run_tests(copied: Path, tests: list[str], sending: Any) -> None:
    """Reports the first failure, or an empty text."""
    import pytest

    class First:
        failed = ""

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.failed and not self.failed:
                self.failed = report.nodeid

        def pytest_collectreport(self, report: Any) -> None:
            if report.failed and not self.failed:
                self.failed = f"collecting {report.nodeid}"

    os.chdir(copied)
    os.environ["PYTHONPATH"] = str(copied)  # for what the tests start
    # A fault of the same second and size would be taken for the one before it.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.path.insert(0, str(copied))
    for name in [name for name in sys.modules if name.partition(".")[0] in PROJECT]:
        del sys.modules[name]  # this program's own are the original's
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    first = First()
    code = pytest.main([*_TESTS, *tests], plugins=[first])
    sending.send("" if code == 0 else first.failed or f"pytest ended with {int(code)}")
    os._exit(0)


def copied_project(folder: Path) -> Path:
    """A copy of the project's files as they are now, those that git ignores left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", metavar="MODULE", help="a path such as qure/training/step.py")
    parser.add_argument("--sample", type=int, help="so many faults of each module, drawn; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--dry-run", action="store_true", help="plant and test, write no result")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in LIBRARIES:
        __import__(name)
    kept = RESULTS / "mutation.json"
    found = json.loads(kept.read_text(encoding="utf-8"))["modules"] if kept.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="qure-mutation.") as scratch:
        copied = copied_project(Path(scratch))
        for module in options.modules:
            result = examined(module, copied, sample=options.sample, seed=options.seed)
            around = circumstances()
            found[module] = {**result, "commit": around["commit"], "date": around["date"]}
            print(f"{module}: {result['kill_rate']}", flush=True)
            if not options.dry_run:
                write_result("mutation", {"modules": dict(sorted(found.items()))})


if __name__ == "__main__":
    main()
