"""Shifts are found, like data is not called shifted, and statistics that cannot be compared are refused."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from qure.config import ValidationSettings
from qure.errors import BadInput
from qure.validation import drift
from qure.validation.statistics import ASPECT_EDGES, EDGES, SIDE_EDGES, VERSION, WORD_EDGES, histogram

SETTINGS = ValidationSettings()


def made(words: Any, categories: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    split = {"queries": len(words), "caption_words": histogram(words, WORD_EDGES), **more}
    if categories:
        split["categories"] = categories
    return {"version": VERSION, "training_set": "fashioniq", "splits": {"fashioniq/train": split}}


def shifted(now: dict[str, Any], champion: dict[str, Any]) -> list[str]:
    return [measure["measure"] for measure in drift.compare(now, champion, SETTINGS) if measure["shifted"]]


def test_samples_of_one_distribution_are_alike() -> None:
    random = np.random.default_rng(0)
    for size in (30, 300, 3000):
        for _ in range(30):
            assert shifted(made(random.poisson(10, size)), made(random.poisson(10, size))) == []


def test_longer_captions_are_a_shift() -> None:
    random = np.random.default_rng(1)
    assert shifted(made(random.poisson(14, 500)), made(random.poisson(10, 500))) == ["caption_words"]


def test_category_shares_are_compared() -> None:
    words = [10.0] * 900
    champion = made(words, {"dress": 300, "shirt": 300, "toptee": 300})
    assert shifted(made(words, {"dress": 290, "shirt": 310, "toptee": 300}), champion) == []
    assert shifted(made(words, {"dress": 800, "shirt": 100}), champion) == ["categories"]


def test_centroids_of_one_model_are_compared() -> None:
    champion = made([10.0] * 50, embedding_centroid={"fingerprint": "a", "vector": [1.0, 0.0]})
    near = made([10.0] * 50, embedding_centroid={"fingerprint": "a", "vector": [1.0, 0.1]})
    far = made([10.0] * 50, embedding_centroid={"fingerprint": "a", "vector": [1.0, 1.0]})
    other_model = made([10.0] * 50, embedding_centroid={"fingerprint": "b", "vector": [1.0, 1.0]})
    assert shifted(near, champion) == []
    assert shifted(far, champion) == ["embedding_centroid"]
    assert shifted(other_model, champion) == []


def test_a_small_sample_proves_nothing() -> None:
    assert shifted(made([12.0] * 3), made([10.0] * 3)) == []


def test_empty_and_unknown_splits_are_passed_over() -> None:
    champion = made([10.0] * 50)
    assert drift.compare(made([]), champion, SETTINGS) == []
    renamed = {**champion, "splits": {"other/train": champion["splits"]["fashioniq/train"]}}
    assert drift.compare(champion, renamed, SETTINGS) == []


def test_noise_floors_are_the_quantiles_of_their_distributions() -> None:
    assert drift.smirnov_noise(500, 500) == pytest.approx(stats.kstwobign.ppf(0.999) * np.sqrt(2 / 500))
    for bins in (1, 2, 10):
        expected = stats.chi2.ppf(0.999, max(bins - 1, 1)) * 2 / 500
        assert drift.stability_noise(bins, 500, 500) == pytest.approx(expected)


def test_kolmogorov_smirnov_is_scipys_on_whole_numbers() -> None:
    random = np.random.default_rng(2)
    first, second = random.poisson(9, 400).astype(float), random.poisson(11, 300).astype(float)
    counted = (histogram(values, WORD_EDGES)["counts"] for values in (first, second))
    assert drift.kolmogorov_smirnov(*counted) == pytest.approx(stats.ks_2samp(first, second).statistic)


def test_histograms_lose_no_value() -> None:
    values = np.concatenate([np.zeros(2), np.geomspace(0.01, 1e6, 500)])
    for edges in (WORD_EDGES, SIDE_EDGES, ASPECT_EDGES):
        assert edges == sorted(set(edges))
        assert sum(histogram(values, edges)["counts"]) == len(values)
    assert histogram([], WORD_EDGES) == {"count": 0, "counts": [0] * len(WORD_EDGES)}
    assert set(EDGES) == {"caption_words", "image_width", "image_height", "image_aspect"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "not the statistics of a validation"),
        ('{"splits": 3}', "not the statistics of a validation"),
        ('{"version": 1}', "not the statistics of a validation"),
        ('{"splits": {}, "version": 999}', "version 999 cannot be compared"),
        ('{"splits": {', "not valid JSON"),
    ],
)
def test_statistics_that_are_none_are_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "statistics.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=problem):
        drift.read_statistics(path)


def test_statistics_survive_their_file(tmp_path: Path) -> None:
    value = made([3.0, 4.0])
    (tmp_path / "statistics.json").write_text(json.dumps(value))
    assert drift.read_statistics(tmp_path / "statistics.json") == copy.deepcopy(value)


def test_a_split_that_the_champion_had_not_hides_no_other() -> None:
    random = np.random.default_rng(4)
    long, short = made(random.poisson(20, 300)), made(random.poisson(8, 300))
    split = long["splits"]["fashioniq/train"]
    now = {**long, "splits": {"fashioniq/new": split, **long["splits"], "fashioniq/newer": split}}
    found = drift.compare(now, short, SETTINGS)
    assert [(one["split"], one["measure"], one["shifted"]) for one in found] == [
        ("fashioniq/train", "caption_words", True)
    ]


def test_every_split_and_measure_that_both_have_is_compared() -> None:
    words = histogram([10.0] * 50, WORD_EDGES)
    sides = {"image_width": histogram([64.0] * 50, SIDE_EDGES), "image_height": histogram([64.0] * 50, SIDE_EDGES)}
    champion = made([10.0] * 50, {"dress": 25, "shirt": 25}, **sides)
    champion["splits"]["fashioniq/val"] = {"caption_words": words}
    now = copy.deepcopy(champion)
    del now["splits"]["fashioniq/train"]["image_height"]
    found = drift.compare(now, champion, SETTINGS)
    assert {(one["split"], one["measure"]) for one in found} == {
        ("fashioniq/train", "caption_words"),
        ("fashioniq/train", "image_width"),
        ("fashioniq/train", "categories"),
        ("fashioniq/val", "caption_words"),
    }
    assert not any(one["shifted"] for one in found)


def measure(now: dict[str, Any], champion: dict[str, Any], **settings: float) -> dict[str, Any]:
    """The only one."""
    (found,) = drift.compare(now, champion, ValidationSettings(**settings))
    return found


def test_a_measure_is_its_effect_sizes_and_a_sentence() -> None:
    """By hand: 300 and 600 of 900 became 500 each; where nobody is between them bins are put together."""
    found = measure(made([10.0] * 500 + [20.0] * 500), made([10.0] * 300 + [20.0] * 600))
    then, now = 300.5 / 901, 0.5
    psi = (now - then) * math.log(now / then) + (then - now) * math.log((1 - now) / (1 - then))
    says = (
        "fashioniq/train: caption_words has mean 15, the champion's data had 16.6667 "
        "(stability index 0.12, Kolmogorov-Smirnov 0.17)"
    )
    assert found == {
        "split": "fashioniq/train",
        "measure": "caption_words",
        "shifted": True,
        "psi": round(psi, 4),
        "ks": 0.1667,
        "says": says,
    }


def test_categories_that_are_new_or_gone_count() -> None:
    words = [10.0] * 50
    champion = made(words, {"dress": 300, "shirt": 100})
    now = made(words, {"dress": 300, "toptee": 200})
    found = next(one for one in drift.compare(now, champion, SETTINGS) if one["measure"] == "categories")
    shares = [(300.5, 300.5), (100.5, 0.5), (0.5, 200.5)]
    psi = sum((a / 501.5 - e / 401.5) * math.log(a / 501.5 / (e / 401.5)) for e, a in shares)
    assert (found["shifted"], found["psi"]) == (True, round(psi, 4))
    assert found["says"] == (
        "fashioniq/train: categories are dress 60%, shirt 0%, toptee 40%, "
        f"the champion's data had dress 75%, shirt 25%, toptee 0% (stability index {psi:.2f})"
    )


@pytest.mark.parametrize("sides", [({"dress": 9}, None), (None, {"dress": 9}), ({"dress": 9}, {"dress": 0})])
def test_categories_of_one_side_alone_are_not_compared(sides: tuple[Any, Any]) -> None:
    for now, then in (sides, sides[::-1]):
        champion = made([10.0] * 50)
        if then is not None:
            champion["splits"]["fashioniq/train"]["categories"] = then
        assert measure(made([10.0] * 50, now), champion)["measure"] == "caption_words"


def test_a_threshold_that_is_just_reached_is_a_shift() -> None:
    now, champion = made([10.0] * 5000 + [20.0] * 5000), made([10.0] * 3000 + [20.0] * 6000)
    psi = drift.population_stability_index([3000, 6000], [5000, 5000])
    ks = abs(3000 / 9000 - 5000 / 10000)
    never = 100.0
    assert measure(now, champion, drift_psi=psi, drift_ks=1.0)["shifted"]
    assert not measure(now, champion, drift_psi=psi * 1.001, drift_ks=1.0)["shifted"]
    assert measure(now, champion, drift_psi=never, drift_ks=ks)["shifted"]
    assert not measure(now, champion, drift_psi=never, drift_ks=ks * 1.001)["shifted"]
    parts = made([], {"dress": 5000, "shirt": 5000}), made([], {"dress": 3000, "shirt": 6000})
    assert measure(*parts, drift_psi=psi)["shifted"]
    assert not measure(*parts, drift_psi=psi * 1.001)["shifted"]


def with_centroid(*vector: float) -> dict[str, Any]:
    return made([], embedding_centroid={"fingerprint": "a", "vector": list(vector)})


def test_centroids_are_compared_by_their_angle_alone() -> None:
    found = measure(with_centroid(0.02, 0.0), with_centroid(0.3, 0.4), drift_centroid=0.4)
    assert found == {
        "split": "fashioniq/train",
        "measure": "embedding_centroid",
        "shifted": True,
        "cosine_distance": 0.4,
        "says": "fashioniq/train: the mean embedding is 0.400 (cosine distance) from the champion's data",
    }
    found = measure(with_centroid(1, 2, 3), with_centroid(3, 2, 1), drift_centroid=0.29)
    assert (found["shifted"], found["cosine_distance"]) == (False, 0.2857)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(
    ("now", "champion"),
    [
        (with_centroid(1.0), made([])),
        (with_centroid(1.0, 0.0), with_centroid(1.0)),
        (with_centroid(0.0, 0.0), with_centroid(1.0, 0.0)),
        (with_centroid(1e200, 0.0), with_centroid(1e200, 0.0)),
    ],
)
def test_centroids_without_an_angle_between_them_are_not_compared(now: Any, champion: Any) -> None:
    assert drift.compare(now, champion, SETTINGS) == []
    assert drift.compare(champion, now, SETTINGS) == []


def test_histograms_of_other_bins_or_without_values_are_not_compared() -> None:
    whole = made([10.0] * 50)
    other = copy.deepcopy(whole)
    other["splits"]["fashioniq/train"]["caption_words"]["counts"].pop()
    for side in (other, made([])):
        assert drift.compare(whole, side, SETTINGS) == []
        assert drift.compare(side, whole, SETTINGS) == []


@pytest.mark.parametrize(
    ("expected", "merged"),
    [
        ([10, 80, 10], [10, 80, 10]),
        ([9, 1, 90], [10, 90]),
        ([50, 9, 1, 40], [50, 10, 40]),
        ([50, 45, 5], [50, 50]),
        ([5, 4, 91], [100]),
        ([0, 100, 0], [100]),
    ],
)
def test_bins_are_merged_until_each_holds_a_tenth_of_the_champions(expected: list[float], merged: list[float]) -> None:
    counts = np.array(expected, dtype=np.float64)
    for found in drift._merged(counts, counts):
        assert found.tolist() == merged


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"caption_words": {"counts": [0.0, 1.0]}}, "fashioniq/train.caption_words.*has counts and no mean"),
        ({"caption_words": {"counts": [-1.0], "mean": 1.0}}, "caption_words.counts.0.*greater than or equal to 0"),
        ({"caption_words": {"counts": [1e15 + 0.5], "mean": 1.0}}, "caption_words.counts.0.*less than or equal to"),
        ({"caption_words": {"counts": ["1"], "mean": 1.0}}, "caption_words.counts.0.*valid number"),
        ({"categories": {"dress": -1}}, "categories.dress.*greater than or equal to 0"),
        ({"embedding_centroid": {"fingerprint": 1, "vector": []}}, "embedding_centroid.fingerprint.*valid string"),
    ],
)
def test_statistics_of_other_types_are_refused_by_field(tmp_path: Path, change: Any, problem: str) -> None:
    value = made([3.0])
    value["splits"]["fashioniq/train"] |= change
    (tmp_path / "statistics.json").write_text(json.dumps(value))
    with pytest.raises(BadInput, match=problem):
        drift.read_statistics(tmp_path / "statistics.json")


def test_statistics_may_hold_more_and_need_no_mean_of_nothing(tmp_path: Path) -> None:
    value = made([3.0], of_a_later_version=[])
    value["splits"]["fashioniq/train"] |= {
        "image_width": {"counts": [0]},
        "image_height": {"counts": [1e15], "mean": 1},
    }
    (tmp_path / "statistics.json").write_text(json.dumps(value))
    assert drift.read_statistics(tmp_path / "statistics.json") == value


def test_numbers_that_are_infinite_are_refused(tmp_path: Path) -> None:
    text = json.dumps(made([3.0], embedding_centroid={"fingerprint": "a", "vector": [12345.0]}))
    (tmp_path / "statistics.json").write_text(text.replace("12345.0", "1e999"))
    with pytest.raises(BadInput):
        drift.read_statistics(tmp_path / "statistics.json")
