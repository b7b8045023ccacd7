"""Every defect that is planted into annotations is listed by name, in one run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.fashioniq.files import join_captions
from qure.errors import BadInput
from qure.validation.rules import RULES

SCRIPT = "<script>alert('caption')</script>"


@dataclass(frozen=True)
class Expected:
    """A line that the list of bad rows must have."""

    rule: str
    file: str
    row: str
    field: str
    value: str = ""


@pytest.fixture(scope="module")
def garments(new_workplace: Any) -> tuple[Any, BadInput]:
    """FashionIQ and HP-FashionIQ with one defect of every kind."""
    place = new_workplace()
    place.edit("fashioniq/captions/cap.dress.train.json", _break_dress_train)
    place.edit("fashioniq/captions/cap.shirt.val.json", _break_shirt_val)
    place.edit("fashioniq/captions/cap.toptee.test.json", _break_toptee_test)
    place.edit("fashioniq/image_splits/split.toptee.train.json", _break_toptee_list)
    train = json.loads((place.data / "fashioniq/image_splits/split.dress.train.json").read_text())
    place.edit("fashioniq/image_splits/split.dress.val.json", lambda ids: ids.append(train[0]))
    place.edit("fashioniq/image_splits/split.shirt.val.json", lambda ids: ids.append(train[1]))
    place.edit("hp_fashioniq/hpfiq.json", _break_answers)
    known = json.loads((place.data / "fashioniq/captions/cap.shirt.train.json").read_text())[0]
    place.edit(
        "fashioniq/captions/cap.shirt.val.json",
        lambda rows: rows[2].update({name: known[name] for name in ("candidate", "target")}),
    )
    (place.data / LABELS).write_text(json.dumps(_broken_labels(place.data)))
    place.output.mkdir(parents=True)
    (place.output / "result.json").write_text('{"success": true}')
    with pytest.raises(BadInput) as caught:
        place.validate("fashioniq", max_text_characters=200)
    return place, caught.value


def _break_dress_train(rows: list[Any]) -> None:
    rows[0] = "not a row"
    del rows[1]["target"]
    rows[2]["captions"] = ["only one"]
    rows[3]["candidate"] = 17
    rows[4]["candidate"] = "../../etc/passwd"
    rows[5]["candidate"] = "B000UNKNOWN"
    rows[6]["target"] = rows[6]["candidate"]
    rows[7]["captions"] = [" . ", ""]
    rows[8]["captions"] = ["is long", "x" * 300]
    rows[9]["captions"] = [f"is \u0007 ringing {SCRIPT}", "is red"]
    rows[10]["captions"] = [SCRIPT, "is red"]
    rows[11] = dict(rows[10])
    rows[12]["captions"] = ["", "is blue"]
    rows[13]["captions"] = ["\ud800 half a character", "is blue"]
    rows[14]["captions"] = ["\u200b", " \ufeff\u2060"]
    rows[15]["captions"] = ["!!", "--"]
    first, second = rows[16]["captions"]
    rows[17] = {**rows[16], "captions": [second.upper().replace(" ", "  "), first]}


def _break_shirt_val(rows: list[Any]) -> None:
    rows[0]["target"] = None
    rows[1]["captions"] = "is blue"


def _break_toptee_test(rows: list[Any]) -> None:
    rows[1] = dict(rows[0])
    rows[2]["captions"] = ["", ""]


def _break_toptee_list(ids: list[Any]) -> None:
    ids += [ids[0], None, ".hidden", ids[1].lower()]


def _break_answers(people: dict[str, Any]) -> None:
    questions = people["user_1"]["question_set_1"]
    questions["preferred set"][0] = "3"
    questions["retrieved_set1"][1]["user_score"] = "6"
    questions["retrieved_set2"][2]["img_path"].pop()
    questions["retrieved_set1"][3]["img_path"][0] = questions["retrieved_set1"][3]["img_path"][1]
    questions["ref_img_paths"][4] = "/etc/passwd"
    questions["sentences"][5] = ""
    questions["targ_img_paths"][6] = questions["targ_img_paths"][6].replace(".jpg", "X.jpg")
    questions["retrieved_set1"][7]["user_score"] = "1"
    questions["retrieved_set2"][7]["user_score"] = "5"
    questions["preferred set"][7] = "1"
    questions["retrieved_set2"][8]["img_path"] = questions["retrieved_set1"][8]["img_path"]
    _ask_again(questions, 9, 10)
    questions["preferred set"][11] = "01"
    questions["targ_img_paths"][12] = questions["targ_img_paths"][12].replace(".jpg", ".gif")
    questions["sentences"][13] = "  and "
    people["nobody"] = {}
    people["user_2"]["question_set_1"]["sentences"].pop()
    people["user_3"]["question_set_1"] = []


def _ask_again(questions: dict[str, Any], row: int, again: int) -> None:
    """The same question with the sets exchanged; the answer's number stays, so it is the other set."""
    for name in questions:
        questions[name][again] = questions[name][row]
    first, second = questions["retrieved_set1"][row], questions["retrieved_set2"][row]
    questions["retrieved_set1"][again], questions["retrieved_set2"][again] = second, first


