"""What each metric means, in one sentence: the report shows it, and `docs/evaluation.md` says it at length."""

import re

from qure.benchmarks import get_benchmark

_PATTERNS = {
    r"recall_at_(\d+)": "share of queries whose target is among the {0} best candidates",
    r"recall_subset_at_(\d+)": "the same among the other five members of the query's image set, {0} best",
    r"map_at_(\d+)": "precision summed at the right answers among the {0} best, over min(number of answers, {0})",
    r"right_recall_at_(\d+)": "mean share of all right answers, target and marked ones, among the {0} best",
    r"right_map_at_(\d+)": "precision summed at all right answers among the {0} best, over min(their number, {0})",
    r"ndcg_at_(\d+)": "discounted gain of the {0} best, by share of wanted attributes met, over the best possible",
    r"wanted_share_at_(\d+)": "mean share of the wanted attributes that the {0} best meet",
    r"relevant_at_(\d+)": "share of the {0} best that meet every wanted attribute",
    r"preference_rate": "how often people preferred set 1 where the model ranks set 1 higher (as published)",
    r"picks_changed_by_order": "share of answers for which the model ranks the other set higher once the captions are "
    "exchanged",
    r"agreement": "how often model and person prefer the same set, both directions; a tie of the model counts half",
}
#: Ending of a metric's name -> what it adds.
_ENDINGS = {
    "_consistent": "without rows in which the preferred set was scored lower",
    "_without_leaked": "without queries whose target train triplets name",
    "_exchanged": "with the two captions of every sentence exchanged",
}


def meaning(metric: str, benchmark: str) -> str:
    """A metric's meaning, in words.

    Args:
        metric: a key without a category's prefix.
        benchmark: whose.

    >>> meaning("recall_at_10", "cirr")
    'share of queries whose target is among the 10 best candidates'
    >>> meaning("preference_rate_consistent", "hp-fashioniq").split("; ")[1]
    'without rows in which the preferred set was scored lower'
    """
    if metric == "average":
        return str(get_benchmark(benchmark).averages)
    for ending, adds in _ENDINGS.items():
        if metric.endswith(ending):
            return f"{meaning(metric.removesuffix(ending), benchmark)}; {adds}"
    for pattern, words in _PATTERNS.items():
        if found := re.fullmatch(pattern, metric):
            return words.format(*found.groups())
    return f"as {get_benchmark(benchmark).title} defines it"
