"""The ablation's page: a table that fits, and the figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qure.evaluation.wording import number, short_name
from qure.pages.markdown import Page, Picture, prose, table
from qure.pages.numbers import compared_by
from qure.pages.pictures import fitted
from qure.progress import counted


def ablation_page(results: Mapping[str, Any], folder: Path) -> Page:
    """Which way to choose negatives works.

    Args:
        results: what `qure.ablation.stage.ablate` returns.
        folder: its output folder, for the figure.
    """
    metric, arms = compared_by(results["arms"]), results["arms"]
    best = max(arms, key=lambda arm: arm["metrics"][metric]["mean"])
    said = [one["differences"][metric]["verdict"] for one in arms if metric in one["differences"]]
    counts = ", ".join(f"{said.count(outcome)} {outcome}" for outcome in ("above", "level", "below"))
    page = Page(
        f"Ablation on {results['training_set']}",
        f"Best in {short_name(metric)} is {best['arm']} with {number(best['metrics'][metric]['mean'])}.",
        [
            ("Arms", f"{len(arms)}, {counted(len(best['metrics'][metric]['values']), 'seed')} each"),
            (f"Against {results['baseline']}", counts if said else "nothing was compared, as it was not run"),
        ],
    )
    rows = []
    for arm in sorted(arms, key=lambda one: -one["metrics"][metric]["mean"]):
        gap = arm["differences"].get(metric)
        change = f"{gap['value']:+.1f} ({gap['low']:+.1f} to {gap['high']:+.1f})" if gap else ""
        rows.append([prose(arm["arm"]), number(arm["metrics"][metric]["mean"]), change, gap["verdict"] if gap else ""])
    page.section("Arms, best first", table(["arm", short_name(metric), "difference", "verdict"], rows))
    if (folder / "figure.png").is_file():
        page.section("Figure", [Picture("every arm with its interval", fitted(folder / "figure.png"))])
    page.section("More", prose("Every number, and what they mean: report.html and results.csv in the folder ablation."))
    return page
