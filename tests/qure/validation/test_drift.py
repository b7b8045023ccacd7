"""Shifts are found, like data is not called shifted, and statistics that cannot be compared are refused."""

import copy
import json
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
