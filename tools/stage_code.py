"""Which code each stage of dvc.yaml runs, read from the imports, and dvc.yaml's lines that name it.

    python -m tools.stage_code            # writes the lines into dvc.yaml (`make deps`)
    python -m tools.stage_code --check    # exit 1 and the difference, when they are not current

A stage's code begins at what its command imports (`qure train` -> qure.training.stage) and is followed through every
import, those inside functions too; imports for type checkers alone are not run and do not count. Files that a module
names ("report.html.j2", "serving.py") belong to it. A folder is named whole when the stage runs most of it, so that
dvc.yaml stays readable; the command line itself is a wrapper and no stage's code.
"""

import argparse
import ast
import difflib
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "qure"

#: Imports of a command that decide none of its outputs, and why.
ONLY_SAYS = {
    "validate": {"qure.registry.drift": "compares with the champion for the log; the outputs are written before"}
}

#: What a benchmark does lies in files of its folder that are imported when it is asked for it, and a stage does not ask
#: for everything: an edited protocol must not train again.
JUDGING, CHECKING = ("protocol.py", "submission.py"), ("suites.py", "tables.py")
NOT_ASKED = {
    "validate": JUDGING,
    "backbone": JUDGING + CHECKING,
    "precompute": JUDGING + CHECKING,
    "train": JUDGING + CHECKING,
    "evaluate": CHECKING,
    "register": CHECKING,
    "promote": CHECKING,
}

#: Files that a module names and that dvc.yaml follows in another way.
FOLLOWED_ELSEWHERE = {"qure/recipes": "the recipe that is used is a parameter file of train"}

#: A folder is named whole when the stage runs at least this share of its files.
WHOLE_FROM = 0.75


