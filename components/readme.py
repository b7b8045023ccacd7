"""Writes each component's README.md from its docstring, its interface and what it imports.

python -m components.readme          # write
python -m components.readme --check  # fail when one is not current
"""

import dis
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from docstring_parser.google import GoogleParser, Section, SectionType  # what kfp reads docstrings with

ROOT = Path(__file__).parent
#: What a component uses besides its one step.
_BESIDE = (
    "qure.files",
    "qure.config",
    "qure.benchmarks",
    "qure.datasets",
    "qure.pages",
    "qure.tracking",
    "qure.registry.labels",
)

_ARGS = Section("Args", "param", SectionType.MULTIPLE)
#: By whether a function returns one value, which kfp calls "Output", or several that have names.
_PARSERS = {
    True: GoogleParser([_ARGS, Section("Returns", "returns", SectionType.SINGULAR)]),
    False: GoogleParser([_ARGS, Section("Returns", "param", SectionType.MULTIPLE)]),
}


def names() -> list[str]:
    """Every component, in the order of its folder's name."""
    return sorted(file.parent.name for file in ROOT.glob("*/component.py"))


def component(name: str) -> Any:
    """A component's factory, as kfp made it."""
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def readme(name: str) -> str:
    """The README.md of a component."""
    made = component(name)
    inputs, outputs = made.component_spec.inputs or {}, made.component_spec.outputs or {}
    several = hasattr(inspect.signature(made.python_func).return_annotation, "_fields")
    said = _PARSERS["Output" in outputs and not several].parse(inspect.getdoc(made.python_func) or "")
    texts = {one.arg_name: one.description for one in said.params}
    texts |= {"Output": said.returns.description} if said.returns else {}
    parts = [f"# {name}", said.short_description, *([said.long_description] if said.long_description else [])]
    if inputs:
        parts.append("## Inputs\n\n" + _table(inputs, texts))
    if outputs:
        parts.append("## Outputs\n\n" + _table(outputs, texts))
    parts.append("## Where\n\n" + _where(name, made))
    parts.append("<!-- made from component.py by `python -m components.readme` -->")
    return "\n\n".join(parts) + "\n"


def outdated() -> list[str]:
    """Components whose README.md is not what their docstring says."""
    stale = []
    for name in names():
        file = ROOT / name / "README.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != readme(name):
            stale.append(name)
    return stale


def _table(ports: dict[str, Any], texts: dict[str, str | None]) -> str:
    rows = ["| name | type | what |", "|---|---|---|"]
    for name, port in ports.items():
        kind = port.type.split("@")[0].removeprefix("system.")
        kind = f"list of {kind}" if port.is_artifact_list else kind
        text = texts.get(name) or "The run's final state, filled in by Kubeflow."
        rows.append(f"| `{name}` | {kind} | {' '.join(text.split())} |")
    return "\n".join(rows)


def _where(name: str, made: Any) -> str:
    """The one step from the task to the library: what the function's code imports."""
    stages, module = [], ""
    for step in dis.get_instructions(made.python_func):
        if step.opname == "IMPORT_NAME":
            module = step.argval
        elif step.opname == "IMPORT_FROM" and step.argval[0].islower() and _is_stage(module):
            stages.append(f"`{step.argval}` in `{module.replace('.', '/')}.py`")
    lines = [f"Component: `components/{name}/component.py`."]
    if stages:
        lines.append(f"Library: {', '.join(stages)}.")
    return " ".join(lines)


def _is_stage(module: str) -> bool:
    return module.startswith("qure.") and not module.startswith(_BESIDE)


def main(arguments: list[str]) -> int:
    """Writes all READMEs, or with --check names those that are not current."""
    if arguments == ["--check"]:
        stale = outdated()
        for name in stale:
            print(f"components/{name}/README.md is not current: run `python -m components.readme`", file=sys.stderr)
        return 1 if stale else 0
    for name in names():
        (ROOT / name / "README.md").write_text(readme(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
