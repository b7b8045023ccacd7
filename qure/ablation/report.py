"""The ablation as one self-contained page: the verdict first, then the figure and the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from qure.ablation.page import FACTS_HEAD, LEGEND, METRICS, shown_difference, shown_estimate, shown_facts
from qure.ablation.summary import NDCG, RECALL, Line
from qure.evaluation.report.pictures import plot_uri
from qure.files import atomic_file


def write_report(
    file: Path,
    lines: Sequence[Line],
    *,
    training_set: str,
    baseline: str,
    circumstances: Mapping[str, Any],
    figure: Path,
) -> None:
    """Writes the page.

    Args:
        file: HTML file, written whole or not at all.
        lines: one per arm.
        training_set: which.
        baseline: name of the arm that differences are to.
        circumstances: what was held fixed.
        figure: PNG file that goes into the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qure.ablation", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    metrics = [name for name in METRICS if name in lines[0].metrics]
    page = environment.get_template("report.html.j2").render(
        title=f"Which negatives? Ablation on {training_set}",
        verdict=verdict(lines, baseline),
        circumstances=circumstances,
        figure=plot_uri(figure),
        metrics=[METRICS[name] for name in metrics],
        groups=[
            (group, [_row(line, metrics, baseline) for line in lines if line.arm.group == group])
            for group in dict.fromkeys(line.arm.group for line in lines)
        ],
        compared=METRICS[_metric(lines)],
        facts=FACTS_HEAD,
        legend=LEGEND.replace("**", ""),
    )
    with atomic_file(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def verdict(lines: Sequence[Line], baseline: str) -> str:
    """What decides, in a few sentences: who is above, level with and below the baseline, and who is best.

    Args:
        lines: one per arm.
        baseline: name of the arm that differences are to; it may not have been run.
    """
    metric = _metric(lines)
    best = max(lines, key=lambda line: line.metrics[metric].mean)
    sentences = [
        f"Best in {METRICS[metric]} is “{best.arm.title}” with {shown_estimate(best.metrics[metric])}"
        f"{' (the baseline)' if best.arm.name == baseline else ''}."
    ]
    own = next((line for line in lines if line.arm.name == baseline), None)
    compared = [line for line in lines if metric in line.differences]
    if own is not None and compared:
        of = {
            outcome: [line.arm.title for line in compared if line.differences[metric].verdict == outcome]
            for outcome in ("above", "level", "below")
        }
        counts = f"{len(of['above'])} above, {len(of['level'])} level with and {len(of['below'])} below it"
        sentences.append(f"Against the baseline “{own.arm.title}” under the same budget: {counts}.")
        for outcome in ("above", "below"):
            if of[outcome]:
                sentences.append(f"{outcome.capitalize()}: {'; '.join(of[outcome])}.")
    else:
        sentences.append("The baseline was not run, so nothing is compared with it.")
    if len(lines[0].metrics[metric].values) == 1:
        sentences.append("One seed only: what another seed would change is unknown.")
    return " ".join(sentences)


def _metric(lines: Sequence[Line]) -> str:
    """nDCG@10, or R@10 where the truth is unknown."""
    return NDCG if NDCG in lines[0].metrics else RECALL


def _row(line: Line, metrics: Sequence[str], baseline: str) -> dict[str, Any]:
    difference = line.differences.get(NDCG) or line.differences.get(RECALL)
    return {
        "title": line.arm.title,
        "is_baseline": line.arm.name == baseline,
        "metrics": [shown_estimate(line.metrics[name]) for name in metrics],
        "difference": shown_difference(difference, bold="") if difference else "",
        "verdict": difference.verdict if difference else "",
        "facts": shown_facts(line),
    }
