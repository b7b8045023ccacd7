"""The validate stage as a whole: clean data passes, the same data gives the same result, and faults leave no pass."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tqdm.auto import tqdm

from qure.datasets.image_folder import FolderStore
from qure.errors import BadInput, StageFailed
from qure.scratch import alone


@pytest.fixture(scope="module")
def clean(new_workplace: Any) -> Any:
    place = new_workplace()
    place.validate("fashioniq")
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clean_data_passes(clean: Any) -> None:
    result = clean.result()
    assert result["success"] is True
    assert result["excluded"] == {
        "fashioniq": {"images": [], "queries": []},
        "hp-fashioniq": {"images": [], "queries": []},
    }
    assert result["queries"]["fashioniq/train"] == {"rows": 450, "kept": 450}
    assert {rule["outcome"] for rule in result["rules"] if rule["severity"] == "error"} == {"ok"}
    names = {path.name for path in clean.output.iterdir()}
    assert names == {"result.json", "images.parquet", "bad_rows.csv", "statistics.json", "data_docs"}
    assert (clean.output / "data_docs" / "fashioniq.images.html").is_file()


def test_clean_scenes_pass(new_workplace: Any) -> None:
    place = new_workplace()
    result = place.validate("cirr")
    assert result["success"] is True
    assert set(result["queries"]) == {"cirr/train", "cirr/val", "cirr/test1", "circo/val", "circo/test"}


def test_second_run_reads_no_image_and_writes_the_same_bytes(
    clean: Any, checked_once: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean.validate("fashioniq")  # another test may have compared it with a champion
    first = contents(clean.output)
    checked_once.clear()

    def refuse(self: FolderStore, image: str) -> bytes:
        raise AssertionError(f"{image} was read again")

    monkeypatch.setattr(FolderStore, "read", refuse)
    clean.validate("fashioniq")
    assert contents(clean.output) == first


def test_two_at_once_of_one_output_are_one_too_many_and_the_result_stays(clean: Any) -> None:
    before = contents(clean.output)
    with alone(clean.output), pytest.raises(StageFailed, match="another process is at work on"):
        clean.validate("fashioniq")
    assert contents(clean.output) == before


def test_a_changed_image_is_read_again(clean: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = FolderStore.read

    def note(self: FolderStore, image: str) -> bytes:
        read.append(image)
        return original(self, image)

    changed = next(iter((clean.data / "fashioniq/images").glob("*.jpg")))
    before = clean.result()["fingerprint"]
    content = changed.read_bytes()
    monkeypatch.setattr(FolderStore, "read", note)
    changed.write_bytes(content + b"\0")
    assert clean.validate("fashioniq")["fingerprint"] != before
    changed.write_bytes(content)
    os.utime(changed, ns=(10**18, 10**18))
    assert clean.validate("fashioniq")["fingerprint"] == before
    assert read == [changed.stem, changed.stem]


def test_a_pass_that_no_longer_holds_is_withdrawn(new_workplace: Any) -> None:
    place = new_workplace()
    place.validate("fashioniq")
    place.edit("fashioniq/captions/cap.dress.val.json", lambda rows: rows[0].update(captions=["", ""]))
    with pytest.raises(BadInput, match=r"row 0, field 'captions': the modification text is empty"):
        place.validate("fashioniq")
    assert not place.output.exists()
    assert (place.work / "validation-report" / "data_docs" / "index.html").is_file()
    result = place.validate("fashioniq", tolerate={"empty_text": 1})
    assert result["excluded"]["fashioniq"]["queries"] == ["val/dress/0"]
    assert result["queries"]["fashioniq/val"] == {"rows": 60, "kept": 59}
    assert not (place.work / "validation-report").exists()


def test_tolerated_leakage_leaves_training_queries_out(new_workplace: Any) -> None:
    place = new_workplace()
    rows = json.loads((place.data / "fashioniq/captions/cap.dress.train.json").read_text())
    leaked = rows[0]["target"]
    place.edit("fashioniq/image_splits/split.dress.val.json", lambda ids: ids.append(leaked))
    with pytest.raises(BadInput, match="the image is in another split too"):
        place.validate("fashioniq")
    result = place.validate("fashioniq", tolerate={"leakage": 1})
    naming = {f"train/dress/{n}" for n, row in enumerate(rows) if leaked in (row["target"], row["candidate"])}
    assert set(result["excluded"]["fashioniq"]["queries"]) == naming


def test_tolerance_must_not_empty_a_split(new_workplace: Any) -> None:
    place = new_workplace()
    for path in (place.data / "fashioniq" / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(StageFailed, match="no query is left"):
        place.validate("fashioniq", tolerate={"image_unreadable": 10_000})
    assert not place.output.exists()


def test_public_numbers_are_asked_for_on_demand(new_workplace: Any) -> None:
    place = new_workplace()
    with pytest.raises(BadInput, match="another number of entries than the published one: 60"):
        place.validate("fashioniq", expect_public=True)
    (place.data / "fashioniq" / "truth.json").unlink()
    result = place.validate("fashioniq")
    counted = {(rule["benchmark"], rule["outcome"]) for rule in result["rules"] if rule["rule"] == "public_count"}
    assert counted == {("fashioniq", "warned"), ("hp-fashioniq", "ok")}


def test_without_coco_index_circo_only_warns(new_workplace: Any) -> None:
    place = new_workplace()
    (place.data / "circo/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    result = place.validate("cirr")
    assert [rule["rule"] for rule in result["rules"] if rule["outcome"] == "warned"] == ["no_gallery"]


def test_a_linked_folder_warns_that_dvc_does_not_version_it(
    new_workplace: Any, caplog: pytest.LogCaptureFixture
) -> None:
    workplace = new_workplace()
    elsewhere = (workplace.data / "fashioniq").rename(workplace.root / "elsewhere")
    (workplace.data / "fashioniq").symlink_to(elsewhere)
    workplace.validate()
    assert workplace.result()["success"]
    (row,) = [row for row in workplace.bad_rows() if row["rule"] == "not_versioned"]
    assert (row["file"], row["value"], row["severity"]) == ("fashioniq", str(elsewhere), "warning")
    assert "dvc cache dir" in row["remedy"]
    assert "fashioniq: 1 row of not_versioned: the folder is a link" in caplog.text


def test_what_a_dvcignore_hides_warns_that_dvc_does_not_version_it(new_workplace: Any) -> None:
    workplace = new_workplace()
    assert workplace.validate("fashioniq")["success"]
    assert not [row for row in workplace.bad_rows() if row["rule"] == "ignored_by_dvc"], "no DVC, nothing to say"
    (workplace.root / ".dvc").mkdir()
    images = sorted((workplace.data / "fashioniq" / "images").glob("B*.jpg"))
    hidden = [f"/data/fashioniq/images/{images[place].name}" for place in (0, 3)]
    (workplace.root / ".dvcignore").write_text("\n".join(["*.swp", "hpfiq.json", *hidden]))
    (workplace.data / "fashioniq" / "images" / "notes.swp").write_text("nobody reads it")
    assert workplace.validate("fashioniq")["success"]
    rows = [row for row in workplace.bad_rows() if row["rule"] == "ignored_by_dvc"]
    assert [(row["file"], row["severity"]) for row in rows] == [
        ("hp_fashioniq", "warning"),
        ("fashioniq/images", "warning"),
    ]
    assert rows[0]["value"] == "hpfiq.json"
    assert rows[1]["value"].endswith(" and 1 more")
    assert ".dvcignore" in rows[0]["remedy"]


def test_shifted_data_is_said(clean: Any, new_workplace: Any, caplog: pytest.LogCaptureFixture) -> None:
    place = new_workplace()

    def longer(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["captions"] = [f"{caption} and rather more of it than before" for caption in row["captions"]]

    place.edit("fashioniq/captions/cap.dress.train.json", longer)
    result = place.validate("fashioniq", champion=clean.output / "statistics.json")
    assert result["success"] is True
    assert [(row["split"], row["measure"]) for row in result["drift"]] == [("fashioniq/train", "caption_words")]
    assert "shifted data: fashioniq/train: caption_words" in caplog.text
    assert "shifted" in (place.output / "data_docs" / "index.html").read_text()
    assert clean.validate("fashioniq", champion=clean.output / "statistics.json")["drift"] == []


@pytest.mark.parametrize(
    ("tolerate", "problem"),
    [({"no_rule": 1}, "no such rule"), ({"schema": 1}, "cannot be left out"), ({"public_count": 1}, "cannot be")],
)
def test_tolerance_names_rules_that_can_be_tolerated(workplace: Any, tolerate: dict[str, int], problem: str) -> None:
    with pytest.raises(BadInput, match=problem) as caught:
        workplace.validate("fashioniq", tolerate=tolerate)
    assert caught.value.field == f"validation.tolerate.{next(iter(tolerate))}"


def test_an_output_folder_of_something_else_is_left_alone(workplace: Any) -> None:
    workplace.output.mkdir(parents=True)
    (workplace.output / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="something other than a validation's result"):
        workplace.validate("fashioniq")
    assert (workplace.output / "thesis.txt").read_text() == "mine"


def test_a_file_in_the_place_of_the_output_is_left_alone(workplace: Any) -> None:
    workplace.output.parent.mkdir(parents=True, exist_ok=True)
    workplace.output.write_text("mine")
    with pytest.raises(BadInput, match=r"validation: the output is a file, not a folder\. Name another"):
        workplace.validate()
    assert workplace.output.read_text() == "mine"


def test_unknown_training_set_is_refused(workplace: Any) -> None:
    with pytest.raises(BadInput, match="no training set 'coco'"):
        workplace.validate("coco")


@pytest.mark.usefixtures("no_bytecode")
@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.8, 1.5])
def test_killed_at_any_point_leaves_no_half_result(
    clean: Any, workplace: Any, checked_once: dict[str, Any], seconds: float
) -> None:
    def check_everything() -> None:
        checked_once.clear()
        workplace.validate("fashioniq")

    child = _in_child(check_everything)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if workplace.output.exists():
        assert workplace.result()["success"] is True
    workplace.validate("fashioniq")
    assert [path.name for path in workplace.output.parent.iterdir()] == ["validation"]
    assert workplace.result()["rules"] == clean.result()["rules"]


@pytest.mark.usefixtures("no_bytecode")
def test_full_disk_leaves_no_half_result(clean: Any, workplace: Any) -> None:
    def with_little_space() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        workplace.validate("fashioniq")

    _, status = os.waitpid(_in_child(with_little_space), 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert not workplace.output.exists()
    workplace.validate("fashioniq")
    assert workplace.result()["rules"] == clean.result()["rules"]


def _in_child(action: Callable[[], Any]) -> int:
    """Runs `action` in a copy of this process, which has Great Expectations imported already; returns its id."""
    child = os.fork()
    if child == 0:
        # The lock of tqdm's bars, in Great Expectations, is one for all forks: killed with it, a child takes it along.
        tqdm.set_lock(threading.RLock())
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


SAME = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import make_settings
from qure.validation.stage import validate
validate(make_settings(), "fashioniq", data=Path(sys.argv[2]), output=Path(sys.argv[3]), work=Path(sys.argv[4]))
"""


