"""Whether data is like the data that the champion was trained on: said, with effect sizes, and never decided here."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qure.config import ValidationSettings
from qure.errors import BadInput
from qure.files import read_json
from qure.validation.statistics import EDGES, VERSION

#: Bins are merged until each holds this share of the champion's data, so that rare values cannot dominate.
_LEAST_SHARE = 0.1

#: How many comparisons of like data may raise a false alarm.
_FALSE_ALARMS = 0.001

_AGAIN = "Validate the champion's training data again with this version"

Counts = npt.NDArray[np.float64]


class _Checked(BaseModel):
    """What is read of a statistics.json is of its type; it may hold more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


_Count = Annotated[float, Field(ge=0, le=1e15)]


class _Histogram(_Checked):
    counts: list[_Count]
    mean: float | None = None

    @model_validator(mode="after")
    def _has_a_mean(self) -> "_Histogram":
        if any(self.counts) and self.mean is None:
            raise ValueError("has counts and no mean")
        return self


class _Centroid(_Checked):
    fingerprint: str
    vector: list[float]


class _Split(_Checked):
    caption_words: _Histogram = _Histogram(counts=[])
    image_width: _Histogram = _Histogram(counts=[])
    image_height: _Histogram = _Histogram(counts=[])
    image_aspect: _Histogram = _Histogram(counts=[])
    categories: dict[str, _Count] = {}
    embedding_centroid: _Centroid | None = None


class _Statistics(_Checked):
    splits: dict[str, _Split]


def read_statistics(path: Path) -> dict[str, Any]:
    """The champion's statistics.json.

    Raises:
        BadInput: missing, damaged, or of a version whose measures mean something else.
    """
    value = read_json(path, remedy="Point to the statistics.json that the champion's validation wrote")
    if not isinstance(value, dict) or not isinstance(value.get("splits"), dict):
        raise BadInput("not the statistics of a validation", file=path, field="splits")
    if value.get("version") != VERSION:
        raise BadInput(
            f"version {value.get('version')!r} cannot be compared with version {VERSION}",
            file=path,
            field="version",
            remedy=_AGAIN,
        )
    try:
        _Statistics.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(first["msg"], file=path, field=field, remedy=_AGAIN) from None
    return value


def compare(now: Mapping[str, Any], champion: Mapping[str, Any], settings: ValidationSettings) -> list[dict[str, Any]]:
    """Every measure that both have, per split, with its effect sizes.

    A measure counts as shifted when an effect reaches its threshold and exceeds what two samples of these sizes from
    like data show.

    Args:
        now: `qure.validation.statistics.statistics` of the data at hand.
        champion: the same of the champion's data.
        settings: thresholds.

    Returns:
        One dict per split and measure: "split", "measure", "shifted", the effect sizes ("psi", "ks" or
        "cosine_distance"), and "says", a sentence.
    """
    measures = []
    for split, current in now["splits"].items():
        former = champion["splits"].get(split)
        if former is None:
            continue
        for name, edges in EDGES.items():
            if name in current and name in former:
                measures.append(_distribution(split, name, current[name], former[name], edges, settings))
        if "categories" in current and "categories" in former:
            measures.append(_categories(split, current["categories"], former["categories"], settings))
        centroid = _centroid(split, current, former, settings)
        if centroid is not None:
            measures.append(centroid)
    return [measure for measure in measures if measure is not None]


