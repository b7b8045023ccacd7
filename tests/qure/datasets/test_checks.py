"""The content rules list every broken row, not only the first."""

from dataclasses import replace

from qure.datasets import Triplet
from qure.datasets.checks import RULES, FieldNames, find, place

NAMES = FieldNames("candidate", "target", "captions")
GOOD = Triplet("dress/0", "a", "is red", target="b", source="cap.json, row 0")


def test_good_rows_have_no_findings() -> None:
    other = replace(GOOD, query_id="dress/1", text="is blue", source="cap.json, row 1")
    assert list(find([GOOD, other], NAMES, known_ids={"a", "b"})) == []


def test_every_rule_is_found_with_its_field_and_value() -> None:
    rows = [
        GOOD,
        replace(GOOD, reference="x", target="y", source="cap.json, row 1"),
        replace(GOOD, target="a", source="cap.json, row 2"),
        replace(GOOD, text="  ", source="cap.json, row 3"),
        replace(GOOD, query_id="dress/4", source="cap.json, row 4"),
        replace(GOOD, text="is big", members=("a", "z"), source="cap.json, row 5"),
    ]
    found = [
        (finding.rule, finding.field, finding.value, finding.error().row)
        for finding in find(rows, NAMES, known_ids={"a", "b"})
    ]
    assert found == [
        ("unknown_id", "candidate", "x", 1),
        ("unknown_id", "target", "y", 1),
        ("target_is_reference", "target", "a", 2),
        ("empty_text", "captions", "  ", 3),
        ("duplicate_triplet", "captions", "is red", 4),
        ("unknown_id", "img_set.members[1]", "z", 5),
    ]
    assert {rule for rule, *_ in found} == set(RULES)


def test_only_the_chosen_rules_are_looked_at() -> None:
    row = replace(GOOD, target="a", text="")
    assert [finding.rule for finding in find([row], NAMES, rules=["empty_text"])] == ["empty_text"]


def test_queries_without_target_cannot_be_duplicate_triplets() -> None:
    query = replace(GOOD, target=None)
    assert list(find([query, query], NAMES)) == []


def test_place_of_sources_without_a_row_number() -> None:
    assert place("hpfiq.json, user_1/question_set_1/0") == ("hpfiq.json, user_1/question_set_1/0", None)
