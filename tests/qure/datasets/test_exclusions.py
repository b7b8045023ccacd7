"""What validation tolerates is left out alike everywhere."""

import pytest

from qure.datasets import Gallery, PreferencePair, Triplet
from qure.datasets.exclusions import Exclusions, query_key

TRIPLETS = [
    Triplet("dress/0", "a", "is red", target="b", split="train"),
    Triplet("dress/0", "c", "is red", target="d", split="val", members=("c", "d", "e"), answers=("d", "e")),
]


def kept(exclusions: Exclusions) -> list[str]:
    return [query_key(triplet) for triplet in exclusions.keep(TRIPLETS)]


def test_nothing_excluded_keeps_everything() -> None:
    assert not Exclusions()
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
    assert exclusions.keep_gallery(Gallery("g", ("e", "f"))).ids == ("f",)


def test_a_preference_pair_needs_all_its_images() -> None:
    pair = PreferencePair("u/q/0", "r", "t", "is red", "shirt", "u", tuple("abcde"), tuple("fghij"), 1, (4, 3))
    assert Exclusions(images=frozenset({"z"})).keep_pairs([pair]) == [pair]
    for image in "rtaj":
        assert Exclusions(images=frozenset({image})).keep_pairs([pair]) == []
    assert Exclusions(queries=frozenset({"u/q/0"})).keep_pairs([pair]) == []
