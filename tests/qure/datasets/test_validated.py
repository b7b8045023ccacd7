"""Data is what passed validation, or it is refused with the name of what has changed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from qure.datasets import validated
from qure.datasets.exclusions import Exclusions
from qure.datasets.validated import ValidatedData, require_same_images, require_validated, write_images
from qure.errors import BadInput

CAPTIONS = "fashioniq/captions/cap.dress.train.json"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name, content in {"a.jpg": b"first", "b.png": b"second", "c.jpg": b"third"}.items():
        (root / "fashioniq" / "images").mkdir(parents=True, exist_ok=True)
        (root / "fashioniq" / "images" / name).write_bytes(content)
    (root / CAPTIONS).parent.mkdir()
    (root / CAPTIONS).write_text("[]")
    return root


@pytest.fixture
def validation(data: Path, tmp_path: Path, passed: Callable[..., Path]) -> Path:
    return passed(tmp_path / "validation", data)


def test_unchanged_data_passes_also_under_another_name_and_time(data: Path, validation: Path) -> None:
    require_validated(validation, data)
    moved = Path(shutil.copytree(data, data.parent / "elsewhere", copy_function=shutil.copyfile))
    require_validated(validation, moved, ["fashioniq"])


def test_who_vouches_for_the_data_is_believed(tmp_path: Path) -> None:
    require_validated(None, tmp_path / "nowhere")
    assert ValidatedData(tmp_path).digests("fashioniq") is None
    assert ValidatedData(tmp_path).exclusions("fashioniq") == Exclusions()
    require_same_images([("a", "1")], None, file=tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: (data / CAPTIONS).write_text("[ ]"), f"{CAPTIONS}: the file has changed since"),
        (lambda data: (data / CAPTIONS).unlink(), f"{CAPTIONS}: the file is gone since"),
        (
            lambda data: (data / "fashioniq/images/a.jpg").write_bytes(b"another"),
            "a.jpg: image 'a' has changed since the data was validated: 7 bytes, then 5 bytes",
        ),
        (lambda data: (data / "fashioniq/images/b.png").unlink(), "image 'b' has changed .*: no file, then 6 bytes"),
        (
            lambda data: [path.write_bytes(b"") for path in (data / "fashioniq/images").iterdir()],
            "image 'a' has changed .* and so have 2 others",
        ),
        (
            lambda data: [(data / "fashioniq/images" / name).write_bytes(b"") for name in ("b.png", "c.jpg")],
            r"c\.jpg|b\.png: image 'b' has changed .*: 0 bytes, then 6 bytes, and so has 1 other\.",
        ),
    ],
)
def test_what_has_changed_is_named(data: Path, validation: Path, change: Callable[[Path], object], said: str) -> None:
    change(data)
    with pytest.raises(BadInput, match=said) as refused:
        require_validated(validation, data)
    assert "qure validate" in str(refused.value)


def test_an_image_that_goes_away_after_the_folder_was_looked_at_is_named(data: Path, validation: Path) -> None:
    opened = ValidatedData(data, validation)
    assert "b" in opened.images("fashioniq")
    (data / "fashioniq/images/b.png").unlink()
    with pytest.raises(BadInput, match=r"image 'b' has changed since .*: no file, then 6 bytes"):
        opened.require_unchanged()


def test_a_file_that_was_not_there_is_new(data: Path, validation: Path) -> None:
    result = json.loads((validation / "result.json").read_text())
    result["annotations"]["fashioniq/captions/cap.dress.test.json"] = None
    (validation / "result.json").write_text(json.dumps(result))
    require_validated(validation, data)
    (data / "fashioniq/captions/cap.dress.test.json").write_text("[]")
    with pytest.raises(BadInput, match=r"cap\.dress\.test\.json: the file is new since"):
        require_validated(validation, data)


def test_images_of_other_sets_are_not_looked_at(data: Path, validation: Path) -> None:
    (data / "fashioniq/images/a.jpg").unlink()
    require_validated(validation, data, ["cirr"])


def test_an_image_that_was_missing_may_not_turn_up(data: Path, validation: Path) -> None:
    write_images(validation, [("fashioniq", "late", None, None), ("fashioniq", "a", 5, None)])
    require_validated(validation, data)
    assert ValidatedData(data, validation).digests("fashioniq") == {"a": None}
    (data / "fashioniq/images/late.jpg").write_bytes(b"here")
    with pytest.raises(BadInput, match="image 'late' has changed since the data was validated: 4 bytes, then no file"):
        require_validated(validation, data)


def test_content_of_the_same_size_is_told_apart_by_whoever_reads_it(data: Path, validation: Path) -> None:
    passed = ValidatedData(data, validation).digests("fashioniq")
    require_same_images([("a", hashlib.sha256(b"first").hexdigest()), ("unlisted", "0")], passed, file=data)
    other = hashlib.sha256(b"FIRST").hexdigest()
    with pytest.raises(BadInput, match="image 'a' is not the one that was validated") as refused:
        require_same_images([("a", other)], passed, file=data)
    assert other in str(refused.value)
    assert hashlib.sha256(b"first").hexdigest() in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"no parquet at all, but some bytes" * 9])
def test_a_damaged_list_of_images_is_bad_input(data: Path, validation: Path, content: bytes | None) -> None:
    file = validation / "images.parquet"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(BadInput, match=r"images\.parquet: (the file does not exist|not a whole Parquet file)"):
        require_validated(validation, data)


@pytest.mark.parametrize("result", ['{"success": true}', '{"success": true, "annotations": []}'])
def test_a_result_that_does_not_say_what_passed_is_refused(data: Path, validation: Path, result: str) -> None:
    (validation / "result.json").write_text(result)
    with pytest.raises(BadInput, match="does not say which files passed"):
        require_validated(validation, data)


@pytest.mark.parametrize("result", ['{"success": false}', '{"success": "yes"}', "[]"])
def test_a_failed_validation_is_refused(data: Path, validation: Path, result: str) -> None:
    (validation / "result.json").write_text(result)
    with pytest.raises(BadInput, match=r"result\.json, field 'success': the data did not pass validation"):
        require_validated(validation, data)


def test_sets_keep_their_own_digests(data: Path, validation: Path) -> None:
    """Two sets may name their images alike."""
    write_images(validation, [("fashioniq", "a", 5, "1"), ("cirr", "a", 6, "2"), ("cirr", "b", 7, "3")])
    assert ValidatedData(data, validation).digests("fashioniq") == {"a": "1"}
    assert ValidatedData(data, validation).digests("cirr") == {"a": "2", "b": "3"}
    assert ValidatedData(data, validation).digests("circo") == {}


def test_sets_are_compared_each_with_its_own_images(data: Path, tmp_path: Path, passed: Callable[..., Path]) -> None:
    for name, content in {"a": b"another first", "dev-1": b"only here"}.items():
        (data / "cirr" / "images").mkdir(parents=True, exist_ok=True)
        (data / "cirr" / "images" / f"{name}.png").write_bytes(content)
    both = passed(tmp_path / "both", data, ("fashioniq", "cirr"))
    require_validated(both, data)
    assert ValidatedData(data, both).digests("cirr") == {
        "a": hashlib.sha256(b"another first").hexdigest(),
        "dev-1": hashlib.sha256(b"only here").hexdigest(),
    }
    (data / "cirr" / "images" / "a.png").write_bytes(b"first")  # of the size of the other set's image of this name
    require_validated(both, data, ["fashioniq"])
    for chosen in (["cirr"], ["fashioniq", "cirr"], None):
        with pytest.raises(BadInput, match=r"image 'a' has changed .*: 5 bytes, then 13 bytes"):
            require_validated(both, data, chosen)


def excluding(folder: Path, excluded: Any) -> ValidatedData:
    (folder / "result.json").write_text(json.dumps({"excluded": excluded}), encoding="utf-8")
    return ValidatedData(folder, folder)


def test_what_is_excluded(tmp_path: Path) -> None:
    """Queries are a benchmark's own; an image that is bad in one is bad in all that share it."""
    data = excluding(tmp_path, {"fashioniq": {"images": ["x"], "queries": ["train/dress/3"]}})
    assert data.exclusions("fashioniq") == Exclusions(frozenset({"x"}), frozenset({"train/dress/3"}))
    assert data.exclusions("hp-fashioniq") == Exclusions(frozenset({"x"}))
    assert data.exclusions("cirr") == Exclusions()