def _broken_labels(data: Path) -> list[Any]:
    """Labels of the toptees of val, which nothing else is planted into."""
    rows = json.loads((data / "fashioniq/captions/cap.toptee.val.json").read_text())
    further = json.loads((data / "fashioniq/image_splits/split.toptee.val.json").read_text())[-1]
    labels = [
        {
            "id": f"toptee/{number}",
            "reference_img_id": row["candidate"],
            "target_img_id": row["target"],
            "relative_caption": join_captions(*row["captions"]),
            "gt_img_ids": [row["target"], further],
        }
        for number, row in enumerate(rows[:14])
    ]
    labels[1]["id"] = "toptee/9999"
    labels[2]["gt_img_ids"][1] = "B000UNKNOWN"
    labels[3]["gt_img_ids"] = "none"
    labels[4]["gt_img_ids"][1] = labels[4]["reference_img_id"]
    labels[5]["gt_img_ids"].append(further)
    labels[6] = labels[7]
    labels[8]["target_img_id"] = further
    labels[9]["relative_caption"] = "is another"
    labels[10]["reference_img_id"] = further
    labels[11]["gt_img_ids"].remove(labels[11]["target_img_id"])
    labels[12] = "not a row"
    labels[13]["id"] = 13
    return labels


DRESS = "fashioniq/captions/cap.dress.train.json"
LABELS = "fashioniq/labels.val.json"
SHIRT = "fashioniq/captions/cap.shirt.val.json"
TOPTEE = "fashioniq/captions/cap.toptee.test.json"
LIST = "fashioniq/image_splits/split.toptee.train.json"
PEOPLE = "hp_fashioniq/hpfiq.json"
FIRST = "user_1/question_set_1"