def population_stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Sum over bins of (a - e) ln(a / e), with shares e and a; half a count is added to every bin.

    About 0.1 is a moderate shift, 0.25 a large one (the convention of credit scoring, where it comes from).

    >>> population_stability_index([50, 50], [50, 50])
    0.0
    >>> round(population_stability_index([50, 50], [80, 20]), 2)
    0.41
    """
    first, second = (np.asarray(counts, dtype=np.float64) + 0.5 for counts in (expected, actual))
    first, second = first / first.sum(), second / second.sum()
    return float(((second - first) * np.log(second / first)).sum())


def kolmogorov_smirnov(expected: Sequence[float], actual: Sequence[float]) -> float:
    """Largest difference of the two cumulative distributions over common bins, between 0 and 1.

    >>> kolmogorov_smirnov([10, 0], [0, 10])
    1.0
    """
    first, second = (np.cumsum(np.asarray(counts, dtype=np.float64)) for counts in (expected, actual))
    return float(np.abs(first / first[-1] - second / second[-1]).max())


def stability_noise(bins: int, expected: float, actual: float) -> float:
    """What the stability index of like samples of these sizes stays below, but for one in a thousand.

    The index times n m / (n + m) is close to chi-squared with bins - 1 degrees of freedom.

    >>> stability_noise(10, 450, 450) < 0.15 < stability_noise(10, 100, 100)
    True
    """
    from scipy.special import chdtri  # here and below: the distributions alone, and only where they are asked for

    return float(chdtri(max(bins - 1, 1), _FALSE_ALARMS) * (1 / expected + 1 / actual))


def smirnov_noise(expected: float, actual: float) -> float:
    """What the Kolmogorov-Smirnov distance of like samples of these sizes stays below, but for one in a thousand.

    >>> round(smirnov_noise(450, 450), 2)
    0.13
    """
    from scipy.special import kolmogi

    return float(kolmogi(_FALSE_ALARMS)) * math.sqrt((expected + actual) / (expected * actual))


def _distribution(
    split: str,
    name: str,
    current: Mapping[str, Any],
    former: Mapping[str, Any],
    edges: Sequence[float],
    settings: ValidationSettings,
) -> dict[str, Any] | None:
    expected, actual = (np.asarray(side["counts"], dtype=np.float64) for side in (former, current))
    if expected.shape != (len(edges),) or actual.shape != (len(edges),) or not expected.sum() or not actual.sum():
        return None
    coarse_expected, coarse_actual = _merged(expected, actual)
    psi = population_stability_index(coarse_expected.tolist(), coarse_actual.tolist())
    ks = kolmogorov_smirnov(expected.tolist(), actual.tolist())
    sizes = (float(expected.sum()), float(actual.sum()))
    shifted = psi >= max(settings.drift_psi, stability_noise(len(coarse_expected), *sizes))
    shifted = shifted or ks >= max(settings.drift_ks, smirnov_noise(*sizes))
    says = (
        f"{split}: {name} has mean {current['mean']:g}, the champion's data had {former['mean']:g} "
        f"(stability index {psi:.2f}, Kolmogorov-Smirnov {ks:.2f})"
    )
    return {
        "split": split,
        "measure": name,
        "shifted": bool(shifted),
        "psi": round(psi, 4),
        "ks": round(ks, 4),
        "says": says,
    }


def _categories(
    split: str, current: Mapping[str, int], former: Mapping[str, int], settings: ValidationSettings
) -> dict[str, Any] | None:
    names = sorted({*current, *former})
    expected, actual = ([float(side.get(name, 0)) for name in names] for side in (former, current))
    if not sum(expected) or not sum(actual):
        return None
    psi = population_stability_index(expected, actual)
    shifted = psi >= max(settings.drift_psi, stability_noise(len(names), sum(expected), sum(actual)))
    now, then = (
        ", ".join(f"{name} {value / sum(counts):.0%}" for name, value in zip(names, counts, strict=True))
        for counts in (actual, expected)
    )
    says = f"{split}: categories are {now}, the champion's data had {then} (stability index {psi:.2f})"
    return {"split": split, "measure": "categories", "shifted": bool(shifted), "psi": round(psi, 4), "says": says}


def _centroid(
    split: str, current: Mapping[str, Any], former: Mapping[str, Any], settings: ValidationSettings
) -> dict[str, Any] | None:
    """Cosine distance of the mean embeddings, where one model made both.

    A later stage may add "embedding_centroid": {"fingerprint": of the model, "vector": [...]} to a split.
    """
    then, now = former.get("embedding_centroid"), current.get("embedding_centroid")
    if then is None or now is None or then["fingerprint"] != now["fingerprint"]:
        return None
    first, second = (np.asarray(side["vector"], dtype=np.float64) for side in (then, now))
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    if first.shape != second.shape or not 0 < lengths < math.inf:
        return None
    distance = 1 - float(first @ second / lengths)
    return {
        "split": split,
        "measure": "embedding_centroid",
        "shifted": distance >= settings.drift_centroid,
        "cosine_distance": round(distance, 4),
        "says": f"{split}: the mean embedding is {distance:.3f} (cosine distance) from the champion's data",
    }


def _merged(expected: Counts, actual: Counts) -> tuple[Counts, Counts]:
    """Neighbouring bins together, so that each holds at least `_LEAST_SHARE` of `expected`.

    >>> _merged(np.array([5.0, 5.0, 80.0, 10.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    (array([10., 80., 10.]), array([3., 3., 4.]))
    """
    least = _LEAST_SHARE * expected.sum()
    groups: list[list[int]] = [[]]
    held = 0.0
    for place, count in enumerate(expected):
        groups[-1].append(place)
        held += count
        if held >= least and expected[place + 1 :].sum() >= least:
            groups.append([])
            held = 0.0
    return tuple(np.array([side[group].sum() for group in groups]) for side in (expected, actual))  # type: ignore[return-value]