@pytest.mark.parametrize("excluded", [[], {"cirr": [1]}, {"cirr": {"images": [1]}}])
def test_exclusions_of_another_shape_are_refused(tmp_path: Path, excluded: Any) -> None:
    with pytest.raises(BadInput, match="excluded"):
        excluding(tmp_path, excluded).exclusions("cirr")


def test_a_missing_result_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="qure validate"):
        ValidatedData(tmp_path, tmp_path).exclusions("cirr")


@pytest.mark.parametrize(
    "row",
    [("shoes", "a", 5, "1"), (None, "a", 5, "1"), ("fashioniq", None, 5, "1")],
)
def test_a_row_that_is_none_of_a_list_of_images_is_named(data: Path, validation: Path, row: Any) -> None:
    columns = ["image_set", "image", "bytes", "sha256"]
    pd.DataFrame([("fashioniq", "b", 6, None), row], columns=columns).to_parquet(validation / "images.parquet")
    with pytest.raises(BadInput, match=r"images\.parquet, row 1: not a row of a list of images"):
        ValidatedData(data, validation).digests("fashioniq")


@pytest.mark.parametrize("column", ["image", "bytes", "sha256"])
def test_a_column_of_another_type_is_no_list_of_images(data: Path, validation: Path, column: str) -> None:
    cells = {"image_set": ["fashioniq"], "image": ["a"], "bytes": [5], "sha256": ["1"]}
    wrong = pd.DataFrame(cells | {column: [[5.5]] if column == "bytes" else [7]})
    wrong.to_parquet(validation / "images.parquet")
    with pytest.raises(BadInput, match=r"images\.parquet, row 0: not a row of a list of images"):
        ValidatedData(data, validation).digests("fashioniq")


