"""Damaged files: whatever a file holds, a reader returns rows or raises BadInput, never anything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.datasets.rows import load_json, read_id_list, read_rows
from qure.datasets.truth import read_truth
from qure.errors import BadInput

Reader = Callable[[Path], Any]

#: Root fixture, the file to damage, and what reads it.
READERS: dict[str, tuple[str, str, Reader]] = {
    "fashioniq captions": (
        "fashioniq_root",
        "captions/cap.dress.val.json",
        lambda root: fashioniq.read_triplets(root, "val", ["dress"]),
    ),
    "fashioniq split": (
        "fashioniq_root",
        "image_splits/split.dress.val.json",
        lambda root: fashioniq.read_gallery(root, "val", "dress"),
    ),
    "cirr captions": ("cirr_root", "captions/cap.rc2.val.json", lambda root: cirr.read_triplets(root, "val")),
    "cirr split": ("cirr_root", "image_splits/split.rc2.val.json", lambda root: cirr.read_gallery(root, "val")),
    "circo annotations": ("circo_root", "annotations/val.json", lambda root: circo.read_triplets(root, "val")),
    "circo index": ("circo_root", str(circo.INDEX), circo.read_gallery),
    "hp-fashioniq": ("hp_root", "hpfiq.json", hp_fashioniq.read_pairs),
    "truth": ("truth_root", "truth.json", read_truth),
}


@pytest.fixture
def truth_root(tmp_path: Path) -> Path:
    document = {
        "format": "qure-truth",
        "version": 1,
        "attributes": {"category": ["dress"], "colour": ["red", "blue"]},
        "must": ["category"],
        "images": {"val": {"a": [0, 0], "b": [0, 1]}},
        "queries": {"val": {"dress/0": [0, 1]}},
    }
    (tmp_path / "truth.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", READERS)
def test_json_cut_at_every_byte_is_bad_input(name: str, request: pytest.FixtureRequest) -> None:
    fixture, relative, read = READERS[name]
    root = request.getfixturevalue(fixture)
    file = root / relative
    content = file.read_bytes()
    assert read(root)
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(BadInput) as caught:
            read(root)
        assert Path(caught.value.file or "") == file


#: The temporary folder is shared by a test's examples: each overwrites the one file.
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# fmt: off
KEYS = st.sampled_from([
    "candidate", "target", "captions", "pairid", "reference", "target_hard", "caption", "img_set", "members",
    "id", "reference_img_id", "target_img_id", "gt_img_ids", "relative_caption", "images", "file_name",
    "user_1", "question_set_1", "sentences", "ref_img_paths", "targ_img_paths", "retrieved_set1",
    "retrieved_set2", "img_path", "user_score", "attributes", "must", "queries", "val", "format", "x",
    "preferred set",
])
# fmt: on
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["../x", "/-/image_data/shirt/A.jpg", "1", "a", "./dev/a.png", "\ud800", "a\x00", "qure-truth"])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(value=VALUES, place=st.integers(0, 10**6), replace_all=st.booleans())
def test_any_json_gives_rows_or_bad_input(
    name: str, request: pytest.FixtureRequest, value: Any, place: int, replace_all: bool
) -> None:
    fixture, relative, read = READERS[name]
    root = request.getfixturevalue(fixture)
    file = root / relative
    whole = request.node.stash.setdefault(CONTENT, file.read_text(encoding="utf-8"))
    document = value if replace_all else with_value_at(json.loads(whole), place, value)
    file.write_text(json.dumps(document), encoding="utf-8")
    error = bad_input_of(read, root)
    if error is not None:
        str(error).encode()
        assert Path(error.file or "") == file


CONTENT: pytest.StashKey[str] = pytest.StashKey()


def bad_input_of(read: Reader, path: Path) -> BadInput | None:
    """The BadInput that reading ends in; None where it succeeds. Any other exception is a failure of the test."""
    try:
        read(path)
    except BadInput as error:
        return error
    return None


def with_value_at(document: Any, place: int, value: Any) -> Any:
    """The document with one of its nodes, chosen by number, replaced."""
    nodes: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        pairs = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        for key, child in pairs:
            nodes.append((node, key))
            visit(child)

    visit(document)
    container, key = nodes[place % len(nodes)]
    container[key] = value
    return document


@FUZZ
@given(content=st.binary(max_size=60))
def test_any_bytes_give_a_value_or_bad_input(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    for read in (load_json, read_rows, read_id_list):
        error = bad_input_of(read, file)
        assert error is None or error.file == file


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[1, -1e999]", "'-1e999' is too large a number"),
        (b'{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (b"\xff\xfe[]", "not UTF-8"),
        (b"\xef\xbb\xbf[]", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"1" * 10_000 + b"]", "not valid JSON"),
        (b"", "not valid JSON at line 1, column 1"),
        (b'["a"', "cut off or damaged"),
    ],
)
def test_what_a_json_parser_might_let_pass_or_choke_on(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=problem):
        load_json(file)


def test_a_folder_or_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="this is a folder"):
        load_json(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        load_json(tmp_path / "missing.json")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be read"):
        load_json(tmp_path / "file" / "below.json")


@pytest.mark.parametrize("first", [FileNotFoundError(), "[", IsADirectoryError()])
def test_a_file_that_is_written_anew_while_it_is_read_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str | Exception
) -> None:
    """What is wrong at the first look is whole at the second, which words the mistake."""
    looks = iter([first, "[]"])

    def read_text(*_: object, **__: object) -> str:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(BadInput, match="not valid JSON" if first == "[" else "changed while it was read") as caught:
        load_json(tmp_path / "x.json")
    assert caught.value.file == tmp_path / "x.json"
