"""Arms as whole recipes: what comes from where, and what mistakes say."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qure.ablation.arms import ARMS, read_arms
from qure.config import Settings
from qure.errors import BadInput
from qure.strategies import registry
from qure.strategies.registry import Strategy

SETTINGS = Settings.model_validate({"training": {"fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 3}}}})
STRATEGIES = {"all_corpus", "top_k", "after_target_top_k", "between_steep_drops"}


def recipes(**arguments: Any) -> dict[str, Any]:
    return {arm.name: arm.recipe for arm in read_arms(SETTINGS, "fashioniq", **arguments).arms}


def test_the_arms_of_qure_cover_strategies_rules_losses_and_options() -> None:
    found = recipes()
    rewards = [recipe for recipe in found.values() if recipe.loss == "bradley_terry"]
    assert {recipe.negatives.strategy for recipe in rewards} == STRATEGIES
    assert {recipe.negatives.rule for recipe in rewards} == {"reference", "paper"}
    assert found["contrastive"].loss == "contrastive"
    published = found["published"]
    assert (published.temperature, published.negatives.negatives_per_query) == ("learned", 1)
    assert (published.negatives.search_window, published.negatives.shared_negatives) == (None, False)


def test_options_are_added_one_by_one() -> None:
    found = recipes()
    chain = [found[name].model_dump() for name in ("published", "window", "shared", "fixed", "softmax", "four")]
    for before, after in pairwise(chain):
        changed = {name for name in before if before[name] != after[name] and name != "negatives"}
        changed |= {name for name in before["negatives"] if before["negatives"][name] != after["negatives"][name]}
        assert len(changed - {"temperature_value"}) == 1


def test_arms_share_everything_that_is_not_studied() -> None:
    arms = read_arms(SETTINGS, "fashioniq", epochs=5).arms
    for field in ("seed", "learning_rate", "weight_decay", "precision", "held_out_share"):
        assert len({str(getattr(arm.recipe, field)) for arm in arms}) == 1, field
    assert {arm.recipe.batch_size for arm in arms if arm.name != "top_200_batch_64"} == {32}
    assert {arm.recipe.epochs / arm.budget for arm in arms} == {5}


def test_the_recipes_epochs_are_the_budget_when_none_is_given() -> None:
    assert recipes(names=["published"])["published"].epochs == 3


def test_an_arm_with_another_budget_is_compared_under_that_budget() -> None:
    arms = {arm.name: arm for arm in read_arms(SETTINGS, "fashioniq").arms}
    compared = {name: arms[arm.against] for name, arm in arms.items() if arm.against}
    assert set(arms) - set(compared) == {"contrastive", "contrastive_longer"}
    for name, other in compared.items():
        assert other.recipe.loss == "contrastive"
        assert other.recipe.epochs == arms[name].recipe.epochs


def test_named_arms_come_in_the_order_they_were_named() -> None:
    assert list(recipes(names=["published", "contrastive", "published"])) == ["published", "contrastive"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("baseline: a\narms: {a: {title: A, group: g, changes: {negatives: {windw: 3}}}}", ["arm 'a'", "windw"]),
        ("baseline: a\narms: {a: {title: A, group: g, changes: {loss: hinge}}}", ["arm 'a'", "loss"]),
        ("baseline: b\narms: {a: {title: A, group: g}}", ["arms", "the baseline 'b' is not among them"]),
        ("baseline: a\narms: {a: {title: A, group: g, like: b}}", ["arms.a.like", "no arm 'b'"]),
        ("baseline: a\narms: {a: {title: A, group: g, like: a}}", ["arms.a.like", "a -> a"]),
        ("baseline: a\narms: {a: {title: A, group: g, chnages: {}}}", ["arms.a.chnages"]),
        ("baseline: a\narms: {}", ["arms"]),
        ("baseline: a\narms: {a: {title: A, group: g, against: b}}", ["arms.a.against", "no arm 'b'"]),
    ],
)
def test_a_mistake_names_file_arm_and_field(arms_file: Callable[[str], Path], text: str, said: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        recipes(file=arms_file(text))
    for part in ["arms.yaml", *said]:
        assert part in str(caught.value)


def test_an_unknown_arm_names_those_there_are() -> None:
    with pytest.raises(BadInput, match="no arm 'publishd'; there are contrastive, all_corpus"):
        recipes(names=["publishd"])
    assert ARMS.is_file()


def test_no_arm_at_all_is_said() -> None:
    with pytest.raises(BadInput, match="there is no arm to train"):
        recipes(names=[])


def test_a_strategy_that_cannot_be_run_is_named_by_its_own_file_and_line(arms_file: Callable[[str], Path]) -> None:
    file = arms_file("baseline: a\narms: {a: {title: A, group: g, changes: {negatives: {strategy: own.py:choose}}}}")
    own = "import torch\nimport nowhere_to_be_found\ndef choose(ranking): ...\n"
    (file.parent / "own.py").write_text(own)
    with pytest.raises(BadInput, match="nowhere_to_be_found") as caught:
        recipes(file=file)
    assert (Path(caught.value.file or "").name, caught.value.row) == ("own.py", "line 2")


def test_a_registered_strategy_that_takes_no_ranking_is_named_by_its_arm(
    arms_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {**registry._registered, "none": Strategy("none", lambda: None)})  # type: ignore[arg-type, return-value]
    file = arms_file("baseline: a\narms: {a: {title: A, group: g, changes: {negatives: {strategy: none}}}}")
    with pytest.raises(BadInput, match=r"arms\.a\.changes\.negatives\.strategy': the strategy 'none' takes no ranking"):
        recipes(file=file)
