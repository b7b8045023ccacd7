"""HP-FashionIQ's reader."""

from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.datasets import PreferencePair
from qure.errors import BadInput


def test_reads_every_row_of_every_question_set(hp_root: Path) -> None:
    pairs = hp_fashioniq.read_pairs(hp_root)
    assert [pair.query_id for pair in pairs] == [
        "user_1/question_set_1/0", "user_1/question_set_1/1", "user_1/question_set_2/0", "user_1/question_set_2/1",
    ]  # fmt: skip
    assert pairs[0] == PreferencePair(
        query_id="user_1/question_set_1/0",
        reference="R0",
        target="T0",
        text="Is white and long-sleeve and has a logo",
        category="shirt",
        person="user_1",
        set_1=("A0", "A1", "A2", "A3", "A4"),
        set_2=("C0", "C1", "C2", "C3", "C4"),
        preferred=1,
        scores=(4, 3),
        source=f"{hp_root / 'hpfiq.json'}, user_1/question_set_1/0",
        exchanged="Has a logo and is white and long-sleeve",
    )
    assert pairs[1].text == "Got honda and is red& blue"


def test_inconsistent_rows_are_those_whose_preferred_set_has_the_lower_score(hp_root: Path) -> None:
    assert [hp_fashioniq.is_inconsistent(pair) for pair in hp_fashioniq.read_pairs(hp_root)] == [False, True] * 2


def test_equal_scores_are_consistent_with_either_preference(hp_root: Path, edit: Any) -> None:
    edit(hp_root / "hpfiq.json", _retrieved(user_score="2"))
    assert not hp_fashioniq.is_inconsistent(hp_fashioniq.read_pairs(hp_root)[3])


def _column(name: str, index: int, value: Any) -> Any:
    def change(people: Any) -> None:
        people["user_1"]["question_set_2"][name][index] = value

    return change


def _retrieved(**changes: Any) -> Any:
    return lambda people: people["user_1"]["question_set_2"]["retrieved_set2"][1].update(changes)


def _path(name: str) -> str:
    return f"/-/image_data/shirt/{name}.jpg"


FIVE = [_path(f"D{number}") for number in range(5)]
PLACE = "user_1/question_set_2/1"


@pytest.mark.parametrize(
    ("change", "row", "field", "problem"),
    [
        (_column("ref_img_paths", 1, "/etc/passwd"), PLACE, "ref_img_paths", "must be like"),
        (_column("ref_img_paths", 1, _path("../../x")), PLACE, "ref_img_paths", "contains '/'"),
        (_column("ref_img_paths", 1, "/-/image_data/hat/X.jpg"), PLACE, "ref_img_paths", "must be like"),
        (_column("targ_img_paths", 1, "/-/image_data/dress/X.jpg"), PLACE, "targ_img_paths", "category shirt"),
        (_column("preferred set", 1, "3"), PLACE, "preferred set", "must be one of 1, 2, not '3'"),
        (_column("preferred set", 1, None), PLACE, "preferred set", "not None"),
        (_column("preferred set", 1, True), PLACE, "preferred set", "not True"),
        (_column("retrieved_set1", 1, []), PLACE, "retrieved_set1", "must be an object"),
        (_retrieved(img_path=FIVE[:4]), PLACE, "retrieved_set2.img_path", "must hold 5 entries, not 4"),
        (_retrieved(img_path=[*FIVE[:4], FIVE[0]]), PLACE, "retrieved_set2.img_path", "occurs twice"),
        (_retrieved(img_path=[*FIVE[:4], 4]), PLACE, "retrieved_set2.img_path[4]", "must be a string"),
        (_retrieved(img_path=[*FIVE[:4], _path(".x")]), PLACE, "retrieved_set2.img_path[4]", "starts with '.'"),
        (_retrieved(user_score="6"), PLACE, "retrieved_set2.user_score", "one of 1, 2, 3, 4, 5, not '6'"),
        (_retrieved(user_score=4.0), PLACE, "retrieved_set2.user_score", "not 4.0"),
        (_retrieved(user_score=None), PLACE, "retrieved_set2.user_score", "missing"),
        (_column("sentences", 0, 5), None, "user_1.question_set_2.sentences[0]", "must be a string"),
        (
            lambda people: people["user_1"]["question_set_2"]["ref_img_paths"].pop() and None,
            None,
            "user_1.question_set_2.ref_img_paths",
            "must hold 2 entries, not 1",
        ),
        (
            lambda people: people["user_1"]["question_set_2"].pop("preferred set") and None,
            None,
            "user_1.question_set_2.preferred set",
            "missing",
        ),
        (lambda people: people.update(user_2=3), None, "user_2", "must be an object, not a whole number (3)"),
        (lambda people: [people], None, None, "must be an object, not a list"),
    ],
)
def test_names_file_row_and_field(
    hp_root: Path, edit: Any, change: Any, row: str | None, field: str | None, problem: str
) -> None:
    file = hp_root / "hpfiq.json"
    edit(file, change)
    with pytest.raises(BadInput) as caught:
        hp_fashioniq.read_pairs(hp_root)
    assert (caught.value.file, caught.value.row, caught.value.field) == (file, row, field)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("published", "clean"),
    [
        ("is black  and looks more fashionable", "Is black and looks more fashionable"),
        (
            "Its has no sleeves and is darker colordotmark  and is grey with no collar",
            "Its has no sleeves and is darker color and is grey with no collar",
        ),
        ("Has a tank top fit andmark is darker  and is red", "Has a tank top fit & is darker and is red"),
        ("has multiple hash marks  and markings", "Has multiple hash marks and markings"),
        ("one caption   alone", "one caption alone"),
    ],
)
def test_leftovers_are_undone_and_captions_joined(published: str, clean: str) -> None:
    assert hp_fashioniq.clean_sentence(published) == clean