class Code:
    """The files of the package and what each of them runs.

    Args:
        root: folder that holds the package.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.files = {
            path.relative_to(root).as_posix()
            for path in (root / PACKAGE).rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        self.files = {file for file in self.files if not file.startswith(tuple(f"{x}/" for x in FOLLOWED_ELSEWHERE))}

    def of_command(self, command: str) -> set[str]:
        """Files that a command of the command line runs, the command line's own excepted."""
        imported = self._imported_by_command(command) - set(ONLY_SAYS.get(command, {}))
        unasked = {
            file
            for name in NOT_ASKED.get(command, ())
            for file in self.files
            if Path(file).match(f"{PACKAGE}/benchmarks/*/{name}")
        }
        return self._reached((file for module in imported if (file := self._file(module))), unasked)

    def lines(self, command: str) -> list[str]:
        """What dvc.yaml names for a command: folders where most of them runs, else files; sorted."""
        return sorted(self._named(PACKAGE, self.of_command(command)))

    def _named(self, folder: str, needed: set[str]) -> Iterator[str]:
        inside = {file for file in self.files if file.startswith(f"{folder}/")}
        wanted = inside & needed
        if folder != PACKAGE and wanted and len(wanted) >= WHOLE_FROM * len(inside):
            yield folder
            return
        parts = {file.removeprefix(f"{folder}/").split("/")[0] for file in wanted}
        for part in parts:
            path = f"{folder}/{part}"
            if path in self.files:
                yield path
            else:
                yield from self._named(path, needed)

    def _reached(self, starts: Iterable[str], unasked: Set[str]) -> set[str]:
        found: set[str] = set()
        todo = list(starts)
        while todo:
            file = todo.pop()
            if file not in found and file not in unasked:
                found.add(file)
                todo += self._runs(file)
        return found

    @functools.cache  # noqa: B019 (one object lives as long as the program)
    def _runs(self, file: str) -> frozenset[str]:
        """Files that a file runs or reads directly: imports, the packages it lies in, files that it names."""
        if not file.endswith(".py"):
            return frozenset()
        tree = self._tree(file)
        found = {self._file(module) for module in self._imports(tree)}
        parents = Path(file).parents
        found |= {f"{folder.as_posix()}/__init__.py" for folder in parents if folder.parts}
        named = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        beside = f"{Path(file).parent.as_posix()}/"
        found |= {
            other
            for other in self.files
            if Path(other).name in named - {"__init__.py"} and (other.startswith(beside) or other.endswith(".py"))
        }
        if "import_module" in self._names(tree):  # packages beside it that it imports by name
            found |= {f"{beside}{name}/__init__.py" for name in named}
        return frozenset(other for other in found if other in self.files)

    @staticmethod
    def _names(tree: ast.Module) -> set[str]:
        return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    def _imports(self, tree: ast.AST) -> set[str]:
        """Modules of the package that a piece of code imports when it runs."""
        found = set()
        for node in _executed(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise ValueError(f"line {node.lineno}: relative imports are not followed; write the whole name")
                found |= {self._home(str(node.module), alias.name) for alias in node.names}
        return {module for module in found if self._file(module)}

    def _home(self, module: str, name: str) -> str:
        """The module that `from module import name` runs: a submodule, or where a package takes the name from."""
        if self._file(f"{module}.{name}"):
            return f"{module}.{name}"
        file = self._file(module)
        if file and file.endswith(
            "/__init__.py"
        ):  # packages whose names load late declare their homes for type checkers
            for node in ast.walk(self._tree(file)):
                if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                    return str(node.module)
        return module

    def _file(self, module: str) -> str | None:
        path = module.replace(".", "/")
        return next((file for file in (f"{path}.py", f"{path}/__init__.py") if file in self.files), None)

    def _imported_by_command(self, command: str) -> set[str]:
        for file in sorted(self.files):
            if file == f"{PACKAGE}/cli.py" or file.startswith(f"{PACKAGE}/cli/"):
                for node in ast.walk(self._tree(file)):
                    if isinstance(node, ast.FunctionDef) and node.name == command:
                        return self._imports(node)
        raise ValueError(f"`{PACKAGE} {command}`: the command line has no function of that name")

    @functools.cache  # noqa: B019
    def _tree(self, file: str) -> ast.Module:
        return ast.parse((self.root / file).read_text(encoding="utf-8"), filename=file)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        for_types = isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"
        if not for_types:
            yield from _executed(child)


def current(text: str, code: Code) -> str:
    """dvc.yaml's text with every stage's `- qure/...` dependencies as they should be; all else stays."""
    for stage, definition in yaml.safe_load(text)["stages"].items():
        command = re.match(rf"{PACKAGE} ([\w-]+)", definition.get("do", definition)["cmd"])
        if command:
            text = _with_lines(text, stage, code.lines(command[1]))
    return text


def _with_lines(text: str, stage: str, wanted: list[str]) -> str:
    lines = text.split("\n")
    start = lines.index(f"  {stage}:")
    deps = next(place for place in range(start, len(lines)) if lines[place].strip() == "deps:")
    indent = " " * (len(lines[deps]) - len(lines[deps].lstrip()) + 2)
    end = next((at for at in range(deps + 1, len(lines)) if not lines[at].startswith(f"{indent}- ")), len(lines))
    others = [line for line in lines[deps + 1 : end] if not line.startswith(f"{indent}- {PACKAGE}/")]
    lines[deps + 1 : end] = [f"{indent}- {path}" for path in wanted] + others
    return "\n".join(lines)


def main() -> int:
    """Writes or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when dvc.yaml is not current")
    check = parser.parse_args().check
    file = ROOT / "dvc.yaml"
    before = file.read_text(encoding="utf-8")
    after = current(before, Code())
    if check:
        sys.stdout.writelines(difference(before, after))
        return int(before != after)
    file.write_text(after, encoding="utf-8")
    return 0


def difference(before: str, after: str) -> list[str]:
    """The lines of dvc.yaml to take out and to add."""
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return list(difflib.unified_diff(old, new, "dvc.yaml", "dvc.yaml as it should be", n=8))


if __name__ == "__main__":
    sys.exit(main())
