from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qure.errors import BadInput
from qure.negatives import sets
from qure.negatives.sets import HardNegatives, WholeCorpus, combine, whole_corpus

ROWS = st.lists(st.sets(st.integers(0, 40), max_size=25), min_size=1, max_size=8)


def listed(rows: list[set[int]]) -> HardNegatives:
    return HardNegatives(
        sets.offsets_of([len(row) for row in rows]), [column for row in rows for column in sorted(row)]
    )


@given(rows=ROWS, columns=st.lists(st.integers(0, 45), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None)
def test_contains_is_membership(rows: list[set[int]], columns: list[int]) -> None:
    queries = [*range(len(rows)), 0]
    wanted = [[column in rows[query] for column in columns] for query in queries]
    assert listed(rows).contains(queries, columns).tolist() == wanted


@given(size=st.integers(1, 12), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_described_whole_corpus_equals_the_listed_one(size: int, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
    described = whole_corpus(targets, size)
    plain = listed([set(range(size)) - {target} for target in targets])
    rows = np.arange(len(targets))
    assert described.sizes.tolist() == plain.sizes.tolist()
    assert all(described.of(row).tolist() == plain.of(row).tolist() for row in range(len(targets)))
    every = np.tile(np.arange(size - 1), (len(rows), 1))
    assert described.at(rows, every).tolist() == plain.at(rows, every).tolist()
    columns = np.arange(size + 2)
    assert described.contains(rows, columns).tolist() == plain.contains(rows, columns).tolist()


@given(size=st.integers(3, 12), data=st.data())
@settings(max_examples=60, deadline=None)
def test_further_right_answers_are_left_out_of_the_described_corpus(size: int, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
    row = st.lists(st.integers(-1, size - 1), min_size=3, max_size=3)
    also = data.draw(st.lists(row, min_size=len(targets), max_size=len(targets)))
    described = whole_corpus(targets, size, also)
    left = [set(range(size)) - {target, *own} for target, own in zip(targets, also, strict=True)]
    plain = listed(left)
    rows = np.arange(len(targets))
    assert described.sizes.tolist() == plain.sizes.tolist()
    assert [described.of(row).tolist() for row in range(len(targets))] == [sorted(own) for own in left]
    for row, own in enumerate(left):
        assert described.at([row], [list(range(len(own)))]).tolist() == [sorted(own)]
    assert described.contains(rows, np.arange(size + 2)).tolist() == plain.contains(rows, np.arange(size + 2)).tolist()
    both = combine([described, whole_corpus([1], 2)], [0, size], [rows + 1, [0]])
    assert both.of(0).tolist() == [size]
    assert [both.of(row + 1).tolist() for row in range(len(targets))] == [sorted(own) for own in left]
    assert both.sizes.tolist() == [1, *(len(own) for own in left)]
    assert isinstance(both, WholeCorpus)
    assert both.also[0].tolist() == [-1, -1, -1]


def test_a_described_corpus_with_further_answers_survives_its_file(tmp_path: Path) -> None:
    whole_corpus([1, 3], 5, [[2, -1], [0, 4]]).save(tmp_path / "sets.safetensors")
    again = sets.load(tmp_path / "sets.safetensors")
    assert [again.of(row).tolist() for row in range(2)] == [[0, 3, 4], [1, 2]]


@pytest.mark.parametrize("described", [False, True])
def test_combined_sets_take_their_joint_rows(described: bool) -> None:
    """Two corpora of 4 and 3 images; queries of the second come first and last."""
    first: Any = whole_corpus([1, 3], 4) if described else listed([{0, 2}, set()])
    second: Any = whole_corpus([0, 2], 3) if described else listed([{1}, {0, 2}])
    both = combine([first, second], corpus_offsets=[0, 4], query_rows=[[1, 2], [3, 0]])
    assert isinstance(both, WholeCorpus if described else HardNegatives)
    wanted = [[4, 5], [0, 2, 3], [0, 1, 2], [5, 6]] if described else [[4, 6], [0, 2], [], [5]]
    assert [both.of(row).tolist() for row in range(4)] == wanted
    assert both.sizes.tolist() == [len(row) for row in wanted]
    assert both.contains(range(4), range(7)).tolist() == [[column in row for column in range(7)] for row in wanted]


@pytest.mark.parametrize("length", [3, 100])
def test_long_and_short_lists_are_combined_alike(length: int) -> None:
    rows = [set(range(start, start + length * (start % 3), 2)) for start in range(6)]
    joint = [4, 0, 2, 5, 1, 3]
    both = combine([listed(rows[:4]), listed(rows[4:])], [0, 1000], [joint[:4], joint[4:]])
    for part, row in enumerate(joint):
        shift = 0 if part < 4 else 1000
        assert both.of(row).tolist() == [column + shift for column in sorted(rows[part])]


def test_combining_refuses_what_does_not_fit() -> None:
    one, other = whole_corpus([1], 4), listed([{1}])
    with pytest.raises(ValueError, match="cannot be combined"):
        combine([one, other], [0, 4])
    with pytest.raises(ValueError, match="one corpus offset"):
        combine([one], [0, 4])
    for rows in ([[0], [0]], [[0], [2]], [[0, 1], []]):
        with pytest.raises(ValueError, match="exactly once"):
            combine([other, other], [0, 4], rows)


@pytest.mark.parametrize(
    "negatives",
    [listed([{3, 9}, set(), {0}]), listed([set()]), whole_corpus([2, 0], 5)],
    ids=["listed", "empty", "whole"],
)
def test_a_file_gives_back_the_same_sets(negatives: Any, tmp_path: Path) -> None:
    path = tmp_path / "negatives.safetensors"
    negatives.save(path)
    again = sets.load(path)
    assert type(again) is type(negatives)
    assert [again.of(row).tolist() for row in range(len(again))] == [
        negatives.of(row).tolist() for row in range(len(negatives))
    ]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.safetensors: the file does not exist"):
        sets.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_a_cut_off_file_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "negatives.safetensors"
    listed([{3, 9}, {0}]).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadInput, match=r"negatives.safetensors: not a whole file of negatives"):
        sets.load(path)


def test_a_file_whose_arrays_are_no_sets_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "negatives.safetensors"
    save_file({"offsets": np.array([0, 3]), "indices": np.array([1, 1, 2])}, path, metadata={"negatives": "listed"})
    with pytest.raises(BadInput, match=r"negatives.safetensors, field 'indices'"):
        sets.load(path)
    save_file({"offsets": np.array([0])}, path, metadata={"negatives": "listed"})
    with pytest.raises(BadInput, match="indices"):
        sets.load(path)
    save_file({"offsets": np.array([0])}, path)
    with pytest.raises(BadInput, match="its kind is None"):
        sets.load(path)


@pytest.mark.parametrize(
    ("offsets", "indices", "field"),
    [
        ([], [], "offsets"),
        ([1, 2], [0, 1], "offsets"),
        ([0, 2, 1], [0], "offsets"),
        ([0, 2], [0, 1, 2], "offsets"),
        ([0, 2], [2, 1], "indices"),
        ([0, 2], [1, 1], "indices"),
        ([0, 1], [-1], "indices"),
    ],
)
def test_arrays_that_describe_no_sets_are_refused(offsets: list[int], indices: list[int], field: str) -> None:
    with pytest.raises(BadInput, match=f"field '{field}'"):
        HardNegatives(offsets, indices)


def test_rows_may_fall_between_queries() -> None:
    """Ascending inside a row only: the next row may begin lower, also around empty rows."""
    assert HardNegatives([0, 0, 2, 2, 3, 3], [5, 9, 0]).sizes.tolist() == [0, 2, 0, 1, 0]


def test_a_target_outside_its_corpus_is_refused() -> None:
    with pytest.raises(BadInput, match=r"row 1, field 'targets': the target column 4 is not in the corpus 0 .. 3"):
        whole_corpus([0, 4], 4)
    for also in ([2, 3], [[2]], [[2], [3], [4]]):
        with pytest.raises(BadInput, match="field 'also': there must be one row of further columns per query"):
            whole_corpus([0, 1], 4, also=also)
    with pytest.raises(BadInput, match="one entry per query"):
        WholeCorpus([0], [4, 4], [1, 2])
