"""Writes each component's README.md from its docstring and its interface.

python -m components.readme          # write
python -m components.readme --check  # fail when one is not current
"""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
#: What a component uses besides its one step.
_BESIDE = ("qure.files", "qure.config", "qure.benchmarks", "qure.pages", "qure.tracking", "qure.registry.labels")


def names() -> list[str]:
    """Every component, in the order of its folder's name."""
    return sorted(file.parent.name for file in ROOT.glob("*/component.py"))


def component(name: str) -> Any:
    """A component's factory, as kfp made it."""
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def readme(name: str) -> str:
    """The README.md of a component."""
    made = component(name)
    summary, _, rest = _description(made).partition("\n\n")
    inputs, outputs = made.component_spec.inputs or {}, made.component_spec.outputs or {}
    parts = [f"# {name}", summary, *([rest] if rest else [])]
    if inputs:
        parts.append("## Inputs\n\n" + _table(inputs))
    if outputs:
        parts.append("## Outputs\n\n" + _table(outputs, _output_texts(made)))
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


def _description(made: Any) -> str:
    """The docstring up to its first section."""
    text = _docstring(made)
    return re.split(r"\n\s*(?:Args|Returns|Raises):\n", text)[0].strip()


def _docstring(made: Any) -> str:
    import inspect

    return inspect.cleandoc(made.python_func.__doc__ or "")


def _output_texts(made: Any) -> dict[str, str]:
    """What the docstring says of outputs: artifacts stand under Args, a lone return value under Returns."""
    text = _docstring(made)
    texts = {
        name: _plain(found) for name, found in re.findall(r"^    (\w+): ((?:.+\n?(?:        .+\n?)*))", text, re.M)
    }
    returned = re.search(r"^Returns:\n((?:    .+\n?)+)", text, re.M)
    if returned and "Output" in (made.component_spec.outputs or {}):
        texts["Output"] = _plain(returned[1])
    return texts


def _plain(text: str) -> str:
    return " ".join(text.split())


def _table(ports: dict[str, Any], texts: dict[str, str] | None = None) -> str:
    rows = ["| name | type | what |", "|---|---|---|"]
    for name, port in ports.items():
        kind = port.type.split("@")[0].removeprefix("system.")
        kind = f"list of {kind}" if port.is_artifact_list else kind
        text = (texts or {}).get(name) or port.description or "The run's final state, filled in by Kubeflow."
        rows.append(f"| `{name}` | {kind} | {_plain(text)} |")
    return "\n".join(rows)


def _where(name: str, made: Any) -> str:
    """The one step from the task to the library."""
    import inspect

    source = inspect.getsource(made.python_func)
    called = re.findall(r"from (qure\.[\w.]+) import ([\w, ]+)", source)
    stages = [
        f"`{imported.split(' as ')[0]}` in `{module.replace('.', '/')}.py`"
        for module, imports in called
        if not module.startswith(_BESIDE)
        for imported in imports.split(", ")
        if imported[0].islower()
    ]
    lines = [f"Component: `components/{name}/component.py`."]
    if stages:
        lines.append(f"Library: {', '.join(stages)}.")
    return " ".join(lines)


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
