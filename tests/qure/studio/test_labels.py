"""Marks: votes, CIRCO's form, what is proposed first; and the way into evaluation and training."""

import json
import shutil
from pathlib import Path

import pytest

from qure.benchmarks import get_benchmark
from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.studio.answers import Answers
from qure.studio.labels import above_first_drops, label_rows, mark, marks_of, proposals, subject_of, write_labels

QUERY = Triplet("dress/1", "r", "is red", "t", "dress")


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "answers.db")


def _mark(answers: Answers, person: str, image: str, right: bool, query: str = "dress/1") -> None:
    mark(answers, person, subject_of("fashioniq", "val", query), image, right=right)


def test_a_persons_last_word_counts_and_most_people_decide(answers: Answers) -> None:
    _mark(answers, "ann", "x", True)
    _mark(answers, "bob", "x", False)
    votes = marks_of(answers, "fashioniq", "val")["dress/1"]["x"]
    assert (votes.right, votes.wrong, votes.is_right) == (1, 1, False)
    _mark(answers, "bob", "x", True)
    _mark(answers, "ann", "y", True)
    _mark(answers, "ann", "y", False)
    marks = marks_of(answers, "fashioniq", "val")
    assert {image: of.is_right for image, of in marks["dress/1"].items()} == {"x": True, "y": False}
    assert len(answers.of("mark")) == 5, "nothing is overwritten"
    assert marks_of(answers, "fashioniq", "train") == {}
    (row,) = label_rows({"dress/1": QUERY}, marks)
    assert row["gt_img_ids"] == ["t", "x"]
    assert {(one["image"], one["right"], one["by"]) for one in row["marks"]} == {
        ("x", True, "person_1"),
        ("x", True, "person_2"),
        ("y", False, "person_1"),
    }
    assert all(one["at"] for one in row["marks"])


def test_images_above_the_first_drop_are_proposed_the_most_first(answers: Answers) -> None:
    drops = [0.9, 0.89, 0.88, 0.87, 0.5, 0.49, 0.48, 0.2, 0.19, 0.18, 0.17]
    ranked = [(name, score) for name, score in zip("tabrcdefghi", drops, strict=True)]
    ((above, drop),) = above_first_drops([(QUERY, ranked)])
    assert (above, round(drop, 2)) == (["a", "b"], 0.37)
    late = [*ranked[1:3], ranked[0], *ranked[3:]]
    rankings = [(Triplet("dress/2", "r", "", "none of them"), ranked), (QUERY, ranked)]
    found = proposals(rankings, {})
    assert [one.query_id for one in found] == ["dress/1", "dress/2"], "a target out of sight comes last"
    assert len(found[1].images) == 9
    _mark(answers, "ann", "a", False)
    _mark(answers, "ann", "b", False)
    assert [one.query_id for one in proposals(rankings, marks_of(answers, "fashioniq", "val"))] == ["dress/2"]
    short = [(name, score) for name, score in zip("tx", (0.9, 0.1), strict=True)]
    both = above_first_drops([(QUERY, late), (QUERY, short), (QUERY, ranked)])
    assert [images for images, _ in both] == [["a", "b"], ["x"], ["a", "b"]]
    assert both[1][1] == 0.0
    ((others, drop),) = above_first_drops([(Triplet("dress/2", "t", "", "none of them"), ranked)])
    assert (others, drop) == (list("abrcdefgh"), 0.0), "all of the ten, where the target is out of sight"


def test_labels_go_into_the_data_and_are_read_there(answers: Answers, catalogue: Path, tmp_path: Path) -> None:
    root = tmp_path / "fashioniq"
    for folder in ("captions", "image_splits"):
        shutil.copytree(catalogue / "fashioniq" / folder, root / folder)
    shutil.copy(catalogue / "fashioniq" / "truth.json", root)
    benchmark = get_benchmark("fashioniq")
    for split in ("val", "train"):
        triplets = benchmark.read(root, "val").triplets if split == "val" else benchmark.read_training(root)[0]
        query = triplets[2]
        gallery = {one.target for one in triplets if one.category == query.category}
        image = sorted(gallery - {query.target, query.reference})[0]
        subject = subject_of("fashioniq", split, query.query_id)
        mark(answers, "ann", subject, image, right=True)
        file, rows = write_labels(answers, "fashioniq", split, {one.query_id: one for one in triplets}, root)
        assert json.loads(file.read_text()) == rows
        read = benchmark.read(root, "val").triplets if split == "val" else benchmark.read_training(root)[0]
        assert read[2].answers == (query.target, image)


def test_nothing_to_export_is_said(answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nobody has marked a val query"):
        write_labels(answers, "fashioniq", "val", {}, tmp_path)
