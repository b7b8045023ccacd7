"""The pages of registration, promotion and the check of the champion: the verdict first, then why."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qure.benchmarks import get_benchmark
from qure.evaluation.findings import read_findings
from qure.evaluation.wording import difference, number, short_name
from qure.files import read_json
from qure.pages.evaluation import SHOWN, findings_list, metrics_table
from qure.pages.markdown import Page, Part, prose, table

#: Characters; "md5:", 32 digits and ".dir" are fewer.
LONGEST_FINGERPRINT = 45


def registration_page(registration: Mapping[str, Any]) -> Page:
    """What was registered.

    Args:
        registration: what `qure.registry.stage.register` returns.
    """
    metrics = registration["metrics"]
    page = Page(
        f"Registration of {registration['name']}",
        registration["verdict"],
        [
            ("Model", registration["model_fingerprint"][:12]),
            ("Data", _short(registration["data_fingerprint"])),
            ("Code", _short(registration["commit"])),
            ("In the registry as", registration["model_uri"]),
            *(("Shifted data", sentence) for sentence in registration["drift"]),
        ],
    )
    rows = [
        [prose(name.partition("/")[0]), short_name(name.partition("/")[2]), number(value)]
        for name, value in metrics.items()
        if name.partition("/")[2] in SHOWN
    ]
    page.section("Metrics, percent", table(["benchmark", "metric", "value"], rows))
    return page


def promotion_page(training_set: str, decision: Mapping[str, Any], evaluation: Path) -> Page:
    """Whether the model became champion, and why.

    Args:
        training_set: which.
        decision: what `qure.registry.stage.promote` returns.
        evaluation: evaluate stage's folder of the challenger.

    Raises:
        BadInput: the evaluation is missing or damaged.
    """
    before = decision["champion_before"]
    page = Page(
        f"Promotion of {decision['name']} version {decision['version']}",
        decision["verdict"],
        [
            ("Champion before", "nobody" if before is None else f"version {before}"),
            ("Loads and answers", "yes" if decision["checks"].get("loads") else "no"),
            ("Collapsed", ", ".join(decision["checks"].get("collapsed", [])) or "no"),
            *_thresholds(decision["checks"].get("thresholds", {})),
        ],
    )
    page.section("Against the champion", *_comparison(decision["comparison"]))
    findings = read_findings(evaluation)
    if findings:
        page.section("What is wrong", findings_list(findings))
    folder = get_benchmark(training_set).folder
    metrics, intervals = (read_json(evaluation / name)[folder] for name in ("metrics.json", "intervals.json"))
    page.section("The model, percent", metrics_table(metrics, intervals))
    return page


def check_page(check: Mapping[str, Any]) -> Page:
    """Whether the champion still holds on fresh data.

    Args:
        check: what `qure.registry.monitoring.check_champion` returns.
    """
    page = Page(
        f"Check of {check['name']} version {check['version']}",
        check["verdict"],
        [*_thresholds(check["thresholds"]), *(("Shifted data", sentence) for sentence in check["drift"])],
    )
    if not check["drift_known"]:
        page.facts.append(("Shifted data", "unknown, as the champion has left no statistics of its training data"))
    rows = [
        [prose(name.partition("/")[0]), short_name(name.partition("/")[2]), number(value)]
        for name, value in check["metrics"].items()
        if name.partition("/")[2] in SHOWN
    ]
    page.section("Metrics, percent", table(["benchmark", "metric", "value"], rows))
    return page


def _short(fingerprint: str) -> str:
    """A fingerprint that fits: DVC's md5 whole, a longer one cut."""
    return fingerprint if len(fingerprint) <= LONGEST_FINGERPRINT else f"{fingerprint[:LONGEST_FINGERPRINT]}…"


def _thresholds(thresholds: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str]]:
    return [
        (f"Required {name}", f"{one['least']:g}, reached {number(one['value'], 2)}") for name, one in thresholds.items()
    ]


def _comparison(comparison: Mapping[str, Any] | None) -> list[Part]:
    if comparison is None:
        return []
    gap = difference(comparison["difference"], (comparison["low"], comparison["high"]))
    row = [short_name(comparison["metric"]), number(comparison["a"]), number(comparison["b"]), gap]
    risk = (
        f"On the same {comparison['queries']:,} queries; worse in {100 * comparison['risk']:.1f} % of resamples, "
        f"allowed are {100 * comparison['max_risk']:g} %."
    )
    return [table(["metric", "challenger", "champion", "difference"], [row]), risk]