GARMENTS = [
    Expected("schema", DRESS, "0", "record", "'not a row'"),
    Expected("schema", DRESS, "1", "target", "None"),
    Expected("schema", DRESS, "2", "captions", "['only one']"),
    Expected("schema", DRESS, "3", "candidate", "17"),
    Expected("unsafe_id", DRESS, "4", "candidate", "'../../etc/passwd'"),
    Expected("unknown_id", DRESS, "5", "candidate", "'B000UNKNOWN'"),
    Expected("target_is_reference", DRESS, "6", "target"),
    Expected("empty_text", DRESS, "7", "captions", "''"),
    Expected("text_length", DRESS, "8", "captions"),
    Expected("text_characters", DRESS, "9", "captions"),
    Expected("duplicate_triplet", DRESS, "11", "captions"),
    Expected("one_caption_empty", DRESS, "12", "captions[0]", "''"),
    Expected("schema", DRESS, "13", "captions[0]"),
    Expected("empty_text", DRESS, "14", "captions", "''"),
    Expected("empty_text", DRESS, "15", "captions", "''"),
    Expected("duplicate_triplet", DRESS, "17", "captions"),
    Expected("schema", SHIRT, "0", "target", "None"),
    Expected("schema", SHIRT, "1", "captions", "'is blue'"),
    Expected("pair_in_two_splits", SHIRT, "2", "target"),
    Expected("unknown_id", SHIRT, "2", "target"),
    Expected("duplicate_unlabelled", TOPTEE, "1", "captions"),
    Expected("empty_text_unlabelled", TOPTEE, "2", "captions", "''"),
    Expected("duplicate_id", LIST, "60", "image"),
    Expected("schema", LIST, "61", "image", "None"),
    Expected("unsafe_id", LIST, "62", "image", "'.hidden'"),
    Expected("confusable_id", LIST, "63", "image"),
    Expected("leakage", "fashioniq/image_splits/split.dress.val.json", "", "image"),
    Expected("cross_category_leakage", "fashioniq/image_splits/split.shirt.val.json", "", "image"),
    Expected("answer", PEOPLE, f"{FIRST}/0", "preferred set", "3"),
    Expected("answer", PEOPLE, f"{FIRST}/1", "retrieved_set1.user_score", "6"),
    Expected("retrieved_set", PEOPLE, f"{FIRST}/2", "retrieved_set2.img_path"),
    Expected("retrieved_set", PEOPLE, f"{FIRST}/3", "retrieved_set1.img_path"),
    Expected("schema", PEOPLE, f"{FIRST}/4", "ref_img_paths", "'/etc/passwd'"),
    Expected("empty_text", PEOPLE, f"{FIRST}/5", "sentences", "''"),
    Expected("unknown_id", PEOPLE, f"{FIRST}/6", "targ_img_paths"),
    Expected("inconsistent_preference", PEOPLE, f"{FIRST}/7", "preferred set", "[1, 5]"),
    Expected("identical_sets", PEOPLE, f"{FIRST}/8", "retrieved_set1.img_path"),
    Expected("repeated_question", PEOPLE, f"{FIRST}/10", "sentences"),
    Expected("contradicting_answers", PEOPLE, f"{FIRST}/10", "preferred set"),
    Expected("schema", PEOPLE, f"{FIRST}/11", "preferred set", "'01'"),
    Expected("schema", PEOPLE, f"{FIRST}/12", "targ_img_paths", "'/-/image_data/"),
    Expected("empty_text", PEOPLE, f"{FIRST}/13", "sentences", "''"),
    Expected("no_answers", PEOPLE, "nobody", "sentences", "0"),
    Expected("schema", PEOPLE, "user_2/question_set_1", "ref_img_paths"),
    Expected("schema", PEOPLE, "user_3/question_set_1", "record", "[]"),
    Expected("label_query", LABELS, "1", "id", "'toptee/9999'"),
    Expected("unknown_id", LABELS, "2", "gt_img_ids[1]", "'B000UNKNOWN'"),
    Expected("schema", LABELS, "3", "gt_img_ids", "'none'"),
    Expected("ground_truth", LABELS, "4", "gt_img_ids"),
    Expected("ground_truth", LABELS, "5", "gt_img_ids"),
    Expected("duplicate_id", LABELS, "7", "id"),
    Expected("label_query", LABELS, "8", "target_img_id"),
    Expected("label_query", LABELS, "9", "relative_caption", "'is another'"),
    Expected("label_query", LABELS, "10", "reference_img_id"),
    Expected("ground_truth", LABELS, "11", "target_img_id"),
    Expected("schema", LABELS, "12", "record", "'not a row'"),
    Expected("schema", LABELS, "13", "id", "13"),
]


@pytest.mark.parametrize("expected", GARMENTS, ids=lambda expected: f"{expected.rule}-{expected.row}")
def test_defect_of_garments_is_listed(garments: tuple[Any, BadInput], expected: Expected) -> None:
    place, _ = garments
    _assert_listed(place.bad_rows(), expected)


def test_only_planted_rows_of_the_queries_are_listed(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    rows = {int(row["row"]) for row in place.bad_rows() if row["file"] == DRESS}
    assert rows == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17}
    assert not [row for row in place.bad_rows() if row["file"].endswith("cap.shirt.train.json")]


