"""One page of what is measured: tables and a figure, made of benchmarks/results and of nothing else.

python -m benchmarks.page            # writes docs/benchmarks.md and docs/images/benchmarks.png
python -m benchmarks.page --check    # fails when the page does not say what the results say
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.sections import SECTIONS, Row
from qure.files import atomic_file

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, IMAGE = DOCS / "benchmarks.md", DOCS / "images" / "benchmarks.png"


def text(results: Path = RESULTS) -> str:
    """The page."""
    parts = [
        "# Benchmarks",
        "`make bench` runs every benchmark that a machine can run and writes this page. A result is a file in "
        "`benchmarks/results/`, with the machine, the commit and the date that its numbers hold for. "
        "Compare rows of one table only: tables are of different machines and days.",
        "![How many times better, by benchmark](images/benchmarks.png)",
    ]
    for section in SECTIONS:
        found = _result(section.name, results)
        command = f"`python -m benchmarks.{section.name}`"
        parts.append(f"## {section.title}\n\n{section.says}")
        parts.append(f"Not measured yet: {command}." if found is None else _table(list(section.rows(found))))
        if found is not None:
            parts.append(f"{command}: {circumstances(found)}.")
    parts.append(
        "What the strategies do to the results is in [ablation.md](ablation.md), what separates healthy from collapsed "
        "models in [evaluation.md](evaluation.md)."
    )
    return "\n\n".join(parts) + "\n"


def circumstances(found: dict[str, Any]) -> str:
    """Where and when, in words; of several processors each."""
    measured = [one["measured"] for one in found.get("processors", [found])]
    return "; ".join(
        f"{one['machine']['accelerator'] or one['machine']['processor']}, {one['machine']['cores']} cores, "
        f"torch {one['versions']['torch']}, {one['date'][:10]}, commit {(one['commit'] or 'unknown')[:7]}"
        + (" with changes" if str(one["commit"]).endswith("+changes") else "")
        for one in measured
    )


def draw(results: Path, image: Path) -> None:
    """Bars of how many times better, on a logarithmic axis, a colour a benchmark."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    bars = [
        (f"{section.title}: {row.what}", row.times, f"C{number}")
        for number, section in enumerate(SECTIONS)
        if (found := _result(section.name, results)) is not None
        for row in section.rows(found)
        if row.times is not None
    ]
    figure, axes = plt.subplots(figsize=(9, 0.3 * len(bars) + 1), layout="constrained")
    names, times, colours = zip(*reversed(bars), strict=True)
    axes.barh(range(len(bars)), [value - 1 for value in times], left=1, color=colours)
    axes.set(yticks=range(len(bars)), yticklabels=names, xscale="log", xlabel="times faster, or less memory")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.axvline(1, color="black", linewidth=1)
    for place, value in enumerate(times):
        axes.text(max(value, 1), place, f" {value:.1f}", va="center")
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(image) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def write() -> Path:
    """Writes page and figures."""
    from benchmarks import growth

    draw(RESULTS, IMAGE)
    grown = _result("growth", RESULTS)
    if grown is not None:
        growth.draw(grown, IMAGE.with_name("growth.png"))
    with atomic_file(PAGE) as temporary:
        temporary.write_text(text(), encoding="utf-8")
    return PAGE


def _result(name: str, results: Path) -> dict[str, Any] | None:
    file = results / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _table(rows: list[Row]) -> str:
    compared = any(row.before is not None for row in rows)
    lines = ["| | before | now | times |", "|---|---|---|---|"] if compared else ["| | now |", "|---|---|"]
    for row in rows:
        now, before = (_number(value, row.unit) for value in (row.now, row.before))
        times = f"{row.times:.1f}" if row.times is not None else ""
        lines.append(f"| {row.what} | {before} | {now} | {times} |" if compared else f"| {row.what} | {now} |")
    return "\n".join(lines)


def _number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.{0 if value >= 1000 else 4}{'f' if value >= 1000 else 'g'}} {unit}"


def main(arguments: list[str]) -> int:
    """Writes, or with --check compares."""
    if arguments == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text()
        print("current" if current else f"{PAGE}: not current: run `python -m benchmarks.page`")
        return 0 if current else 1
    print(write())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
