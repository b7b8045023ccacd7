"""Metrics, numbers and controls as people read them: the same on a terminal, in the report and in the model card."""

import re
from collections.abc import Sequence

#: The controls' names in metrics files (`qure.evaluation.controls`).
UNTRAINED, SHUFFLED, EMPTY, RANDOM = "untrained_backbone", "shuffled_references", "empty_text", "random"

_SHORT = (
    ("recall_subset_at_", "Rs@"),
    ("recall_at_", "R@"),
    ("map_at_", "mAP@"),
    ("ndcg_at_", "nDCG@"),
    ("relevant_at_", "relevant@"),
    ("wanted_share_at_", "wanted share@"),
    ("preference_rate", "preference"),
)
_ENDINGS = {"_consistent": "consistent", "_without_leaked": "without leaked", "_exchanged": "captions exchanged"}
_CONTROLS = {
    "untrained_backbone": "the backbone before training",
    "shuffled_references": "with another query's reference image",
    "empty_text": "without the text",
    "random": "chance",
}


def short_name(metric: str) -> str:
    """A metric's name in tables.

    >>> short_name("recall_subset_at_1"), short_name("map_at_5"), short_name("average")
    ('Rs@1', 'mAP@5', 'average')
    >>> short_name("dress_recall_at_10"), short_name("preference_rate_consistent")
    ('dress R@10', 'preference, consistent')
    """
    for ending, words in _ENDINGS.items():
        if metric.endswith(ending):
            return f"{short_name(metric.removesuffix(ending))}, {words}"
    for long, short in _SHORT:
        before, found, after = metric.partition(long)
        if found and (not before or before.endswith("_")):
            return f"{before.replace('_', ' ')}{short}{after}"
    return metric.replace("_", " ")


def number(value: float, digits: int = 1) -> str:
    """A percentage in tables; never "-0.0".

    >>> number(31.249), number(-0.04)
    ('31.2', '0.0')
    """
    return re.sub(r"^-(0\.?0*)$", r"\1", f"{value:.{digits}f}")


def between(bounds: Sequence[float]) -> str:
    """An interval.

    >>> between((28.14, 34.4))
    '28.1 to 34.4'
    """
    low, high = bounds
    return f"{number(low)} to {number(high)}"


def difference(value: float, bounds: Sequence[float]) -> str:
    """A difference with its interval, every number with its sign.

    >>> difference(2.04, (-0.51, 4.6))
    '+2.0 (-0.5 to +4.6)'
    """
    low, high = bounds
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def control_name(control: str) -> str:
    """What a control is, in words.

    >>> control_name("empty_text")
    'without the text'
    """
    return _CONTROLS.get(control, control.replace("_", " "))
