"""What validation tolerates is left out alike everywhere."""

from pathlib import Path
from typing import Any

import pytest

from qure.datasets import Gallery, PreferencePair, Triplet
from qure.datasets.exclusions import Exclusions, exclusions_in, query_key
from qure.errors import BadInput

TRIPLETS = [
    Triplet("dress/0", "a", "is red", target="b", split="train"),
    Triplet("dress/0", "c", "is red", target="d", split="val", members=("c", "d", "e"), answers=("d", "e")),
]


def kept(exclusions: Exclusions) -> list[str]:
    return [query_key(triplet) for triplet in exclusions.keep(TRIPLETS)]


def test_nothing_excluded_keeps_everything() -> None:
    assert not Exclusions()
    assert Exclusions(images=frozenset("a"))
    assert Exclusions(queries=frozenset("a"))
    assert Exclusions().keep(TRIPLETS) == TRIPLETS


def test_queries_by_key_mean_one_split_and_bare_ids_every_split() -> None:
    assert kept(Exclusions(queries=frozenset({"train/dress/0"}))) == ["val/dress/0"]
    assert kept(Exclusions(queries=frozenset({"dress/0"}))) == []


@pytest.mark.parametrize("image", ["a", "b"])
def test_an_excluded_image_takes_its_triplets_along(image: str) -> None:
    assert kept(Exclusions(images=frozenset({image}))) == ["val/dress/0"]


def test_an_excluded_image_leaves_members_answers_and_galleries() -> None:
    exclusions = Exclusions(images=frozenset({"e"}))
    triplet = exclusions.keep(TRIPLETS)[1]
    assert (triplet.members, triplet.answers) == (("c", "d"), ("d",))
    only_answer = Triplet("dress/1", "a", "is red", target="b", members=("f",), answers=("b", "e"))
    only_member = Triplet("dress/2", "a", "is red", target="b", members=("e", "f"), answers=("b",))
    assert [(one.members, one.answers) for one in exclusions.keep([only_answer, only_member])] == [(("f",), ("b",))] * 2
    assert exclusions.keep_gallery(Gallery("g", ("e", "f"))).ids == ("f",)


def test_a_preference_pair_needs_all_its_images() -> None:
    pair = PreferencePair("u/q/0", "r", "t", "is red", "shirt", "u", tuple("abcde"), tuple("fghij"), 1, (4, 3))
    assert Exclusions(images=frozenset({"z"})).keep_pairs([pair]) == [pair]
    for image in "rtaj":
        assert Exclusions(images=frozenset({image})).keep_pairs([pair]) == []
    assert Exclusions(queries=frozenset({"u/q/0"})).keep_pairs([pair]) == []


RESULT = Path("result.json")


def test_a_result_says_what_to_leave_out_of_each_benchmark() -> None:
    result = {"excluded": {"cirr": {"images": ["a", "b"], "queries": ["train/0"]}, "circo": {"queries": ["val/1"]}}}
    assert exclusions_in(result, "cirr", RESULT) == Exclusions(frozenset({"a", "b"}), frozenset({"train/0"}))
    assert exclusions_in(result, "circo", RESULT) == Exclusions(queries=frozenset({"val/1"}))
    assert exclusions_in(result, "fashioniq", RESULT) == Exclusions()
    assert exclusions_in({"success": True}, "cirr", RESULT) == Exclusions()


@pytest.mark.parametrize("result", [[], None, {"excluded": []}, {"excluded": {"cirr": ["a"]}}])
def test_a_result_that_maps_nothing_is_refused(result: Any) -> None:
    with pytest.raises(BadInput, match=r"result\.json, field 'excluded': must map benchmarks"):
        exclusions_in(result, "cirr", RESULT)


@pytest.mark.parametrize("names", ["abc", {"a": 1}, ["a", 1], None])
@pytest.mark.parametrize("key", ["images", "queries"])
def test_names_that_are_no_list_of_strings_are_refused(key: str, names: Any) -> None:
    with pytest.raises(BadInput, match=rf"field 'excluded\.cirr\.{key}': must be a list of strings"):
        exclusions_in({"excluded": {"cirr": {key: names}}}, "cirr", RESULT)
