"""A strategy of one's own: the images whose relevance is close to the target's.

In params.yaml, below `overrides:` of a training set (docs/strategies.md):

    negatives: {strategy: examples/close_scores.py:close_scores, options: {margin: 0.1}}
"""

from torch import Tensor

from qure.strategies import Ranking


def close_scores(ranking: Ranking, *, margin: float = 0.05) -> Tensor:
    """Images above and below the target alike: those that the model can still confuse with it."""
    return (ranking.scores - ranking.target_scores[:, None]).abs() < margin
