"""Which texts show nothing, and which say the same."""

import unicodedata

import pytest

from qure.datasets.texts import id_key, shows_nothing, text_key


@pytest.mark.parametrize(
    "code",
    [
        *(0x200B, 0xFEFF, 0x2060, 0x00AD, 0x180E, 0x034F, 0xFE0F, 0x3164, 0x115F, 0xFFA0, 0x2800),
        *(0x202E, 0x2066, 0x061C, 0x17B4, 0x1D159, 0x1D173, 0xE0020, 0xE0100, 0x13441, 0xFFFC, 0xFFFD, 0x0301, 0xE000),
    ],
)
def test_characters_that_do_not_show(code: int) -> None:
    assert shows_nothing(chr(code) * 3)
    assert not shows_nothing(chr(code) + "red")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n",
        "!!",
        "--",
        "...",
        "\u2026\u2013",
        "$+=",
        "\u3000\u3002",
        "\u00b4 \u00a8",
        "\uff0b\uff1d\uff5c\uff5e",
        "\ufe62",
    ],
)
def test_blanks_and_punctuation_alone(text: str) -> None:
    assert shows_nothing(text)


@pytest.mark.parametrize("text", ["7", "x", "\u00e9", "\u8d64\u3044", "\u0441\u0438\u043d\u0438\u0439", "\u2665"])
def test_what_says_something(text: str) -> None:
    assert not shows_nothing(f"-- {text} --")


def test_order_case_blanks_and_unicode_form_do_not_make_another_text() -> None:
    decomposed = unicodedata.normalize("NFD", "is  caf\u00e9 brown")
    assert text_key("is caf\u00e9 brown", "long") == text_key("LONG", decomposed)
    assert text_key("is red", "is long") != text_key("is red", "is short")
    assert text_key("is red and long") != text_key("is red", "long")


@pytest.mark.parametrize(
    "other",
    [
        *("Is red, and long.", "is\u00a0red and\tlong", "is re\u200bd and long", "\ufeffis red and long"),
        *("is red (and) long!!", "\uff29\uff33 red and long", "is red and lon\u00adg", "is \u2068red\u2069 and long"),
        "is red and long\ufe0f",
    ],
)
def test_marks_and_characters_that_do_not_show_do_not_make_another_text(other: str) -> None:
    assert text_key(other) == text_key("is red and long")
    assert text_key("is red and not long") != text_key("is red and long")


def test_ids_that_some_file_systems_take_for_one() -> None:
    assert id_key("B00A.x") == id_key("b00a.X")
    assert id_key("caf\u00e9") == id_key("cafe\u0301")
    assert id_key("B00A\u200b") == id_key("b\u00ad00a")
    assert id_key("a1") != id_key("a2")
    assert id_key("a-1") != id_key("a1"), "marks are part of an id"
