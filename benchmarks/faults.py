"""Small faults that can be planted into a Python file, one at a time.

A comparison turned, `and` for `or`, a sign or a mask operator exchanged, a number one larger, True for False, a
condition negated, a statement left out, None returned, `continue` for `break`.
"""

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ACCEPTED = Path(__file__).with_name("equivalent_mutants.yaml")

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


class Accepted:
    """Faults of a module that nobody can tell from none.

    Args:
        rows: what equivalent_mutants.yaml holds of the module: before, after, why, and where it is not the same
            everywhere, which place ("in", a part of its line that holds its beginning).
        source: of the module.

    Raises:
        SystemExit: a row names no fault that could be planted: the code has changed since.
    """

    def __init__(self, module: str, rows: list[dict[str, str]], source: bytes) -> None:
        self._rows = rows
        self._source = source
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
        return same and self._is_in(row.get("in", ""), mutant)

    def _is_in(self, part: str, mutant: Mutant) -> bool:
        """Whether a part of the line holds the place's beginning; an empty one says nothing."""
        begins = self._source.rfind(b"\n", 0, mutant.start) + 1
        line = self._source[begins:].partition(b"\n")[0]
        return not part or any(
            found.start() <= mutant.start - begins < found.end()
            for found in re.finditer(re.escape(part.encode()), line)
        )


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
            case ast.If(test=ast.Name("TYPE_CHECKING")):  # mypy holds it
                continue
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
                yield test, "condition", ast.UnaryOp(ast.Not(), test)
            case ast.Expr(value=ast.Call() | ast.Yield()) | ast.Raise() | ast.AugAssign() | ast.Delete():
                yield node, "statement left out", ast.Pass()
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield node, "statement left out", ast.Pass()
            case ast.Return(value=ast.expr()) if not _is_nothing(node.value):
                yield node, "None returned", ast.Return(ast.Constant(None))
            case ast.Continue():
                yield node, "loop", ast.Break()
            case ast.Break():
                yield node, "loop", ast.Continue()


def _reached(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes below one, without what does not run or has no place of its own: annotations, assertions, f-strings.

    Nor what makes a dataclass frozen: mypy holds that nobody writes to one.
    """
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if name == "decorator_list" and ast.unparse(child).startswith("dataclass("):
                continue
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr | ast.Assert):
                yield child
                yield from _reached(child)


def _with(node: ast.AST, **changes: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _is_nothing(node: ast.AST | None) -> bool:
    """Whether a value is None, or False: that nobody returns None for it mypy holds, and who asks takes both for no."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
