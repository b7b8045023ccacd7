"""Ways to choose negatives: registered ones, those of a user's file, their options, and what is said of mistakes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import qure.negatives.published  # noqa: F401 (registers the published ones)
from qure.ablation.arms import read_arms
from qure.config import NegativeSettings, Settings
from qure.errors import BadInput
from qure.negatives.mining import mine, negatives_from_scores
from qure.strategies import PUBLISHED, Ranking, find, names, read_code, registry, require_usable, strategy
from qure.strategies.options import call_arguments

#: Ranks: columns 0, 1, 2, ... in that order.
FALLING = torch.tensor([[0.9, 0.8, 0.7, 0.4, 0.35, 0.3, 0.1, 0.05]])

CLOSE = """\
from qure.strategies import Ranking


def close_scores(ranking: Ranking, *, margin: float = 0.15):
    return (ranking.scores - ranking.target_scores[:, None]).abs() < margin


def every_second(ranking, *, step: int, top_k: int):
    return (ranking.ranks % step == 0).expand_as(ranking.scores) & (ranking.ranks < top_k)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with params.yaml beside close.py."""
    (tmp_path / "close.py").write_text(CLOSE)
    return tmp_path


def _load(folder: Path, negatives: dict[str, Any], recipe: str = "qure/recipes/catalogue.yaml") -> Settings:
    file = folder / "params.yaml"
    chosen = {"recipe": recipe, "overrides": {"negatives": negatives}}
    file.write_text(yaml.safe_dump({"training": {"fashioniq": chosen}}))
    return Settings.load(file)


def _negatives(folder: Path, **negatives: Any) -> NegativeSettings:
    return _load(folder, negatives).training_for("fashioniq").negatives


def _columns(chosen: NegativeSettings, target: int, scores: Tensor = FALLING) -> list[int]:
    hard, _ = negatives_from_scores(scores, torch.tensor([target]), chosen)
    return list(hard.of(0).tolist())


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_the_published_names_are_what_their_module_registers() -> None:
    import qure.negatives.published as module

    registered = [name for name, one in registry._registered.items() if one.choose.__module__ == module.__name__]
    assert tuple(registered) == PUBLISHED
    assert [name for name in registered if find(NegativeSettings(strategy=name)).whole_corpus] == ["all_corpus"]


@pytest.mark.usefixtures("unregistered")
def test_a_registered_strategy_is_a_setting_like_the_published_ones() -> None:
    with pytest.raises(ValueError, match=r"'between_steep_drops' or FILE.py:FUNCTION"):
        NegativeSettings(strategy="only_next")

    @strategy("only_next")
    def only_next(ranking: Ranking) -> Tensor:
        return ranking.ranks == ranking.target_ranks[:, None] + 1

    assert "only_next" in names()
    assert _columns(NegativeSettings(strategy="only_next"), 2) == [3]
    assert _columns(NegativeSettings(strategy="only_next"), 7) == [0, 1, 2, 3, 4, 5, 6], "nothing follows: falls back"


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize("name", ["top_k", "twice"])
def test_a_name_belongs_to_one_function(name: str) -> None:
    if name == "twice":
        strategy("twice")(lambda ranking: ranking.scores > 0)

    def other(ranking: Ranking) -> Tensor:
        return ranking.scores > 1

    with pytest.raises(BadInput, match="there is a strategy"):
        strategy(name)(other)


@pytest.mark.parametrize("name", ["two words", "close.py", ""])
def test_a_name_that_settings_could_not_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match=f"'{name}' is not a name for a strategy. Use letters, digits and _"):
        strategy(name)


def test_a_strategy_that_is_not_registered_names_those_that_are() -> None:
    with pytest.raises(BadInput, match=r"field 'strategy': no strategy 'nearest'\. There are all_corpus, top_k, "):
        registry.get("nearest")


@pytest.mark.usefixtures("unregistered")
def test_an_error_of_a_registered_function_is_the_callers_own() -> None:
    @strategy("broken")
    def broken(ranking: Ranking) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        _columns(NegativeSettings(strategy="broken"), 2)


def test_settings_of_registered_strategies_have_the_fingerprint_that_they_had() -> None:
    assert not {"options", "code"} & set(NegativeSettings().model_dump(mode="json"))


def test_a_function_of_a_file_beside_params_yaml_chooses(own: Path) -> None:
    assert _columns(_negatives(own, strategy="close.py:close_scores"), 1) == [0, 2]
    assert _columns(_negatives(own, strategy="close.py:close_scores", options={"margin": 0.01}), 4) == [5, 6, 7], (
        "nothing is that close: all images after the target"
    )


def test_a_function_of_a_file_chooses_a_range_and_needs_no_order(own: Path) -> None:
    (own / "close.py").write_text(
        "from qure.strategies import Range\n\n\ndef next_three(ranking):\n"
        "    return Range(ranking.target_ranks + 1, ranking.target_ranks + 4)\n"
    )
    assert _columns(_negatives(own, strategy="close.py:next_three"), 2) == [3, 4, 5]
    assert _columns(_negatives(own, strategy="close.py:next_three"), 6) == [7]


def test_a_parameter_named_like_a_setting_gets_its_value(own: Path) -> None:
    chosen = _negatives(own, strategy="close.py:every_second", options={"step": "3"}, top_k=7)
    assert _columns(chosen, 1) == [0, 3, 6]


def test_a_relative_path_starts_at_the_file_that_names_it(own: Path) -> None:
    (own / "lab").mkdir()
    (own / "close.py").rename(own / "lab" / "close.py")
    (own / "lab" / "mine.yaml").write_text("negatives: {strategy: 'close.py:close_scores'}\n")
    recipe = _load(own, {}, recipe="lab/mine.yaml").training_for("fashioniq")
    assert _columns(recipe.negatives, 1) == [0, 2]
    with pytest.raises(BadInput, match=r"close\.py.*does not exist"):
        _load(own, {"strategy": "close.py:close_scores"})


def test_an_edit_is_another_recipe_and_the_place_of_the_file_is_not(own: Path, tmp_path: Path) -> None:
    first = _negatives(own, strategy="close.py:close_scores")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "close.py").write_text(CLOSE)
    assert _negatives(elsewhere, strategy="close.py:close_scores") == first
    (own / "close.py").write_text(CLOSE.replace("0.15", "0.5"))
    edited = _negatives(own, strategy="close.py:close_scores")
    assert edited.model_dump() != first.model_dump()
    assert (_columns(first, 1), _columns(edited, 1)) == ([0, 2], [0, 2, 3, 4]), "both are run as they were read"


def test_another_strategy_drops_the_options_and_the_code_of_the_former(own: Path) -> None:
    (own / "mine.yaml").write_text("negatives: {strategy: 'close.py:close_scores', options: {margin: 0.3}}\n")
    kept = _load(own, {"search_window": None}, recipe="mine.yaml").training_for("fashioniq").negatives
    changed = _load(own, {"strategy": "top_k"}, recipe="mine.yaml").training_for("fashioniq").negatives
    assert kept.options == {"margin": 0.3}
    assert (changed.strategy, changed.options, changed.code) == ("top_k", {}, None)
    assert kept.with_strategy("all_corpus").code is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def close_scores(ranking):\n    return ranking.\n", "close.py, line 2: not Python"),
        ("import math\ncloser = 3\n", "the file has no function 'close_scores'. It has none at its top level"),
        (b"\xff\xfe", "not a text in UTF-8"),
        ("#" * 70_000, "70000 bytes are too many"),
    ],
)
def test_a_file_that_cannot_be_one_is_refused_when_settings_are_read(own: Path, text: str | bytes, said: str) -> None:
    (own / "close.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as caught:
        _negatives(own, strategy="close.py:close_scores")
    assert said in str(caught.value)
    assert str(caught.value.file).endswith("close.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_anywhere\ndef f(ranking): ...\n", "close.py, line 1: ModuleNotFoundError"),
        ("def f(): ...\n", "close.py, line 1: the strategy 'close.py:f' takes no ranking"),
        (
            "from qure.errors import BadInput\nraise BadInput('not on Mondays', field='today')\ndef f(ranking): ...\n",
            "field 'today': not on Mondays",
        ),
    ],
)
def test_a_file_that_cannot_be_run_is_refused_before_the_work(own: Path, text: str, said: str) -> None:
    (own / "close.py").write_text(text)
    with pytest.raises(BadInput) as caught:
        require_usable(_negatives(own, strategy="close.py:f"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    return helper(ranking)\n\n\ndef helper(ranking):\n    return 1 / 0\n", "line 6: ZeroDivisionError"),
        ("    return ranking.scores\n", "line 1: the strategy 'close.py:f' must give bool (1, 8)"),
        (
            "    from qure.strategies import Range\n    return Range(ranking.ranks, ranking.target_ranks)\n",
            "line 1, field 'first': the strategy 'close.py:f' must give int64 (1,)",
        ),
        ("    return ranking.scores[:, :3] > 0\n", "gave bool (1, 3)"),
        ("    return None\n", "gave NoneType"),
        (
            "    return (ranking.scores > 0).to('meta')\n",
            "gave a tensor on meta where the scores are on cpu",
        ),
    ],
)
def test_a_function_that_fails_is_named_with_its_line(own: Path, body: str, said: str) -> None:
    (own / "close.py").write_text(f"def f(ranking):\n{body}")
    chosen = _negatives(own, strategy="close.py:f")
    with pytest.raises(BadInput) as caught:
        mine(torch.eye(8)[:1], torch.eye(8)[:, None], [0], chosen)
    assert said in str(caught.value)
    assert str(caught.value.file) == "close.py"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("close.py:close_scores", {"margn": 1}, "field 'options.margn': the strategy 'close.py:close_scores' has no"),
        ("close.py:close_scores", {"margin": "wide"}, "'wide' does not suit"),
        ("close.py:every_second", {}, "field 'options.step': the strategy 'close.py:every_second' needs this option"),
        ("close.py:every_second", {"step": 2, "top_k": 3}, "Set negatives.top_k"),
        ("top_k", {"margin": 1}, "It has none"),
    ],
)  # fmt: skip
def test_options_are_checked_by_the_functions_signature(
    own: Path, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        require_usable(_negatives(own, strategy=name, options=options))
    assert said in str(caught.value)


def test_a_mistake_that_a_function_names_itself_is_told_in_its_words(own: Path) -> None:
    (own / "close.py").write_text(
        "from qure.errors import BadInput\n\n\ndef f(ranking):\n    raise BadInput('no such shelf', field='shelf')\n"
    )
    with pytest.raises(BadInput, match=r"^field 'shelf': no such shelf$"):
        _columns(_negatives(own, strategy="close.py:f"), 1)


def test_a_function_may_look_at_the_columns_themselves(own: Path) -> None:
    (own / "close.py").write_text("def odd(ranking):\n    return ranking.order % 2 == 1\n")
    shuffled = FALLING[:, torch.tensor([3, 0, 2, 1, 7, 5, 4, 6])]
    assert _columns(_negatives(own, strategy="close.py:odd"), 1, shuffled) == [3, 5, 7]


@pytest.mark.parametrize("name", ["close.py", "close.py:", "close.txt:f", ":f"])
def test_what_names_no_function_of_a_file_says_how_it_is_written(own: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"does not name a function of a file\. Write FILE\.py:FUNCTION"):
        read_code(name, own)


def test_a_file_that_cannot_be_opened_is_named(own: Path) -> None:
    with pytest.raises(BadInput, match=r"close\.py/inner\.py: the strategy .* cannot be read: Not a directory"):
        _negatives(own, strategy="close.py/inner.py:f")


def test_an_option_without_an_annotation_may_be_anything(own: Path) -> None:
    (own / "close.py").write_text("def f(ranking, *, margin=0.1): ...\n")
    chosen = _negatives(own, strategy="close.py:f", options={"margin": ["wide"]})
    require_usable(chosen)
    assert call_arguments(find(chosen), chosen) == {"margin": ["wide"]}


def test_an_annotation_that_means_nothing_is_named_with_its_line(own: Path) -> None:
    (own / "close.py").write_text("from __future__ import annotations\n\n\ndef f(ranking, *, margin: Width = 1): ...\n")
    with pytest.raises(BadInput, match=r"close\.py, line 4: the annotation of 'margin': name 'Width' is not defined"):
        require_usable(_negatives(own, strategy="close.py:f", options={"margin": 2}))


def test_annotations_are_read_where_they_are_texts(own: Path) -> None:
    (own / "close.py").write_text("from __future__ import annotations\n" + CLOSE)
    with pytest.raises(BadInput, match="does not suit"):
        require_usable(_negatives(own, strategy="close.py:close_scores", options={"margin": "wide"}))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_a_strategy_marks_the_target_is_none_and_nobody_goes_without(data: st.DataObject) -> None:
    queries, corpus = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 9))
    marks = torch.tensor(
        data.draw(
            st.lists(st.lists(st.booleans(), min_size=corpus, max_size=corpus), min_size=queries, max_size=queries)
        )
    )
    targets = torch.tensor(data.draw(st.lists(st.integers(0, corpus - 1), min_size=queries, max_size=queries)))
    kept = dict(registry._registered)
    try:
        strategy("drawn")(lambda ranking: marks)
        scores = torch.rand(queries, corpus, generator=torch.Generator().manual_seed(corpus))
        hard, _ = negatives_from_scores(scores, targets, NegativeSettings(strategy="drawn"))
    finally:
        registry._registered.clear()
        registry._registered.update(kept)
    order = scores.argsort(dim=1, descending=True, stable=True)
    for row, target in enumerate(targets.tolist()):
        members = set(hard.of(row).tolist())
        assert members
        assert target not in members
        wanted = set(order[row][marks[row]].tolist()) - {target}
        assert not wanted or members == wanted


def test_arms_of_an_ablation_name_files_beside_their_own(own: Path) -> None:
    (own / "arms.yaml").write_text(
        "baseline: plain\n"
        "base: {negatives: {strategy: between_steep_drops}}\n"
        "arms:\n"
        "  plain: {title: Plain, group: all, changes: {loss: contrastive}}\n"
        "  close: {title: Close, group: all, changes: {negatives: {strategy: 'close.py:close_scores'}}}\n"
        "  wide: {title: Wide, group: all, like: close, changes: {negatives: {options: {margin: 0.5}}}}\n"
        "  typo: {title: Typo, group: all, like: close, changes: {negatives: {options: {margn: 0.5}}}}\n"
    )
    base = _load(own, {"strategy": "close.py:every_second", "options": {"step": 2}})
    read = read_arms(base, "fashioniq", file=own / "arms.yaml", names=["plain", "close", "wide"])
    plain, close, wide = (arm.recipe.negatives for arm in read.arms)
    assert (plain.strategy, plain.options) == ("between_steep_drops", {})
    assert (_columns(close, 1), _columns(wide, 1)) == ([0, 2], [0, 2, 3, 4])
    with pytest.raises(BadInput, match=r"arms\.typo\.changes\.negatives\.options\.margn"):
        read_arms(base, "fashioniq", file=own / "arms.yaml")


DVC = """\
stages:
  train:
    foreach: ${training}
    do:
      cmd: qure train --training-set ${key}
      deps: [data, %s]
"""


def test_dvc_trains_again_only_after_edits_of_files_that_it_follows(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    monkeypatch.setenv("DVC_STAGE", "train@fashioniq")
    (own / "dvc.yaml").write_text(DVC % "qure/training")
    with pytest.raises(BadInput, match=r"Add `- close\.py` to the deps of the stage train in dvc\.yaml"):
        _negatives(own, strategy="close.py:close_scores")
    monkeypatch.setenv("DVC_STAGE", "validate@fashioniq")
    _negatives(own, strategy="close.py:close_scores")
    monkeypatch.setenv("DVC_STAGE", "train@fashioniq")
    (own / "dvc.yaml").write_text(DVC % "close.py")
    _negatives(own, strategy="close.py:close_scores")


def test_reading_settings_with_a_strategy_of_a_file_runs_none_of_it(own: Path) -> None:
    (own / "close.py").write_text("raise SystemExit('run')\n\ndef f(ranking): ...\n")
    assert _negatives(own, strategy="close.py:f").strategy == "close.py:f"