def test_a_list_of_images_is_written_in_the_order_of_sets_and_ids(tmp_path: Path) -> None:
    rows = [("fashioniq", "b", None, None), ("fashioniq", "a", 5, "1"), ("cirr", "z", 2**40, None)]
    write_images(tmp_path, rows)
    written = pd.read_parquet(tmp_path / "images.parquet")
    assert pq.read_schema(tmp_path / "images.parquet").names == ["image_set", "image", "bytes", "sha256"]
    cells = written.astype(object).where(written.notna(), None).to_numpy().tolist()
    assert cells == [["cirr", "z", 2**40, None], ["fashioniq", "a", 5, "1"], ["fashioniq", "b", None, None]]


def test_what_is_read_is_read_once(data: Path, validation: Path) -> None:
    found = require_validated(validation, data)
    store = found.images("fashioniq")
    assert ValidatedData(data).images("fashioniq") is not store
    for file in (validation / "images.parquet", validation / "result.json"):
        file.unlink()
    found.require_unchanged()
    assert found.images("fashioniq") is store


def test_training_leaves_out_what_validation_excludes(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"excluded": {"fashioniq": {"queries": ["train/shirt/1"]}}}))
    everything, whole, _ = ValidatedData(catalogue).training("fashioniq")
    triplets, corpora, excluded = ValidatedData(catalogue, tmp_path).training("fashioniq")
    assert excluded == Exclusions(queries=frozenset({"train/shirt/1"}))
    assert [one.query_id for one in everything if one not in triplets] == ["shirt/1"]
    assert corpora.keys() == whole.keys()


def test_training_leaves_out_what_leaks_on_demand(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_leaking(training_set: str, root: Path, exclusions: Exclusions) -> Exclusions:
        assert (training_set, root, exclusions) == ("fashioniq", catalogue, Exclusions())
        return Exclusions(queries=frozenset({"train/shirt/1"}))

    monkeypatch.setattr(validated, "without_leaking", without_leaking)
    assert ValidatedData(catalogue).training("fashioniq")[2] == Exclusions()
    triplets, _, excluded = ValidatedData(catalogue).training("fashioniq", exclude_leaked=True)
    assert excluded.queries == {"train/shirt/1"}
    assert "shirt/1" not in {one.query_id for one in triplets}


def test_images_that_passed(data: Path, validation: Path) -> None:
    assert ValidatedData(data).passed_images("fashioniq") == ["a", "b", "c"]
    write_images(validation, [("fashioniq", "a", 5, None), ("fashioniq", "b", 6, None), ("fashioniq", "d", None, None)])
    assert ValidatedData(data, validation).passed_images("fashioniq") == ["a", "b"]
    with pytest.raises(BadInput, match="no image set 'shoes'"):
        ValidatedData(data).passed_images("shoes")
