"""Ids and paths stay inside their folder."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.datasets.ids import check_image_id, check_relative_path, unsafe_reason
from qure.errors import BadInput

UNSAFE = ["", ".", "..", ".x", "a/b", "/a", "a\\b", "a..b", "a\x00", "a\nb", "a\x7f", " a", "a ", "\ud800", "x" * 201]


@pytest.mark.parametrize("value", UNSAFE)
def test_unsafe_ids_are_refused(value: str) -> None:
    assert unsafe_reason(value)
    with pytest.raises(BadInput, match="image id") as caught:
        check_image_id(value, file="f.json", row=3, field="target")
    assert (caught.value.file, caught.value.row, caught.value.field) == ("f.json", 3, "target")
    str(caught.value).encode()


@pytest.mark.parametrize("value", ["B0084Y8XIU", "dev-244-0-img0", "355099", "a.b", "façade", "x" * 200])
def test_published_forms_are_accepted(value: str) -> None:
    assert check_image_id(value) == value


@pytest.mark.parametrize("value", [None, 3, ["a"], b"a"])
def test_ids_are_strings(value: object) -> None:
    with pytest.raises(BadInput, match="must be a string"):
        check_image_id(value)


@given(st.text(max_size=20))
def test_an_accepted_id_is_one_plain_file_name(value: str) -> None:
    if unsafe_reason(value) is None:
        assert PurePosixPath("images", value + ".jpg").parts == ("images", value + ".jpg")


@given(st.text(alphabet="./\\ab\x00 ", max_size=14).map(lambda start: start + ".png"))
def test_an_accepted_path_stays_below_its_root(value: str) -> None:
    try:
        path = check_relative_path(value, file="f.json")
    except BadInput:
        return
    assert not path.startswith("/")
    assert ".." not in PurePosixPath(path).parts