@pytest.mark.integration
def test_two_processes_write_the_same_bytes(workplace: Any) -> None:
    """Great Expectations puts columns in the order of a set of strings, which a process draws anew."""
    workplace.edit("hp_fashioniq/hpfiq.json", _prefer_the_lower_score)
    written = []
    for seed in ("1", "2", "3"):
        output = workplace.root / seed
        arguments = [Path(__file__).parent, workplace.data, output, workplace.root / f"work-{seed}"]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", SAME, *map(str, arguments)], check=True, env=environment)
        written.append(contents(output))
    assert "data_docs/hp-fashioniq.answers.html" in written[0]
    assert b"(1, 5)" in written[0]["data_docs/hp-fashioniq.answers.html"]
    assert written[1] == written[0]
    assert written[2] == written[0]


def _prefer_the_lower_score(people: Any) -> None:
    questions = people["user_1"]["question_set_1"]
    for row, (preferred, other) in enumerate((("1", "5"), ("2", "3"), ("2", "4"), ("1", "3"))):
        questions["retrieved_set1"][row]["user_score"], questions["retrieved_set2"][row]["user_score"] = (
            preferred,
            other,
        )
        questions["preferred set"][row] = "1"


def test_a_caption_of_megabytes_does_not_make_a_page_of_megabytes(workplace: Any) -> None:
    workplace.edit(
        "fashioniq/captions/cap.dress.train.json", lambda rows: rows[3].update(captions=["x" * 8_000_000, "y"])
    )
    workplace.edit("fashioniq/captions/cap.dress.val.json", lambda rows: rows[3].update(candidate="z" * 8_000_000))
    with pytest.raises(BadInput):
        workplace.validate()
    written = [path for path in (workplace.work / "validation-report").rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in written) < 1_000_000
    rows = {row["rule"] for row in workplace.bad_rows()}
    assert {"text_length", "unsafe_id"} <= rows


def test_a_named_pipe_is_not_waited_for(workplace: Any) -> None:
    captions = workplace.data / "fashioniq" / "captions" / "cap.dress.train.json"
    captions.unlink()
    os.mkfifo(captions)
    with pytest.raises(BadInput, match=r"cap\.dress\.train\.json: this is a named pipe, not a file"):
        workplace.validate()


def test_a_layout_one_folder_too_deep_is_hinted_at(workplace: Any) -> None:
    root = workplace.data / "fashioniq"
    root.rename(workplace.data / "inner")
    root.mkdir()
    (workplace.data / "inner").rename(root / "fashioniq")
    with pytest.raises(BadInput, match=r"lies at .*fashioniq/fashioniq/image_splits/split\.dress\.train\.json"):
        workplace.validate()