def test_labels_that_are_well_are_not_listed(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    assert {int(row["row"]) for row in place.bad_rows() if row["file"] == LABELS} == {*range(1, 14)} - {6}


def test_reasons_say_what_exactly_is_wrong(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    reasons = {(row["file"], row["row"]): row["reason"] for row in place.bad_rows()}
    assert reasons[DRESS, "1"] == "the field is missing"
    assert reasons[DRESS, "2"] == "must hold 2 entries, not 1"
    assert "contains '/'" in reasons[DRESS, "4"]


def test_the_error_names_a_row_and_says_where_all_are(garments: tuple[Any, BadInput]) -> None:
    place, error = garments
    assert error.exit_code == 2
    assert error.file == place.data / DRESS
    assert error.row == 0
    assert "more bad rows" in str(error)
    assert str(place.work / "validation-report" / "bad_rows.csv") in str(error)


def test_nothing_is_written_and_an_older_pass_is_withdrawn(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    assert not place.output.exists()
    assert list(place.output.parent.iterdir()) == []


def test_pages_escape_what_annotations_hold(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    pages = {path.name: path.read_text() for path in (place.work / "validation-report/data_docs").glob("*.html")}
    assert "&lt;script&gt;" in pages["fashioniq.queries.html"]
    assert "&lt;script&gt;" in pages["index.html"]
    for name, page in pages.items():
        assert "<script" not in page.lower(), name
        assert "Content-Security-Policy" in page, name


def test_pages_and_lists_hold_no_path_of_this_machine(garments: tuple[Any, BadInput]) -> None:
    place, _ = garments
    for path in (place.work / "validation-report").rglob("*.*"):
        text = path.read_text()
        assert str(place.root) not in text, path.name
        assert str(Path.cwd()) not in text, path.name


@pytest.fixture(scope="module")
def scenes(new_workplace: Any) -> tuple[Any, BadInput]:
    """CIRR and CIRCO with one defect of every kind."""
    place = new_workplace()
    place.edit("cirr/captions/cap.rc2.train.json", _break_cirr_train)
    place.edit("cirr/captions/cap.rc2.test1.json", _break_cirr_test)
    train = json.loads((place.data / "cirr/image_splits/split.rc2.train.json").read_text())
    shared = next(iter(train))
    place.edit("cirr/image_splits/split.rc2.val.json", lambda paths: paths.update({shared: "./dev/shared.png"}))
    place.edit("cirr/image_splits/split.rc2.test1.json", _break_paths)
    place.edit("circo/annotations/val.json", _break_circo)
    place.edit("circo/annotations/test.json", lambda rows: [])
    with pytest.raises(BadInput) as caught:
        place.validate("cirr")
    return place, caught.value


def _break_cirr_train(rows: list[Any]) -> None:
    rows[1]["pairid"] = rows[0]["pairid"]
    rows[2]["pairid"] = "two"
    rows[3]["img_set"]["members"].pop()
    rows[4]["img_set"]["members"] = [name for name in rows[4]["img_set"]["members"] if name != rows[4]["target_hard"]]
    rows[4]["img_set"]["members"].append(rows[100]["reference"])
    rows[5]["img_set"] = None
    rows[6]["caption"] = "   "
    rows[7]["reference"] = "train-nobody"
    rows[8]["target_hard"] = rows[8]["reference"]
    rows[10] = {**rows[9], "pairid": 99_999}
    rows[11]["target_soft"] = {rows[11]["reference"]: 1.0, rows[11]["target_hard"]: -1.0}
    rows[12]["target_soft"] = "yes"
    rows[13]["target_soft"] = {"train-nobody": 1.0}
    rows[14]["target_soft"] = {rows[14]["target_hard"]: 7}


def _break_cirr_test(rows: list[Any]) -> None:
    rows[0]["caption"] = " "
    rows[2] = {**rows[1], "pairid": 88_888}


def _break_paths(paths: dict[str, Any]) -> None:
    first, second, third = list(paths)[:3]
    paths[first] = "../../../etc/passwd.png"
    paths[second] = paths[third]
    paths["a/b"] = "./test1/a.png"
    fourth, fifth = list(paths)[3:5]
    paths[fourth], paths[fifth] = paths[fifth], paths[fourth]


def _break_circo(rows: list[Any]) -> None:
    rows[0]["gt_img_ids"].append(rows[0]["gt_img_ids"][0])
    rows[1]["target_img_id"] = 999_999_999
    rows[2]["gt_img_ids"] = "none"
    rows[3]["id"] = rows[4]["id"]
    rows[5]["relative_caption"] = ""
    rows[6]["gt_img_ids"].append(rows[6]["reference_img_id"])


CIRR_TRAIN = "cirr/captions/cap.rc2.train.json"
CIRR_TEST = "cirr/captions/cap.rc2.test1.json"
CIRCO = "circo/annotations/val.json"
PATHS = "cirr/image_splits/split.rc2.test1.json"

SCENES = [
    Expected("duplicate_id", CIRR_TRAIN, "1", "pairid"),
    Expected("schema", CIRR_TRAIN, "2", "pairid", "'two'"),
    Expected("image_set", CIRR_TRAIN, "3", "img_set.members"),
    Expected("image_set", CIRR_TRAIN, "4", "target_hard"),
    Expected("schema", CIRR_TRAIN, "5", "img_set", "None"),
    Expected("empty_text", CIRR_TRAIN, "6", "caption", "''"),
    Expected("unknown_id", CIRR_TRAIN, "7", "reference", "'train-nobody'"),
    Expected("image_set", CIRR_TRAIN, "7", "reference", "'train-nobody'"),
    Expected("target_is_reference", CIRR_TRAIN, "8", "target_hard"),
    Expected("duplicate_triplet", CIRR_TRAIN, "10", "caption"),
    Expected("soft_answers", CIRR_TRAIN, "11", "target_soft"),
    Expected("schema", CIRR_TRAIN, "12", "target_soft", "'yes'"),
    Expected("unknown_id", CIRR_TRAIN, "13", "target_soft['train-nobody']", "'train-nobody'"),
    Expected("schema", CIRR_TRAIN, "14", "target_soft"),
    Expected("empty_text_unlabelled", CIRR_TEST, "0", "caption", "''"),
    Expected("duplicate_unlabelled", CIRR_TEST, "2", "caption"),
    Expected("leakage", "cirr/image_splits/split.rc2.val.json", "", "image"),
    Expected("unsafe_path", PATHS, "", "path"),
    Expected("duplicate_id", PATHS, "", "path"),
    Expected("path_of_another_image", PATHS, "", "path"),
    Expected("unsafe_id", PATHS, "a/b", "image", "'a/b'"),
    Expected("ground_truth", CIRCO, "0", "gt_img_ids"),
    Expected("ground_truth", CIRCO, "1", "target_img_id", "'999999999'"),
    Expected("ground_truth", CIRCO, "6", "gt_img_ids"),
    Expected("unknown_id", CIRCO, "1", "target_img_id", "'999999999'"),
    Expected("schema", CIRCO, "2", "gt_img_ids", "'none'"),
    Expected("duplicate_id", CIRCO, "4", "id"),
    Expected("empty_text", CIRCO, "5", "relative_caption", "''"),
    Expected("empty_file", "circo/annotations/test.json", "", "entries", "0"),
]


@pytest.mark.parametrize("expected", SCENES, ids=lambda expected: f"{expected.rule}-{expected.row}")
def test_defect_of_scenes_is_listed(scenes: tuple[Any, BadInput], expected: Expected) -> None:
    place, error = scenes
    assert error.exit_code == 2
    _assert_listed(place.bad_rows(), expected)


#: Rules whose defect is no row, planted in test_stage.py.
OF_WHOLE_FILES = {"public_count", "no_gallery", "not_versioned", "ignored_by_dvc"}


def test_every_rule_about_annotations_has_a_defect_that_breaks_it() -> None:
    planted = {expected.rule for expected in (*GARMENTS, *SCENES)}
    assert planted | OF_WHOLE_FILES == {rule.name for rule in RULES.values() if rule.about == "annotation"}


def _assert_listed(rows: list[dict[str, str]], expected: Expected) -> None:
    """One line says it all; a row that a test adds to a list's end is looked for without its number."""
    of_rule = [row for row in rows if row["rule"] == expected.rule and row["file"] == expected.file]
    found = [
        row
        for row in of_rule
        if expected.row in ("", row["row"])
        and row["field"] == expected.field
        and row["value"].startswith(expected.value)
    ]
    assert found, f"{expected} is not among {of_rule}"
    assert all(row["reason"] and row["remedy"] for row in found)
