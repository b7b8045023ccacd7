"""When hard negatives are defined anew, as published: every floor(n_epoch / n_def) epochs.

During the first floor(n_epoch / n_def) epochs (warm-up) a query's set is the whole corpus except its target. A run
with fewer epochs than definitions, for which the published formula gives zero, mines before every epoch but the first.
"""


def mining_interval(epochs: int, definitions: int) -> int:
    """Epochs between two minings, at least one.

    >>> mining_interval(30, 6), mining_interval(50, 6), mining_interval(3, 6)
    (5, 8, 1)
    """
    if epochs < 1 or definitions < 1:
        raise ValueError(f"epochs and definitions must be at least 1, not {epochs} and {definitions}")
    return max(1, epochs // definitions)


def is_mining_epoch(epoch: int, epochs: int, definitions: int) -> bool:
    """Whether the model mines before this 0-based epoch.

    >>> is_mining_epoch(0, 30, 6), is_mining_epoch(5, 30, 6)
    (False, True)
    """
    return epoch > 0 and epoch % mining_interval(epochs, definitions) == 0


def mining_and_age(epoch: int, epochs: int, definitions: int) -> tuple[int, int]:
    """Which mining an epoch draws from (0 = warm-up) and how many epochs ago that was.

    >>> mining_and_age(4, 30, 6), mining_and_age(5, 30, 6), mining_and_age(12, 30, 6)
    ((0, 4), (1, 0), (2, 2))
    """
    return divmod(epoch, mining_interval(epochs, definitions))
