"""When a text shows nothing, and when two texts or two ids are alike to a reader though their characters differ."""

import string
import unicodedata

#: Letters by Unicode's categories that are drawn as nothing: fillers of Hangul syllables, and Braille without dots.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800")

#: What of a text shows nothing of what it says, by the first letter of Unicode's category: marks without a letter
#: (variation selectors among them), punctuation, separators, and controls with the zero-width characters.
_SAYS_NOTHING = frozenset("MPZC")


def shows_nothing(text: str) -> bool:
    """Whether a text has no character that says anything: white space, zero-width characters and punctuation alone.

    >>> shows_nothing(" \u200b\ufeff\u2060"), shows_nothing("!! -- \u3164"), shows_nothing("+")
    (True, True, True)
    >>> shows_nothing("A4"), shows_nothing("\u8d64"), shows_nothing("\u2665")
    (False, False, False)
    """
    return all(
        character in string.punctuation or character in _BLANK or unicodedata.category(character)[0] in _SAYS_NOTHING
        for character in text
    )


def text_key(*parts: str) -> str:
    """What texts have in common that differ in case, white space, Unicode form, or in the order of their parts.

    >>> text_key("Is red ", "has  dots") == text_key("has dots", "is red")
    True
    >>> text_key("is red") == text_key("is blue")
    False
    """
    return "\n".join(sorted(" ".join(id_key(part).split()) for part in parts))


def id_key(identifier: str) -> str:
    """What ids have in common that differ in case or Unicode form: one file on some file systems, two on others.

    >>> id_key("B00A") == id_key("b00a"), id_key("e\u0301") == id_key("\u00e9")
    (True, True)
    """
    return identifier.casefold() if identifier.isascii() else unicodedata.normalize("NFKC", identifier).casefold()
