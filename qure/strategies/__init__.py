"""Ways to choose negatives, by name: qure's own, those that a program registers, and functions of a file of the user's.

A strategy is a function of rankings. It says which ranks of every query are its hard negatives; what it must not say
(the target, its copies, excluded images, queries that are left without any) `qure.negatives.selection` sees to::

    from torch import Tensor
    from qure.strategies import Ranking

    def close_scores(ranking: Ranking, *, margin: float = 0.1) -> Tensor:
        return (ranking.scores - ranking.target_scores[:, None]).abs() < margin

In a file of its own it is named in the settings: `strategy: close.py:close_scores`, `options: {margin: 0.2}`. A program
registers it with `@strategy("close_scores")`. docs/strategies.md tells the rules.
"""

from qure.strategies.calling import choose, find, require_usable
from qure.strategies.files import LARGEST_FILE, file_of, is_in_a_file, read_code
from qure.strategies.options import SETTINGS, Chooser
from qure.strategies.ranking import Choice, Range, Ranking
from qure.strategies.registry import PUBLISHED, Strategy, names, strategy

__all__ = [
    "LARGEST_FILE",
    "PUBLISHED",
    "SETTINGS",
    "Choice",
    "Chooser",
    "Range",
    "Ranking",
    "Strategy",
    "choose",
    "file_of",
    "find",
    "is_in_a_file",
    "names",
    "read_code",
    "require_usable",
    "strategy",
]
