"""What people read in the registry, made of an evaluation through the real protocol."""

from collections.abc import Callable
from pathlib import Path

from qure.evaluation.statistics.results import load_results
from qure.models.manifest import read_manifest
from qure.registry.described import card
from qure.registry.registration import Trained


def _trained(model: Path, evaluation: Path) -> Trained:
    results = load_results(evaluation / "results")
    return Trained("fashioniq", model, read_manifest(model), results, Path("data"), "md5:d", None, None)


def test_a_card_tells_numbers_intervals_controls_and_origin(
    model_of: Callable[[int], Path], judged: Callable[..., Path]
) -> None:
    trained = _trained(model_of(1), judged(model_of(1), 0.5))
    found = trained.evaluations["fashioniq"]
    low, high = found.intervals["recall_at_10"]
    controls = {"random": {"recall_at_10": 2.5}, "empty_text": {"recall_at_10": 9.25}}
    told = card(trained, {"commit": "abc"}, controls, ("1", "run"))
    value = f"**{found.metrics['recall_at_10']:.1f}** | {low:.1f} to {high:.1f} | {len(found.per_query):,} |"
    assert f"| fashioniq, val | R@10 | {value}" in told
    assert "With no text 9.2, a random order 2.5." in told
    assert "| commit | `abc` |" in told
    assert "#/experiments/1/runs/run/artifacts" in told
    assert "Not above its control" not in told
    assert "rendered catalogue" in told


def test_a_model_that_is_not_above_its_control_says_so(
    model_of: Callable[[int], Path], judged: Callable[..., Path]
) -> None:
    trained = _trained(model_of(1), judged(model_of(1), 0.2))
    controls = {"shuffled_references": {"recall_at_10": 99.0}}
    told = card(trained, {}, controls, ("1", "run"))
    assert "**Not above its control**: R@10 is" in told
    assert "99.0 with another query's reference image" in told
