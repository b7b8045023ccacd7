"""The scheduled check's verdict: which thresholds the champion misses on fresh data, and what has drifted."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.files import write_json
from qure.models.manifest import read_manifest
from qure.registry.monitoring import check_champion


@pytest.fixture
def check(
    settings: Settings, model_of: Callable[[int], Path], judged: Callable[..., Path], tmp_path: Path
) -> Callable[..., dict]:
    """Checks a champion of some quality against thresholds."""

    def run(quality: float, thresholds: dict[str, float], *, judge: int = 1, shifted: tuple[str, ...] = ()) -> dict:
        fingerprint = read_manifest(model_of(1))["fingerprint"]
        facts = {"name": "qure-fashioniq", "version": 3, "model_fingerprint": fingerprint, "statistics": True}
        write_json(tmp_path / "champion" / "champion.json", facts)
        told = {"known": True, "champion": 3, "shifted": list(shifted), "measures": []}
        write_json(tmp_path / "drift.json", told)
        promotion = settings.promotion.model_copy(update={"thresholds": {"fashioniq": thresholds}})
        return check_champion(
            settings.model_copy(update={"promotion": promotion}),
            "fashioniq",
            champion=tmp_path / "champion",
            evaluation=judged(model_of(judge), quality),
            drift=tmp_path / "drift.json",
            output=tmp_path / "check.json",
        )

    return run


def test_a_champion_that_holds_passes_with_its_drift_told(check: Callable[..., dict], tmp_path: Path) -> None:
    found = check(0.6, {"recall_at_10": 1.0}, shifted=("texts are longer",))
    assert json.loads((tmp_path / "check.json").read_text()) == found
    assert (found["version"], found["missed"], found["drift"], found["drift_known"]) == (
        3,
        [],
        ["texts are longer"],
        True,
    )
    assert found["thresholds"]["fashioniq/recall_at_10"]["least"] == 1.0


def test_a_champion_that_misses_a_threshold_fails_and_leaves_its_check(
    check: Callable[..., dict], tmp_path: Path
) -> None:
    with pytest.raises(StageFailed, match=r"version 3 no longer holds: fashioniq/recall_at_10 is .* required are 100"):
        check(0.2, {"recall_at_10": 100.0})
    assert len(json.loads((tmp_path / "check.json").read_text())["missed"]) == 1


def test_an_evaluation_of_another_model_is_refused(check: Callable[..., dict], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="results are of the model"):
        check(0.5, {}, judge=2)
    assert not (tmp_path / "check.json").exists()
