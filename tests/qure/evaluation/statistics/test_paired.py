"""Two models on the same queries, where the answer is known without resampling, or by resampling in a plain loop."""

import numpy as np
import pandas as pd
import pytest

from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation


def evaluation(hits: list[float]) -> Evaluation:
    table = pd.DataFrame({"query_id": [str(number) for number in range(len(hits))], "hit": hits})
    return Evaluation("cirr", "val", {"recall": 100 * float(np.mean(hits))}, {}, table, {}, (Measure("recall", "hit"),))


def test_a_model_that_is_always_right_against_one_that_never_is() -> None:
    found = paired_difference(evaluation([1.0] * 30), evaluation([0.0] * 30), "recall", samples=99)
    assert (found.a, found.b, found.difference, found.low, found.high) == (100, 0, 100, 100, 100)
    assert (found.p, found.p_worse) == (0.01, 1.0), "no resample of 99 speaks against it, and all for it"
    assert (found.queries, found.confidence) == (30, 0.95)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    draw = np.random.default_rng(4)
    a, b = (draw.random(80) < 0.6).astype(float), (draw.random(80) < 0.5).astype(float)
    found = paired_difference(evaluation(a.tolist()), evaluation(b.tolist()), "recall", samples=4000, confidence=0.8)
    plain = [100 * float((a - b)[draw.integers(0, 80, 80)].mean()) for _ in range(4000)]
    assert found.difference == pytest.approx(100 * float((a - b).mean()))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.1, 0.9])), abs=1.3)
    assert found.p == pytest.approx(np.mean(np.array(plain) <= 0), abs=0.02)
