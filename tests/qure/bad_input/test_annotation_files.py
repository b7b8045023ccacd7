"""Bad input, second row: annotations. One error naming file, row and field; exit code 2; nothing is written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Validate = Callable[[], tuple[int, str]]
Qure = Callable[..., tuple[int, str]]
DRESS = "fashioniq/captions/cap.dress.train.json"
PEOPLE = "hp_fashioniq/hpfiq.json"

ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str, str]] = {
    "unknown id": (lambda rows: rows[3].update(target="B00NOBODY0"), "row 3, field 'target'", "'B00NOBODY0'"),
    "duplicate triplet": (
        lambda rows: rows.__setitem__(4, dict(rows[3])),
        "row 4, field 'captions'",
        "the same reference, target and text as an earlier row",
    ),
    "target = reference": (
        lambda rows: rows[3].update(target=rows[3]["candidate"]),
        "row 3, field 'target'",
        "target and reference are the same image",
    ),
    "empty text": (
        lambda rows: rows[3].update(captions=["", " "]),
        "row 3, field 'captions'",
        "the modification text is empty",
    ),
    "id with /": (lambda rows: rows[3].update(candidate="a/b"), "row 3, field 'candidate'", "contains '/'"),
    "id with ..": (lambda rows: rows[3].update(candidate="a..b"), "row 3, field 'candidate'", "contains '..'"),
    "wrong shape of a row": (lambda rows: rows[3].pop("captions"), "row 3, field 'captions'", "the field is missing"),
    "wrong type": (
        lambda rows: rows[3].update(captions={"one": "is red"}),
        "row 3, field 'captions'",
        "must be a list, not an object",
    ),
}


@pytest.mark.parametrize("kind", ROWS)
def test_bad_row(project: Any, validate: Validate, qure: Qure, kind: str) -> None:
    change, place, problem = ROWS[kind]
    project.edit(change)
    code, said = validate()
    assert code == 2
    assert f"data/{DRESS}, {place}" in said
    assert problem in said
    assert project.written() == set()
    code, said = qure("train", "--training-set", "fashioniq")
    assert (code, "Run 'qure validate' first" in said) == (2, True)


FILES: dict[str, tuple[Callable[[str], str], str]] = {
    "cut off": (lambda text: text[: len(text) // 2], "not valid JSON at line"),
    "empty": (lambda text: "", "not valid JSON at line"),
    "wrong shape": (lambda text: '"rows"', "must hold "),
    "repeated key": (lambda text: '[{"target": "a", "target": "b"}]', "key 'target' occurs twice"),
    "not a number": (lambda text: "[NaN]", "NaN is not a JSON number"),
    "a number without end": (lambda text: f"[{'9' * 5000}]", "not valid JSON: Exceeds the limit"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("file", [DRESS, "fashioniq/image_splits/split.shirt.val.json", PEOPLE])
def test_bad_file(project: Any, validate: Validate, kind: str, file: str) -> None:
    change, problem = FILES[kind]
    (project.data / file).write_text(change((project.data / file).read_text()))
    code, said = validate()
    assert code == 2
    assert f"data/{file}" in said
    assert problem in said
    assert not project.artifacts.exists()


def test_missing_file(project: Any, validate: Validate) -> None:
    project.captions.unlink()
    code, said = validate()
    assert code == 2
    assert f"data/{DRESS}: the file does not exist" in said
    assert "qure catalogue" in said
    assert not project.artifacts.exists()


def test_json_cut_at_every_byte(project: Any, validate: Validate) -> None:
    """A file of two rows, with short values: what they say is not looked at before the file is whole."""
    rows = [
        {"target": "a", "candidate": "x", "captions": ["c", "d"]},
        {"target": "b", "candidate": "e", "captions": []},
    ]
    content = json.dumps(rows).encode()
    for end in range(len(content)):
        project.captions.write_bytes(content[:end])
        code, said = validate()
        assert (code, f"error: data/{DRESS}: not valid JSON at line 1, column " in said) == (2, True), content[:end]
    assert not project.artifacts.exists()


def test_a_real_process_says_the_same(project: Any) -> None:
    project.edit(ROWS["empty text"][0])
    done = project.process("validate", "--training-set", "fashioniq")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: data/{DRESS}, row 3, field 'captions': the modification text is empty, or ")
    assert "Traceback" not in done.stderr
    assert not project.output.exists()
