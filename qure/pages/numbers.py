"""About ten numbers of a run, named so that a page that sorts them by name shows the headline first.

Kubeflow Pipelines shows metrics by name, ten a page, and cuts names after about 22 characters when it compares runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from qure.benchmarks import get_benchmark, judged_on
from qure.evaluation.findings import METRIC
from qure.evaluation.wording import RANDOM, UNTRAINED, short_name
from qure.files import read_json, write_json
from qure.tracking.pages import HEADLINE

#: Characters of a name.
LONGEST = 20
#: Arms of an ablation that are shown beside the best one and the baseline.
ARMS = 8


class MetricsArtifact(Protocol):
    """What is used of a Metrics artifact of Kubeflow."""

    path: str
    metadata: dict[str, Any]


def show_numbers(metrics: MetricsArtifact, numbers: Mapping[str, float]) -> None:
    """Puts numbers into the metadata, which the pages read, and into the file.

    Without a file kfp's local cache would never serve the task.
    """
    metrics.metadata |= numbers
    write_json(Path(metrics.path), dict(numbers))


def headline_numbers(
    training_set: str, evaluation: Path, comparison: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """A model's main numbers, with two decimals.

    Args:
        training_set: which.
        evaluation: evaluate stage's folder.
        comparison: challenger against champion (`qure.registry.comparison.Comparison.record`), None without one.

    Returns:
        in the pages' order: R@10 with both ends of its interval, the difference to the champion, what the untrained
        backbone and chance reach, other main metrics, and how many findings there are. Percent.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    metrics, intervals = read_json(evaluation / "metrics.json"), read_json(evaluation / "intervals.json")
    own, *others = [get_benchmark(name) for name in judged_on(training_set)]
    values, bounds = metrics[own.folder], intervals[own.folder][METRIC]
    main = short_name(METRIC)
    found = {f"1 {main}": values[METRIC], f"2 {main} from": bounds[0], f"3 {main} to": bounds[1]}
    if comparison is not None:
        found["4 vs champion"] = comparison["difference"]
    for number, control, named in ((5, UNTRAINED, "untrained"), (6, RANDOM, "chance")):
        if METRIC in metrics["controls"].get(control, {}):
            found[f"{number} {named} {main}"] = metrics["controls"][control][METRIC]
    further = [name for name in HEADLINE if name in values and name != METRIC]
    found |= {f"{number} {short_name(name)}": values[name] for number, name in zip((7, 8), further, strict=False)}
    for other in others[:1]:
        for name in [name for name in HEADLINE if name in metrics.get(other.folder, {})][:1]:
            found[_short(f"9 {other.title} {short_name(name)}", f"9 {short_name(name)}")] = metrics[other.folder][name]
    found["findings"] = len(read_json(evaluation / "findings.json")["findings"])
    return rounded(found)


def ablation_numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """The main metric of the best arm, of the baseline, and of the best arms by their names; percent.

    Args:
        results: what `qure.ablation.stage.ablate` returns.
    """
    metric = compared_by(results["arms"])
    means = {arm["arm"]: arm["metrics"][metric]["mean"] for arm in results["arms"]}
    best = sorted(means, key=lambda arm: -means[arm])
    found = {f"1 best {short_name(metric)}": means[best[0]]}
    if results["baseline"] in means:
        found[f"2 baseline {short_name(metric)}"] = means[results["baseline"]]
    return rounded(found | {arm[:LONGEST]: means[arm] for arm in best[:ARMS]})


def compared_by(arms: Sequence[Mapping[str, Any]]) -> str:
    """nDCG@10, or R@10 where the truth is unknown."""
    return "ndcg_at_10" if "ndcg_at_10" in arms[0]["metrics"] else "recall_at_10"


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Two decimals each; never -0.0.

    >>> rounded({"a": 52.6316, "b": -0.001})
    {'a': 52.63, 'b': 0.0}
    """
    return {name: round(float(value), 2) + 0.0 for name, value in values.items()}


def _short(name: str, shorter: str) -> str:
    return name if len(name) <= LONGEST else shorter
