"""How far a survey's people can be relied on: agreement, position bias, failed checks; and what they prefer."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from qure.evaluation.statistics.bootstrap import interval
from qure.studio.survey.progress import Participation, failed_checks, share
from qure.studio.survey.questions import Survey


def rater_report(survey: Survey, people: Sequence[Participation], *, failed: int = 0, seed: int = 0) -> dict[str, Any]:
    """What is known of the people.

    Args:
        survey: which.
        people: everybody who agreed.
        failed: who failed more attention checks than this counts for checks alone.
        seed: of the bootstrap, which draws people: one person's answers depend on each other.

    Returns:
        counts; `prefers_a`, `left_preferred`, `nothing_relevant`, `inconsistent` (prefers what she scored lower) as
        shares with 95 % intervals; `agreement`: how often two people prefer the same version on the same question,
        and `alpha`, Krippendorff's for nominal data (1 perfect, 0 by chance); `raters`: a row for each person.
    """
    kept = [one for one in people if failed_checks(one) <= failed]
    rows = [row for number, one in enumerate(kept) for row in _rows(number, one)]
    by_question: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        by_question[row["question"]].append(row["a"])
    result: dict[str, Any] = {
        "survey": survey.fingerprint,
        "versions": dict(zip("ab", survey.versions, strict=True)),
        "people": len(people),
        "people_kept": len(kept),
        "people_finished": sum(one.next is None for one in people),
        "checks_failed": sum(failed_checks(one) for one in people),
        "answers": len(rows),
    }
    for name, key in (
        ("prefers_a", "a"),
        ("left_preferred", "left"),
        ("nothing_relevant", "nothing"),
        ("inconsistent", "inconsistent"),
    ):
        result[name] = _with_interval([row[key] for row in rows], [row["person"] for row in rows], seed)
    pairs = [pair for given in by_question.values() for pair in combinations(given, 2)]
    result["agreement"] = share([one == other for one, other in pairs])
    result["alpha"] = krippendorff(list(by_question.values()))
    result["raters"] = [_rater(number, one) for number, one in enumerate(people, start=1)]
    return result


def krippendorff(units: Sequence[Sequence[bool]]) -> float | None:
    """Krippendorff's alpha for two nominal values (2011); None where nothing was answered twice, or everything alike.

    Args:
        units: the values that each unit (question) was given.

    >>> krippendorff([[True, True], [False, False]])
    1.0
    >>> krippendorff([[True, False], [False, True]])
    -0.5
    """
    pairable = [unit for unit in units if len(unit) > 1]
    total = sum(len(unit) for unit in pairable)
    trues = sum(sum(unit) for unit in pairable)
    if not 0 < trues < total:
        return None
    disagreeing = sum(2 * sum(unit) * (len(unit) - sum(unit)) / (len(unit) - 1) for unit in pairable) / total
    expected = 2 * trues * (total - trues) / (total * (total - 1))
    return float(1.0 - disagreeing / expected)


def sentences(report: dict[str, Any]) -> list[str]:
    """The report in sentences."""
    lines = [
        f"{report['people']} people agreed, {report['people_finished']} finished; {report['checks_failed']} attention "
        f"checks failed, {report['people_kept']} people kept with {report['answers']} answers",
    ]
    for name, words in (
        ("prefers_a", f"prefer version {report['versions']['a']} to version {report['versions']['b']}"),
        ("left_preferred", "prefer what stands left (without position bias 50 %)"),
        ("nothing_relevant", "find nothing relevant"),
        ("inconsistent", "prefer the side that they scored lower"),
    ):
        if report[name] is not None:
            value, low, high = (100 * report[name][key] for key in ("share", "low", "high"))
            lines.append(f"{value:.1f} % [{low:.1f}, {high:.1f}] {words}")
    if report["agreement"] is not None:
        alpha = "undefined" if report["alpha"] is None else f"{report['alpha']:.2f}"
        lines.append(
            f"two people agree on a question in {100 * report['agreement']:.1f} %; Krippendorff's alpha {alpha}"
        )
    return lines


def _rows(number: int, person: Participation) -> list[dict[str, Any]]:
    rows = []
    for question in person.questions:
        if question.check or question.id not in person.answered:
            continue
        given = person.answered[question.id].content
        preferred, other = given["scores"] if given["preferred"] == 1 else given["scores"][::-1]
        rows.append(
            {
                "person": f"{number}",
                "question": question.id,
                "a": (given["preferred"] == 1) == given["a_left"],
                "left": given["preferred"] == 1,
                "nothing": bool(given["nothing"]),
                "inconsistent": preferred < other,
            }
        )
    return rows


def _with_interval(values: list[bool], people: list[str], seed: int) -> dict[str, float] | None:
    if not values:
        return None
    numbers = [float(value) for value in values]
    low, high = interval(numbers, clusters=people, seed=seed)
    return {"share": float(sum(numbers) / len(numbers)), "low": low, "high": high}


def _rater(number: int, person: Participation) -> dict[str, Any]:
    rows = _rows(number, person)
    return {
        "person": f"user_{number}",
        "set": person.number + 1,
        "answers": len(rows),
        "checks_failed": failed_checks(person),
        "left_preferred": share([row["left"] for row in rows]),
        "nothing_relevant": share([row["nothing"] for row in rows]),
    }
