"""Annotation files as tables: public files in full, damaged files as one error, damaged rows as notes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qure.benchmarks.circo import tables as circo
from qure.benchmarks.circo.files import INDEX
from qure.benchmarks.cirr import tables as cirr
from qure.benchmarks.fashioniq import tables as fashioniq
from qure.benchmarks.hp_fashioniq import tables as hp_fashioniq
from qure.config import ValidationSettings
from qure.errors import BadInput
from qure.validation.annotations import Annotations
from qure.validation.rules import RULES

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def documents() -> dict[str, Any]:
    """Every benchmark's files with one row each."""
    files: dict[str, Any] = {}
    for category in ("dress", "shirt", "toptee"):
        for split in ("train", "val"):
            ids = [f"{category}-{split}-{number}" for number in range(3)]
            row = {"candidate": ids[0], "target": ids[1], "captions": ["is red", "is long"]}
            files[f"fashioniq/captions/cap.{category}.{split}.json"] = [row]
            files[f"fashioniq/image_splits/split.{category}.{split}.json"] = ids
    for split in ("train", "val"):
        ids = [f"{split}-{number}" for number in range(6)]
        members = {"id": 0, "members": ids}
        row = {"pairid": 1, "reference": ids[0], "target_hard": ids[1], "caption": "no dog", "img_set": members}
        files[f"cirr/captions/cap.rc2.{split}.json"] = [row]
        files[f"cirr/image_splits/split.rc2.{split}.json"] = {name: f"./dev/{name}.png" for name in ids}
    answer = {"reference_img_id": 1, "target_img_id": 2, "relative_caption": "is red", "gt_img_ids": [2], "id": 0}
    files["circo/annotations/val.json"] = [answer]
    sets = {"img_path": [f"/-/image_data/dress/dress-val-{number}.jpg" for number in range(5)], "user_score": "4"}
    questions = {
        "ref_img_paths": ["/-/image_data/dress/dress-val-0.jpg"],
        "targ_img_paths": ["/-/image_data/dress/dress-val-1.jpg"],
        "sentences": ["is red  and is long"],
        "retrieved_set1": [sets],
        "retrieved_set2": [sets],
        "preferred set": ["1"],
    }
    files["hp_fashioniq/hpfiq.json"] = {"user_1": {"question_set_1": questions}}
    return files


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A data root with one row in every file."""
    for file, value in documents().items():
        write(tmp_path / file, value)
    return tmp_path


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def read(benchmark: str, data: Path) -> Annotations:
    if benchmark == "hp-fashioniq":
        return hp_fashioniq.read(data, {})
    return {"fashioniq": fashioniq, "cirr": cirr, "circo": circo}[benchmark].read(data)  # type: ignore[attr-defined,no-any-return]


FILES = {
    "fashioniq/captions/cap.dress.train.json": "fashioniq",
    "fashioniq/image_splits/split.toptee.val.json": "fashioniq",
    "cirr/captions/cap.rc2.val.json": "cirr",
    "cirr/image_splits/split.rc2.train.json": "cirr",
    "circo/annotations/val.json": "circo",
    "hp_fashioniq/hpfiq.json": "hp-fashioniq",
}


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_at_any_byte_is_one_error(small: Path, file: str) -> None:
    path = small / file
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput) as caught:
            read(FILES[file], small)
        assert caught.value.file == path
        assert "not valid JSON" in str(caught.value)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=ANY_JSON)
def test_any_json_is_a_table_or_one_error(small: Path, file: str, value: Any) -> None:
    write(small / file, value)
    if isinstance(value, list if holds_list(file) else dict):
        assert set(read(FILES[file], small).tables) >= {"mentions", "files"}
    else:
        with pytest.raises(BadInput, match="must hold") as caught:
            read(FILES[file], small)
        assert caught.value.file == small / file


@pytest.mark.parametrize(("index", "said"), [({}, "not null"), ({"images": {"1": "x"}}, "not an object")])
def test_an_index_of_coco_without_a_list_of_images_is_one_error(small: Path, index: Any, said: str) -> None:
    write(small / "circo" / INDEX, index)
    with pytest.raises(BadInput, match=said) as caught:
        read("circo", small)
    assert (caught.value.file, caught.value.field) == (small / "circo" / INDEX, "images")


@pytest.mark.parametrize("file", [file for file in FILES if "image_splits" not in file])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_inside_a_row_leaves_a_note_or_a_value(small: Path, file: str, data: st.DataObject) -> None:
    value = documents()[file]
    changed = data.draw(damage(value))
    write(small / file, changed)
    if not isinstance(changed, type(value)):
        return
    for (_, _, column), wrong in read(FILES[file], small).wrong.items():
        assert column
        assert wrong.problem


def damage(value: Any) -> st.SearchStrategy[Any]:
    """The value with one part of it, at any depth, replaced by any JSON."""
    choices = [ANY_JSON]
    if isinstance(value, dict):
        for key, item in value.items():
            choices.append(damage(item).map(lambda changed, key=key: {**value, key: changed}))
            choices.append(st.just({name: kept for name, kept in value.items() if name != key}))
    if isinstance(value, list):
        for place, item in enumerate(value):
            choices.append(damage(item).map(lambda changed, at=place: [*value[:at], changed, *value[at + 1 :]]))
    return st.one_of(choices)


def holds_list(file: str) -> bool:
    return not (file.startswith("cirr/image_splits") or file.startswith("hp_fashioniq"))


def test_keys_that_no_report_could_hold_are_refused_and_others_shown(small: Path) -> None:
    path = small / "hp_fashioniq" / "hpfiq.json"
    path.write_text('{"user_\\ud800": {}}')
    with pytest.raises(BadInput, match="is not valid Unicode"):
        read("hp-fashioniq", small)
    path.write_text('{"user_\\u001b[31m": []}')
    (place,) = read("hp-fashioniq", small).wrong
    assert place[1] == "'user_\\x1b[31m'"


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_one_error(small: Path, file: str) -> None:
    (small / file).unlink()
    with pytest.raises(BadInput, match="the file does not exist") as caught:
        read(FILES[file], small)
    assert caught.value.file == small / file


PUBLIC_WARNINGS = {
    "fashioniq": {
        "one_caption_empty": 16,
        "duplicate_unlabelled": 12,
        "cross_category_leakage": 1880,
        "pair_in_two_splits": 3,
    },
    "hp-fashioniq": {
        "inconsistent_preference": 32,
        "identical_sets": 11,
        "repeated_question": 3,
        "contradicting_answers": 1,
    },
    "cirr": {"empty_text_unlabelled": 1, "duplicate_unlabelled": 4, "soft_answers": 40},
    "circo": {"duplicate_unlabelled": 1},
}


@pytest.fixture(scope="module")
def public_fashioniq(annotations: Path) -> Annotations:
    return fashioniq.read(annotations)


@pytest.mark.parametrize("benchmark", PUBLIC_WARNINGS)
def test_public_files_break_no_rule_but_these(annotations: Path, public_fashioniq: Annotations, benchmark: str) -> None:
    """The counts that docs/validation.md tells; CIRR without its train captions, which are not here."""
    from qure.validation.findings import bad_rows_of
    from qure.validation.run import run_suites
    from qure.validation.suites import annotation_suites

    if benchmark == "cirr":
        tables = cirr.read(annotations, splits=("val", "test1"))
    elif benchmark == "hp-fashioniq":
        tables = hp_fashioniq.read(annotations, public_fashioniq.lists)
    else:
        tables = public_fashioniq if benchmark == "fashioniq" else read(benchmark, annotations)
    suites = annotation_suites(tables, ValidationSettings(), claims_public=True)
    found = [finding for result in run_suites(suites) for finding in bad_rows_of(tables, result.expectations)]
    assert Counter(finding.rule for finding in found) == PUBLIC_WARNINGS[benchmark]
    assert {RULES[finding.rule].severity for finding in found} == {"warning"}


def test_overlong_names_of_people_and_images_are_cut_and_their_rows_still_told(workplace: Any) -> None:
    long_name = "u" * 1_000_000

    def spoil(people: Any) -> None:
        people[long_name] = people.pop("user_1")
        questions = people[long_name]["question_set_1"]
        questions["preferred set"][3] = "9"
        questions["ref_img_paths"][4] = f"/-/image_data/dress/{long_name}.jpg"

    workplace.edit("hp_fashioniq/hpfiq.json", spoil)
    with pytest.raises(BadInput) as caught:
        workplace.validate()
    assert len(str(caught.value)) < 2_000
    written = [path for path in (workplace.work / "validation-report").rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in written) < 1_000_000
    rows = {(row["row"].partition("...")[2].lstrip("u"), row["field"]) for row in workplace.bad_rows()}
    assert ("/question_set_1/3", "preferred set") in rows
    assert ("/question_set_1/4", "ref_img_paths") in rows
