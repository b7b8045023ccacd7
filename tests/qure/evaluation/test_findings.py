"""Findings: collapsed models and models that a control equals are named; healthy ones are not."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qure.config import EvaluationSettings
from qure.datasets.types import Gallery
from qure.errors import BadInput
from qure.evaluation import findings
from qure.evaluation.findings import LEAST_SPREAD, MOST_SHARED, collapses, measured, not_above_controls
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation

Judge = Callable[..., Evaluation]
IMAGES, QUERIES, DIMENSION = 300, 80, 32


def unit(rows: "np.ndarray[Any, np.dtype[np.float64]]") -> "np.ndarray[Any, np.dtype[np.float32]]":
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def judge(settings: EvaluationSettings) -> Judge:
    """Evaluates query and candidate vectors under CIRR's protocol; a query's target is the candidate of its number."""
    from qure.benchmarks.cirr import protocol as cirr
    from qure.datasets.types import Triplet

    ids = [f"image{number}" for number in range(IMAGES)]
    triplets = [
        Triplet(f"{number}", ids[number + QUERIES], "is red", ids[number], members=tuple(ids[number : number + 6]))
        for number in range(QUERIES)
    ]

    def evaluate(queries: Any, candidates: Any) -> Evaluation:
        asked = Embeddings([one.query_id for one in triplets], queries)
        return cirr.evaluate(triplets, Gallery("", tuple(ids)), asked, Embeddings(ids, candidates), settings=settings)

    return evaluate


@pytest.fixture
def vectors() -> tuple[Any, Any]:
    """Queries near their targets, and candidates that differ: a healthy model."""
    draw = np.random.default_rng(3)
    candidates = unit(draw.standard_normal((IMAGES, DIMENSION)))
    return unit(candidates[:QUERIES] + 0.1 * draw.standard_normal((QUERIES, DIMENSION))), candidates


def kinds(evaluation: Evaluation) -> list[str]:
    return [one.kind for one in collapses([evaluation])]


def test_a_healthy_model_has_no_finding(judge: Judge, vectors: tuple[Any, Any]) -> None:
    found = judge(*vectors)
    assert kinds(found) == []
    numbers = measured(found)
    assert numbers["spread"] > 50 * LEAST_SPREAD
    assert abs(numbers["shared"]) < 0.05, "queries that ask for different things share no more than by chance"


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_candidates_that_have_become_one_are_a_collapse(judge: Judge, vectors: tuple[Any, Any], noise: float) -> None:
    queries, candidates = vectors
    (finding,) = [
        one
        for one in collapses([judge(queries, unit(candidates[:1] + noise * candidates))])
        if one.kind == "level relevance"
    ]
    assert finding.is_collapse
    assert "nearly the same relevance" in finding.says
    assert "learning_rate" in finding.remedy


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_queries_that_have_become_one_are_a_collapse(judge: Judge, vectors: tuple[Any, Any], noise: float) -> None:
    queries, candidates = vectors
    found = judge(unit(queries[:1] + noise * queries), candidates)
    assert measured(found)["spread"] > LEAST_SPREAD, "each single ranking looks healthy"
    assert kinds(found) == ["same ranking"]
    assert measured(found)["shared"] > MOST_SHARED


def test_numbers_that_are_none_are_a_finding(judge: Judge, vectors: tuple[Any, Any], tmp_path: Path) -> None:
    found = judge(*vectors)
    nothing = replace(
        found, top={query: [(image, float("nan")) for image, _ in hits] for query, hits in found.top.items()}
    )
    assert kinds(nothing) == ["level relevance"]
    findings.write_findings(tmp_path, collapses([nothing]), [nothing])
    assert [one.kind for one in findings.read_findings(tmp_path)] == ["level relevance"]


def test_the_limit_is_the_step_of_half_precision() -> None:
    one = np.float16(1.0)
    assert float(one - np.nextafter(one, np.float16(0.0))) == LEAST_SPREAD


def test_one_query_shares_its_ranking_with_nobody(judge: Judge, vectors: tuple[Any, Any]) -> None:
    found = judge(*vectors)
    (first,) = found.per_query["query_id"][:1]
    alone = replace(found, per_query=found.per_query[:1], top={first: found.top[first]})
    assert measured(alone).keys() == {"spread"}


def test_a_small_gallery_is_no_collapse(judge: Judge, vectors: tuple[Any, Any]) -> None:
    """With eleven images any two rankings share most of their ten best."""
    found = judge(*vectors)
    draw = np.random.default_rng(0)
    images = [f"image{number}" for number in range(11)]
    shuffled = {
        query: [(images[place], 1.0 - 0.05 * rank) for rank, place in enumerate(draw.permutation(11))]
        for query in found.top
    }
    assert kinds(replace(found, top=shuffled)) == []


def test_a_benchmark_without_rankings_shows_none(judge: Judge, vectors: tuple[Any, Any]) -> None:
    assert collapses([replace(judge(*vectors), top={})]) == []


def paired(ours: Evaluation, other: Evaluation) -> dict[str, dict[str, float]]:
    return {"recall_at_10": asdict(paired_difference(ours, other, "recall_at_10", samples=100))}


def test_a_control_that_is_not_beaten_is_named(judge: Judge, vectors: tuple[Any, Any]) -> None:
    queries, candidates = vectors
    own = judge(queries, candidates)
    weak = judge(unit(np.random.default_rng(1).standard_normal(queries.shape)), candidates)
    controls = {"untrained_backbone": paired(own, weak), "empty_text": paired(own, own)}
    (finding,) = not_above_controls(own, controls, {"recall_at_10": 3.3})
    assert (finding.kind, finding.subject) == ("not above control", "empty_text")
    assert "without the text 100.0" in finding.says
    assert "does not use the text" in finding.remedy
    assert not finding.is_collapse
    worse = not_above_controls(weak, {"shuffled_references": paired(weak, own)}, {"recall_at_10": 3.3})
    assert [one.subject for one in worse] == ["shuffled_references", "random"], "chance is a control too"


def test_findings_are_kept_and_read_again(judge: Judge, vectors: tuple[Any, Any], tmp_path: Path) -> None:
    queries, candidates = vectors
    healthy, collapsed = judge(queries, candidates), judge(queries[:1].repeat(QUERIES, 0), candidates)
    found = collapses([collapsed])
    findings.write_findings(tmp_path, found, [collapsed])
    assert findings.read_findings(tmp_path) == found
    kept = json.loads((tmp_path / "findings.json").read_text())
    assert kept["measured"]["cirr"]["shared"] == pytest.approx(1.0, abs=0.01)
    assert kept["limits"] == {"spread": LEAST_SPREAD, "shared": MOST_SHARED}
    findings.write_findings(tmp_path, [], [healthy])
    assert findings.read_findings(tmp_path) == []


@pytest.mark.parametrize("content", [None, "[]", '{"findings": [{"kind": "x"}]}'])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "findings.json").write_text(content)
    with pytest.raises(BadInput) as raised:
        findings.read_findings(tmp_path)
    assert raised.value.file == tmp_path / "findings.json"
    assert "qure evaluate" in str(raised.value)
