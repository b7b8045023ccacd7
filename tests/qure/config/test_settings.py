"""Recipes: where they are looked for, and what laid over them counts."""

from pathlib import Path

import pytest

from qure.config import Settings, TrainingSettings, read_recipe, read_yaml
from qure.errors import BadInput
from qure.tracking import tracking_uri

SHIPPED = "qure/recipes/catalogue.yaml"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, while the command was started in another one."""
    (tmp_path / "started-here").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "started-here")
    return tmp_path / "project"


def _load(folder: Path, recipe: str, overrides: str = "{}") -> Settings:
    file = folder / "params.yaml"
    file.write_text(f"training: {{fashioniq: {{recipe: {recipe}, overrides: {overrides}}}}}\n")
    return Settings.load(file)


def test_a_relative_path_begins_at_params_yaml(elsewhere: Path) -> None:
    (elsewhere / "my.yaml").write_text("epochs: 3\n")
    assert _load(elsewhere, "my.yaml").training_for("fashioniq").epochs == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tracking: {uri: null}\nfeatures: {}\ntracking: {uri: none}\n", "'tracking' stands twice.*line 3"),
        ("training:\n  cirr:\n    recipe: a\n    recipe: b\n", "'recipe' stands twice.*line 4"),
        ("backbone: {pretraining: {learning_rate: .inf}}\n", "backbone.pretraining.learning_rate.*finite"),
        ("backbone: {pretraining: {learning_rate: .nan}}\n", "backbone.pretraining.learning_rate"),
        (
            f"training: {{fashioniq: {{recipe: {SHIPPED}}}}}\ntracking: {{uri: 'http://[::1:5000'}}\n",
            "tracking.uri.*Invalid IPv6 URL",
        ),
    ],
)
def test_what_means_nothing_is_one_line_with_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInput, match=f"(?s)(params.yaml.*{says}|{says}.*params.yaml)") as caught:
        Settings.load(tmp_path / "params.yaml")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("backbone: {vision: {patch_size: 0}}", r"backbone\.vision\.patch_size"),
        ("backbone: {vision: {image_size: 16, patch_size: 32}}", r"backbone\.vision.*no patch is left"),
        ("backbone: {vision: {heads: 3}}", r"backbone\.vision.*width 64 is not a multiple of 3 heads"),
        ("backbone: {qformer: {heads: 7}}", r"backbone\.qformer.*hidden 64 is not a multiple of 7 heads"),
        ("backbone: {qformer: {layers: -1}}", r"backbone\.qformer\.layers"),
        ("backbone: {qformer: {text_tokens: 1}}", r"backbone\.qformer\.text_tokens"),
        ("backbone: {pretraining: {seed: 9223372036854775808}}", r"backbone\.pretraining\.seed"),
        ("catalogue: {seed: -1}", r"catalogue\.seed"),
        ("evaluation: {seed: -1}", r"evaluation\.seed"),
        ("evaluation: {batch_size: yes}", r"evaluation\.batch_size.*no truth value"),
        ("promotion: {max_risk: 0}", r"promotion\.max_risk.*greater than 0"),
        (
            "promotion: {max_risk: 0.0001}",
            r"max_risk: 0\.0001 is less than.*1000 resamples.*nothing would pass",
        ),
        ("promotion: {max_risk: on}", r"promotion\.max_risk.*no truth value"),
        ("validation: {tolerate: {image_missing: yes}}", r"validation\.tolerate.*no truth value"),
        ("promotion: {thresholds: {cirr: {recall_at_10: on}}}", r"promotion\.thresholds.*no truth value"),
        ("validation: {workers: true}", r"validation\.workers.*no truth value"),
    ],
)
def test_what_no_stage_could_work_with_is_refused_at_once(tmp_path: Path, settings: str, says: str) -> None:
    (tmp_path / "params.yaml").write_text(f"training: {{fashioniq: {{recipe: {SHIPPED}}}}}\n{settings}\n")
    with pytest.raises(BadInput, match=says):
        Settings.load(tmp_path / "params.yaml")


def test_a_truth_value_stays_one_where_it_is_meant(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"training: {{fashioniq: {{recipe: {SHIPPED}}}}}\nvalidation: {{expect_public: yes}}\n")
    assert Settings.load(file).validation.expect_public is True


def test_a_key_that_a_merge_brings_along_is_not_twice(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(file)["b"] == {"x": 3, "y": 2}


def test_an_infinite_learning_rate_in_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("learning_rate: .inf\n")
    with pytest.raises(BadInput, match=r"learning_rate.*finite"):
        _load(tmp_path, str(tmp_path / "my.yaml"))


def test_two_projects_without_settings_of_tracking_have_a_database_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "params.yaml").write_text("training: {}\n")
    monkeypatch.chdir(tmp_path / "two")
    found = [Settings.load(tmp_path / name / "params.yaml").tracking for name in ("two", "one", "two")]
    assert [tracking_uri(one) for one in found] == [
        "sqlite:///mlflow.db",
        f"sqlite:///{tmp_path}/one/mlflow.db",
        "sqlite:///mlflow.db",
    ]


def test_in_the_projects_own_folder_the_settings_say_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yaml").write_text("epochs: 3\n")
    _load(tmp_path, "my.yaml")
    monkeypatch.chdir(tmp_path)
    assert Settings.load(Path("params.yaml")).training["fashioniq"].recipe == "my.yaml"


def test_the_librarys_recipes_are_found_without_a_copy_in_the_project(elsewhere: Path) -> None:
    assert _load(elsewhere, SHIPPED).training_for("fashioniq").epochs == read_recipe("catalogue")["epochs"]


def test_a_projects_own_copy_comes_first(elsewhere: Path) -> None:
    (elsewhere / SHIPPED).parent.mkdir(parents=True)
    (elsewhere / SHIPPED).write_text("epochs: 17\n")
    assert _load(elsewhere, SHIPPED).training_for("fashioniq").epochs == 17


def test_a_missing_recipe_names_those_there_are(elsewhere: Path) -> None:
    with pytest.raises(BadInput, match=r"no recipe 'my\.yaml'.*catalogue"):
        _load(elsewhere, "my.yaml")


def test_null_leaves_the_recipes_value_unless_null_is_a_value(elsewhere: Path) -> None:
    (elsewhere / "my.yaml").write_text(
        "{epochs: 3, gradient_clipping: 1.0, negatives: {top_k: 9, search_window: 50}}\n"
    )
    found = _load(
        elsewhere, "my.yaml", "{epochs: null, gradient_clipping: null, negatives: {top_k: null, search_window: null}}"
    ).training_for("fashioniq")
    assert (found.epochs, found.negatives.top_k) == (3, 9)
    assert (found.gradient_clipping, found.negatives.search_window) == (None, None)


def test_an_unknown_override_is_refused_also_when_it_is_null(elsewhere: Path) -> None:
    with pytest.raises(BadInput, match="epoch"):
        _load(elsewhere, SHIPPED, "{epoch: null}")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ("{early_stop_patience: 2, held_out_share: 0}", r"early_stop_patience needs held_out_share > 0"),
        ("{batch_size: 4, accumulation_steps: 8}", "accumulation_steps 8 exceeds batch_size 4"),
        (
            "{batches: mixed, loss: bradley_terry, negatives: {shared_negatives: true}}",
            "shared_negatives needs batches of one category: set batches to auto or one_category",
        ),
        ("{engine: graph, gradient_checkpointing: true}", "engine graph cannot recompute layers: set engine to auto"),
        (
            "{negatives: {rule: reference, consecutive_threshold: 5, search_window: 7}}",
            r"negatives.*search_window 7 can never hold two drops of the rule 'reference': it must be at least 8",
        ),
        ("{negatives: {strategy: top_k, code: x}}", "negatives.*'top_k' and `code` do not agree: it is in no file"),
    ],
)
def test_options_that_contradict_each_other_are_named_with_the_way_out(
    elsewhere: Path, overrides: str, says: str
) -> None:
    with pytest.raises(BadInput, match=f"recipe '{SHIPPED}' with training.fashioniq.overrides.*{says}"):
        _load(elsewhere, SHIPPED, overrides).training_for("fashioniq")


def test_settings_with_a_strategy_whose_file_nobody_has_read_say_how_it_is_read() -> None:
    with pytest.raises(ValueError, match=r"'own\.py:choose'.*its file was not read: see qure\.config\.with_code"):
        TrainingSettings.model_validate({"negatives": {"strategy": "own.py:choose"}})


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"file/params\.yaml: cannot be read: Not a directory"):
        Settings.load(tmp_path / "file" / "params.yaml")


def test_under_dvc_a_recipe_is_a_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _load(elsewhere, "catalogue").training_for("fashioniq")
    monkeypatch.setenv("DVC_STAGE", "train@fashioniq")
    with pytest.raises(BadInput, match=r"recipe: qure/recipes/catalogue\.yaml"):
        _load(elsewhere, "catalogue")


def test_two_recipes_of_one_name_are_different_settings(elsewhere: Path) -> None:
    found = []
    for epochs in (2, 3, 2):
        (elsewhere / "my.yaml").write_text(f"epochs: {epochs}\n")
        found.append(_load(elsewhere, "my.yaml").resolved())
    assert [one["recipes"]["fashioniq"]["epochs"] for one in found] == [2, 3, 2]
    assert found[0] == found[2] != found[1]


LAUGHS = "\n".join(f"k{n}: &k{n} [{', '.join([f'*k{n - 1}' if n else 'x'] * 10)}]" for n in range(8))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("training: &all {fashioniq: *all}", "without end"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        (LAUGHS, "once its aliases are written out"),
        ("training: {}\ntraining: {}", "the key 'training' stands twice at line 2"),
        ("training: {fashioniq: {recipe: catalogue, overrides: {learning_rate: .inf}}}", "finite number"),
        ("training: {fashioniq: {recipe: catalogue, overrides: {weight_decay: .nan}}}", "finite number"),
    ],
)
def test_yaml_that_is_no_settings_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(BadInput, match=problem) as caught:
        Settings.load(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_leaving_leaked_triplets_out_is_another_training_and_not_doing_so_the_same_as_ever() -> None:
    assert "exclude_leaked" not in TrainingSettings().model_dump()
    assert TrainingSettings(exclude_leaked=True).model_dump()["exclude_leaked"] is True
