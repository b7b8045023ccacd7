"""The first sentences about a model."""

from collections.abc import Sequence

import pandas as pd
import pytest

from qure.evaluation.findings import Finding
from qure.evaluation.headline import headline
from qure.evaluation.statistics.results import Evaluation

LEVEL = Finding("level relevance", "cirr", "all is level", "train again")
NOT_ABOVE = Finding("not above control", "cirr", "no better than chance", "train longer", "random")
EVALUATION = Evaluation(
    "cirr",
    "val",
    {"recall_at_10": 48.67, "queries": 4181, "gallery_size": 2297},
    {"recall_at_10": (47.1, 50.2)},
    pd.DataFrame(),
    {},
    (),
    data_fingerprint="0123456789abcdef",
    details={"model": "fedcba9876543210", "confidence": 0.95},
)


@pytest.mark.parametrize(
    ("findings", "controls", "judgement"),
    [
        ([], {}, "No controls were asked."),
        ([], {"random": {"recall_at_10": 0.44}}, "It is clearly above all of its controls."),
        ([NOT_ABOVE], {"random": {"recall_at_10": 48.0}}, "It is not clearly above all of its controls: "),
        ([NOT_ABOVE, LEVEL], {}, "It has collapsed and must not be used."),
    ],
)
def test_the_findings_decide_whether_a_model_may_be_trusted(
    findings: Sequence[Finding], controls: dict[str, dict[str, float]], judgement: str
) -> None:
    found = headline("qure-cirr", EVALUATION, "CIRR val", controls, findings, rendered=False)
    assert found.judgement.startswith(judgement)
    assert bool(found.against) == bool(controls)


def test_model_number_interval_and_data_are_named() -> None:
    text = headline("qure-cirr", EVALUATION, "CIRR val", {}, [], rendered=True).text
    for part in ("qure-cirr (model fedcba987654)", "48.7 % of 4,181 queries (95 % interval 47.1", "2,297 images"):
        assert part in text
    assert "CIRR val of the rendered catalogue, not photographs" in text
    assert text.endswith("data fingerprint 0123456789ab.")
