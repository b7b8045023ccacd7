"""A run's settings as one line of text, and what single values change in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.settings import changed, one_line, parse
from qure.config import Settings, TrainingSettings, read_yaml
from qure.errors import BadInput

PARAMS = "training:\n  fashioniq: {recipe: catalogue, overrides: {epochs: 3, seed: 5}}\n  cirr: {recipe: catalogue}\n"
SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"


def test_the_shipped_settings_are_one_short_line_that_means_the_same() -> None:
    text = one_line(read_yaml(SHIPPED))
    assert "\n" not in text
    assert json.loads(text)["training"]["cirr"] == {"recipe": "catalogue"}
    again, shipped = parse(text), Settings.load(SHIPPED)
    assert again.resolved() | {"tracking": None, "training": None} == shipped.resolved() | {
        "tracking": None,
        "training": None,
    }
    assert "uri" not in json.loads(text)["tracking"], "the environment says where MLflow is"


def test_tracking_that_is_off_stays_off() -> None:
    assert json.loads(one_line({"tracking": {"uri": None}})) == {"tracking": {"uri": None}}


def test_single_values_win_over_the_text() -> None:
    text = changed(PARAMS, "fashioniq", epochs=7, backbone="blip2-vitl")
    recipe = parse(text).training_for("fashioniq")
    assert (recipe.epochs, recipe.seed) == (7, 5)
    assert parse(text).backbone.name == "blip2-vitl"
    assert parse(text).training_for("cirr") == parse(PARAMS).training_for("cirr")
    assert "\n" not in text


def test_json_may_be_indented_with_tabs() -> None:
    assert parse('{\t"training": {\t"cirr": {"recipe": "catalogue"}}}').training["cirr"].recipe == "catalogue"
    with pytest.raises(BadInput, match="line 1, column 1, field 'training'"):
        parse('{\t"backbone": {}}')


def test_what_is_left_out_changes_nothing() -> None:
    assert parse(changed(PARAMS, "cirr")).resolved() == parse(PARAMS).resolved()


def test_a_recipe_takes_the_place_of_the_settings_recipe_and_its_single_values() -> None:
    chosen = parse(changed(PARAMS, "fashioniq", recipe="fashioniq-published", seed=9)).training_for("fashioniq")
    published = Settings.model_validate({"training": {"fashioniq": {"recipe": "fashioniq-published"}}})
    assert chosen == published.training_for("fashioniq").model_copy(update={"seed": 9})


@pytest.mark.skipif("exclude_leaked" not in TrainingSettings.model_fields, reason="recipes do not know leaked triplets")
def test_leaked_triplets_can_be_left_out() -> None:
    assert changed(PARAMS, "fashioniq", exclude_leaked=True).count('"exclude_leaked": true') == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"training": {"fashioniq": {"recipe": catalogue', "line 1, column"),
        (
            '{"training": {"fashioniq": {"recipe": "catalogue"}}, "evaluation": {"bootstrap_samples": [}}',
            "bootstrap_samples",
        ),
        ("training:\n  fashioniq: {recipe: catalogue}\nevaluation: {bootstrap_samples: many}\n", "line 3, column 14"),
        ('{"training": {"fashioniq": {"recipe": "catalogue"}}, "nothing": 1}', "nothing"),
        ('{"training": 3}', "line 1, column 2, field 'training"),
        ('{"training": {"fashioniq": 3}}', "line 1, column 15, field 'training.fashioniq"),
    ],
)
def test_a_broken_text_is_refused_with_line_and_key(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        changed(text, "fashioniq")
    assert "pipeline argument params, line " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"epochs": -3}, "epochs"), ({"recipe": "fast"}, "One of catalogue"), ({"backbone": "x"}, "backbone")],
)
def test_a_wrong_value_is_refused_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        changed(PARAMS, "fashioniq", **values)


def test_a_training_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="no training set 'shoes'; there are cirr, fashioniq"):
        changed(PARAMS, "shoes", epochs=1)
