import pytest

from qure.negatives.schedule import is_mining_epoch, mining_and_age, mining_interval


@pytest.mark.parametrize(
    ("epochs", "definitions", "wanted"),
    [
        (30, 6, [5, 10, 15, 20, 25]),
        (50, 6, [8, 16, 24, 32, 40, 48]),
        (8, 6, [1, 2, 3, 4, 5, 6, 7]),
        (11, 6, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (6, 6, [1, 2, 3, 4, 5]),
        (3, 6, [1, 2]),
        (1, 6, []),
        (10, 1, []),
    ],
)
def test_mines_every_floor_epochs_over_definitions(epochs: int, definitions: int, wanted: list[int]) -> None:
    assert [epoch for epoch in range(epochs) if is_mining_epoch(epoch, epochs, definitions)] == wanted


@pytest.mark.parametrize(("epochs", "definitions"), [(30, 6), (50, 6), (8, 6), (3, 6), (1, 1)])
def test_an_epoch_draws_from_the_last_mining_before_it(epochs: int, definitions: int) -> None:
    mined, age = 0, -1
    for epoch in range(epochs):
        mines = is_mining_epoch(epoch, epochs, definitions)
        mined, age = (mined + 1, 0) if mines else (mined, age + 1)
        assert mining_and_age(epoch, epochs, definitions) == (mined, age)


def test_the_warm_up_has_no_mining() -> None:
    assert {mining_and_age(epoch, 30, 6)[0] for epoch in range(mining_interval(30, 6))} == {0}


@pytest.mark.parametrize(("epochs", "definitions"), [(0, 6), (5, 0)])
def test_no_epochs_or_no_definitions_are_refused(epochs: int, definitions: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        mining_interval(epochs, definitions)
