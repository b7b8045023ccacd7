"""What of tolerated bad rows every later stage leaves out."""

from collections.abc import Iterable, Mapping

from qure.benchmarks import get_benchmark
from qure.datasets.exclusions import Exclusions
from qure.validation.annotations import Annotations
from qure.validation.findings import BadRow, RuleOutcome


def exclusions(
    annotations: Mapping[str, Annotations], findings: Iterable[BadRow], outcomes: Iterable[RuleOutcome]
) -> dict[str, Exclusions]:
    """Benchmark -> images and queries that are left out.

    An image that is missing, cannot be used or repeats one of another split goes, in every benchmark that uses these
    images; a query with a bad row goes; of an image that two splits list, the training queries go.

    Args:
        annotations: all benchmarks' tables.
        findings: every bad row.
        outcomes: how each rule ended; only tolerated ones leave anything out.
    """
    tolerated = {
        (outcome.benchmark, outcome.rule, outcome.severity) for outcome in outcomes if outcome.outcome == "tolerated"
    }
    images: dict[str, set[str]] = {benchmark: set() for benchmark in annotations}
    queries: dict[str, set[str]] = {benchmark: set() for benchmark in annotations}
    leaked: dict[str, set[str]] = {benchmark: set() for benchmark in annotations}
    for finding in findings:
        if (finding.benchmark, finding.rule, finding.severity) not in tolerated:
            continue
        if finding.query is not None:
            queries[finding.benchmark].add(finding.query)
        elif finding.rule == "leakage" and finding.image is not None:
            leaked[finding.benchmark].add(finding.image)
        elif finding.image is not None:
            for benchmark in annotations:
                if get_benchmark(benchmark).images == finding.benchmark:
                    images[benchmark].add(finding.image)
    for benchmark, shared in leaked.items():
        queries[benchmark] |= _training_queries(annotations[benchmark], shared)
    return {
        benchmark: Exclusions(frozenset(images[benchmark]), frozenset(queries[benchmark])) for benchmark in annotations
    }


def _training_queries(annotations: Annotations, images: set[str]) -> set[str]:
    mentions = annotations.tables["mentions"]
    chosen = mentions["image"].isin(images) & mentions["key"].astype(str).str.startswith("train/")
    return set(mentions.loc[chosen, "key"])
