"""What tolerated bad rows take along, and whose."""

from typing import Any

import pandas as pd
import pytest

from qure.datasets.exclusions import Exclusions
from qure.validation.annotations import MENTION_COLUMNS, Annotations
from qure.validation.exclude import exclusions
from qure.validation.findings import BadRow, RuleOutcome

MENTIONS = [
    ("train/dress/0", "target", "shared", "dress/train"),
    ("train/dress/1", "candidate", "shared", "dress/train"),
    ("train/dress/2", "target", "other", "dress/train"),
    ("val/dress/0", "target", "shared", "dress/val"),
    ("trained/dress/0", "target", "shared", None),
    (None, "target", "shared", None),
]


@pytest.fixture(scope="module")
def annotations() -> dict[str, Annotations]:
    mentions = pd.DataFrame(MENTIONS, columns=list(MENTION_COLUMNS))
    return {name: Annotations(name, {"mentions": mentions}) for name in ("fashioniq", "hp-fashioniq", "cirr")}


def bad(rule: str, benchmark: str = "fashioniq", severity: Any = "error", **more: str) -> BadRow:
    return BadRow(rule, benchmark, "file.json", 0, "field", "'value'", "reason", severity, **more)


def ended(finding: BadRow, outcome: str = "tolerated") -> RuleOutcome:
    return RuleOutcome(finding.benchmark, finding.rule, finding.severity, 1, 1, outcome)


def left_out(annotations: dict[str, Annotations], *findings: BadRow) -> dict[str, Exclusions]:
    found = exclusions(annotations, findings, [ended(finding) for finding in findings])
    assert list(found) == list(annotations)
    return {benchmark: excluded for benchmark, excluded in found.items() if excluded}


def test_a_bad_image_goes_from_every_benchmark_that_uses_it(annotations: dict[str, Annotations]) -> None:
    images = Exclusions(images=frozenset({"B0"}))
    found = left_out(annotations, bad("image_missing", image="B0"), bad("image_blank", "cirr", image="dev-1"))
    assert found == {
        "fashioniq": images,
        "hp-fashioniq": images,
        "cirr": Exclusions(images=frozenset({"dev-1"})),
    }


def test_a_query_with_a_bad_row_goes_alone(annotations: dict[str, Annotations]) -> None:
    found = left_out(annotations, bad("unknown_id", query="val/dress/0", image="B0"))
    assert found == {"fashioniq": Exclusions(queries=frozenset({"val/dress/0"}))}


def test_of_an_image_that_two_splits_list_the_training_queries_go(annotations: dict[str, Annotations]) -> None:
    found = left_out(annotations, bad("leakage", image="shared"))
    assert found == {"fashioniq": Exclusions(queries=frozenset({"train/dress/0", "train/dress/1"}))}


def test_what_concerns_neither_a_query_nor_an_image_takes_nothing_along(annotations: dict[str, Annotations]) -> None:
    assert left_out(annotations, bad("leakage"), bad("duplicate_id")) == {}


@pytest.mark.parametrize("outcome", ["ok", "warned", "failed"])
def test_only_what_is_tolerated_goes(annotations: dict[str, Annotations], outcome: str) -> None:
    finding = bad("image_missing", image="B0")
    assert not any(exclusions(annotations, [finding], [ended(finding, outcome)]).values())


def test_tolerance_is_of_one_benchmarks_rule_and_severity(annotations: dict[str, Annotations]) -> None:
    finding = bad("image_missing", image="B0")
    for other in (bad("image_blank"), bad("image_missing", "cirr"), bad("image_missing", severity="warning")):
        assert not any(exclusions(annotations, [finding], [ended(other)]).values())
    found = exclusions(annotations, [bad("image_blank", image="B1"), finding], [ended(finding)])
    assert found["fashioniq"] == Exclusions(images=frozenset({"B0"}))
