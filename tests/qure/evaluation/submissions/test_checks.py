"""Submission files: what the servers take is accepted, what they refuse is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from qure.benchmarks.circo import files as circo_files
from qure.benchmarks.circo import protocol as circo
from qure.benchmarks.circo.submission import write_submission
from qure.benchmarks.cirr import files as cirr_files
from qure.benchmarks.cirr import protocol as cirr
from qure.benchmarks.cirr.submission import write_submissions
from qure.cli.application import app
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.submissions.checks import check_submission


@pytest.fixture
def cirr_files_written(cirr_root: Path, tmp_path: Path, unit_embeddings: Callable[..., Embeddings]) -> dict[str, Path]:
    triplets, gallery = cirr_files.read_triplets(cirr_root, "test1"), cirr_files.read_gallery(cirr_root, "test1")
    queries = unit_embeddings([one.query_id for one in triplets], 1)
    rankings = cirr.predict(triplets, gallery, queries, unit_embeddings(gallery.ids, 2))
    return write_submissions(tmp_path / "submissions", cirr_root, *rankings)


@pytest.fixture
def circo_file_written(circo_root: Path, tmp_path: Path, unit_embeddings: Callable[..., Embeddings]) -> Path:
    triplets, gallery = circo_files.read_triplets(circo_root, "test"), circo_files.read_gallery(circo_root)
    queries = unit_embeddings([one.query_id for one in triplets], 1)
    ranking = circo.predict(triplets, gallery, queries, unit_embeddings(gallery.ids, 2))
    return write_submission(tmp_path / "circo_test.json", circo_root, ranking)


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def test_the_published_examples_comply(annotations: Path) -> None:
    folder = annotations / "cirr" / "submission_example"
    for metric in ("recall", "recall_subset"):
        assert check_submission("cirr", folder / f"test1_pred_ranks_{metric}.json", annotations / "cirr") == metric
    for split in ("val", "test"):
        file = annotations / "circo" / "submission_example" / f"submission_{split}.json"
        check_submission("circo", file, annotations / "circo", split=split)


def test_files_of_a_model_on_the_public_test_splits(
    annotations: Path, tmp_path: Path, unit_embeddings: Callable[..., Embeddings]
) -> None:
    root = annotations / "cirr"
    triplets, gallery = cirr_files.read_triplets(root, "test1"), cirr_files.read_gallery(root, "test1")
    queries = unit_embeddings([one.query_id for one in triplets], 1, dimension=8)
    rankings = cirr.predict(triplets, gallery, queries, unit_embeddings(gallery.ids, 2, dimension=8))
    files = write_submissions(tmp_path, root, *rankings)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "cirr_test1_recall.json",
        "cirr_test1_recall_subset.json",
    ]
    for metric, file in files.items():
        content = json.loads(file.read_text())
        assert (content.pop("version"), content.pop("metric")) == ("rc2", metric)
        assert len(content) == 4148
        assert {len(names) for names in content.values()} == {50 if metric == "recall" else 3}
        assert file.stat().st_size <= 5_000_000


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda it: it.update(version="rc1"), r"field 'version': 'rc1', must be 'rc2'"),
        (lambda it: it.pop("version"), r"field 'version': None, must be 'rc2'"),
        (lambda it: it.update(metric="precision"), r"field 'metric': 'precision', must be"),
        (lambda it: it.pop("107"), r"1 of 30 queries are missing: '107'"),
        (lambda it: it.update({"9": it["107"]}), r"1 keys are no queries of the split: '9'"),
        (lambda it: it["107"].pop(), r"query '107': 49 entries, must be 50"),
        (lambda it: it["107"].append("x"), r"query '107': 51 entries, must be 50"),
        (lambda it: it.update({"107": "abc"}), r"query '107': must be a list, not str"),
        (lambda it: it["107"].__setitem__(3, 7), r"query '107': 7 is not an image's name"),
        (lambda it: it["107"].__setitem__(3, "test1-x"), r"query '107': no image 'test1-x' in cirr/test1"),
        (lambda it: it["107"].__setitem__(3, it["107"][0]), r"query '107': .* occurs more than once"),
    ],
)
def test_what_cirrs_server_refuses_is_named(
    cirr_root: Path, cirr_files_written: dict[str, Path], edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    assert check_submission("cirr", cirr_files_written["recall"], cirr_root) == "recall"
    with pytest.raises(BadInput, match=message):
        check_submission("cirr", change(cirr_files_written["recall"], edit), cirr_root)


def test_references_and_strangers_are_refused(cirr_root: Path, cirr_files_written: dict[str, Path]) -> None:
    triplet = cirr_files.read_triplets(cirr_root, "test1")[7]
    for metric in ("recall", "recall_subset"):
        file = change(cirr_files_written[metric], lambda it: it["107"].__setitem__(0, triplet.reference))
        with pytest.raises(BadInput, match=f"'107': '{triplet.reference}' is the query's reference image"):
            check_submission("cirr", file, cirr_root)
    gallery = cirr_files.read_gallery(cirr_root, "test1").ids
    stranger = next(image for image in gallery if image not in triplet.members)
    file = change(cirr_files_written["recall_subset"], lambda it: it["107"].__setitem__(0, stranger))
    with pytest.raises(BadInput, match=f"'{stranger}' is not in the query's image set"):
        check_submission("cirr", file, cirr_root)


def test_size_and_form_are_checked(cirr_root: Path, cirr_files_written: dict[str, Path], tmp_path: Path) -> None:
    file = cirr_files_written["recall"]
    text = file.read_text()
    file.write_text(text + " " * 5_000_000)
    with pytest.raises(BadInput, match=r"bytes; the server takes at most 5,000,000"):
        check_submission("cirr", file, cirr_root)
    file.write_text(text[:-1] + f',"107":{json.dumps(["x"] * 50)}}}')
    with pytest.raises(BadInput, match="keys that occur more than once: '107'"):
        check_submission("cirr", file, cirr_root)
    for broken, message in ((text[:-9], "not a readable JSON file"), ("[]", "not a JSON object but list")):
        file.write_text(broken)
        with pytest.raises(BadInput, match=message):
            check_submission("cirr", file, cirr_root)
    with pytest.raises(BadInput, match="does not exist"):
        check_submission("cirr", tmp_path / "none.json", cirr_root)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda it: it.pop("7"), r"1 of 25 queries are missing: '7'"),
        (lambda it: it.update({"25": it["7"]}), r"1 keys are no queries of the split: '25'"),
        (lambda it: it["7"].pop(), r"query '7': 49 entries, must be 50"),
        (lambda it: it["7"].__setitem__(3, "12x"), r"query '7': '12x' is not a whole number"),
        (lambda it: it["7"].__setitem__(3, str(it["7"][0])), r"query '7': .* occurs more than once"),
        (lambda it: it["7"].__setitem__(3, True), r"query '7': True is not a whole number"),
        (lambda it: it["7"].__setitem__(3, 999_999), r"query '7': no image 999999 in COCO's index"),
        (lambda it: it["7"].__setitem__(3, it["7"][0]), r"query '7': .* occurs more than once"),
    ],
)
def test_what_circos_server_refuses_is_named(
    circo_root: Path, circo_file_written: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    check_submission("circo", circo_file_written, circo_root)
    with pytest.raises(BadInput, match=message):
        check_submission("circo", change(circo_file_written, edit), circo_root)


def test_circos_server_takes_numbers_as_text(circo_root: Path, circo_file_written: Path) -> None:
    """So the published code of QuRe writes them."""
    as_text = change(circo_file_written, lambda it: it.update({key: list(map(str, ids)) for key, ids in it.items()}))
    assert check_submission("circo", as_text, circo_root) == "map"


def test_the_command_line_tells_whose_file_it_is(
    cirr_root: Path, circo_root: Path, cirr_files_written: dict[str, Path], circo_file_written: Path
) -> None:
    runner = CliRunner()
    for file, root, said in (
        (cirr_files_written["recall_subset"], cirr_root, "CIRR's server, metric recall_subset"),
        (circo_file_written, circo_root, "CIRCO's server, metric map"),
    ):
        done = runner.invoke(app, ["check-submission", str(file), "--data", str(root.parent)])
        assert (done.exit_code, said in done.output) == (0, True), done.output
    file = change(cirr_files_written["recall"], lambda it: it.update(version="rc1"))
    with pytest.raises(BadInput, match="field 'version'"):
        runner.invoke(app, ["check-submission", str(file), "--data", str(cirr_root.parent)], catch_exceptions=False)


def test_without_cocos_index_any_number_is_an_image(circo_root: Path, circo_file_written: Path) -> None:
    shutil.rmtree(circo_root / "COCO2017_unlabeled")
    check_submission("circo", change(circo_file_written, lambda it: it["7"].__setitem__(3, 999_999)), circo_root)
    with pytest.raises(BadInput, match="no image -5"):
        check_submission("circo", change(circo_file_written, lambda it: it["7"].__setitem__(3, -5)), circo_root)


def test_a_file_that_breaks_a_rule_is_not_written(cirr_root: Path, circo_root: Path, tmp_path: Path) -> None:
    names = np.array(cirr_files.read_gallery(cirr_root, "test1").ids)
    ranking = {str(100 + number): list(names[:50]) for number in range(30)}
    with pytest.raises(BadInput, match=r"cirr_test1_recall.json, query .* is the query's reference image"):
        write_submissions(tmp_path / "out", cirr_root, ranking, {})
    with pytest.raises(BadInput, match=r"circo.json: 25 of 25 queries are missing"):
        write_submission(tmp_path / "out" / "circo.json", circo_root, {})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_benchmark_without_a_server_takes_no_submission(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'fashioniq' has no evaluation server"):
        check_submission("fashioniq", tmp_path / "any.json", tmp_path)
