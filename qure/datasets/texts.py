"""When a text shows nothing, and when two texts or two ids are alike to a reader though their characters differ."""

import re
import string
import unicodedata

#: Characters by Unicode's categories that show nothing all the same: the fillers of Hangul syllables, Braille without
#: dots, blanks of musical and hieroglyphic scripts, and what stands for an object or character that is not there.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159\U00013441\U00013442\ufffc\ufffd")

#: What of a text shows nothing of what it says, by the first letter of Unicode's category: marks without a letter
#: (variation selectors among them), punctuation, separators, and controls with the zero-width characters.
_SAYS_NOTHING = frozenset("MPZC")

#: Accents without a letter below them.
_ACCENT = "Sk"

#: Unicode's property Default_Ignorable_Code_Point (DerivedCoreProperties.txt): what is drawn as if it were not there.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_ASCII_MARKS = str.maketrans(dict.fromkeys(string.punctuation, " "))


def shows_nothing(text: str) -> bool:
    """Whether a text has no character that says anything: white space, zero-width characters and punctuation alone.

    >>> shows_nothing(" \u200b\ufeff\u2060"), shows_nothing("!! -- \u3164"), shows_nothing("+ \uff0b")
    (True, True, True)
    >>> shows_nothing("A4"), shows_nothing("\u8d64"), shows_nothing("\u2665")
    (False, False, False)
    """
    # As wide or small forms the marks that ASCII has are others to Unicode: fullwidth "+" is a mathematical symbol.
    return all(_says_nothing(character) for character in unicodedata.normalize("NFKC", text))


def text_key(*parts: str) -> str:
    """What texts have in common that say the same in the same words.

    Such texts may differ in case, white space, punctuation, Unicode form, characters that do not show, and in the order
    of their parts.

    >>> text_key("Is red. ", "has  dots") == text_key("has dots", "is red")
    True
    >>> text_key("is red") == text_key("is blue")
    False
    """
    return "\n".join(sorted(" ".join(_words(part)) for part in parts))


def id_key(identifier: str) -> str:
    """What ids have in common that look alike: they differ in case, Unicode form or characters that do not show.

    Two forms are one file on some file systems, and two on others.

    >>> id_key("B00A") == id_key("b00a"), id_key("e\u0301") == id_key("\u00e9"), id_key("a\u200b1") == id_key("a1")
    (True, True, True)
    """
    if identifier.isascii():
        return identifier.casefold()
    return unicodedata.normalize("NFKC", _IGNORED.sub("", identifier)).casefold()


def _words(text: str) -> list[str]:
    spaced = id_key(text).translate(_ASCII_MARKS)
    if not spaced.isascii():
        spaced = "".join(" " if unicodedata.category(one).startswith("P") else one for one in spaced)
    return spaced.split()


def _says_nothing(character: str) -> bool:
    if character in string.punctuation or character in _BLANK:
        return True
    category = unicodedata.category(character)
    return category[0] in _SAYS_NOTHING or category == _ACCENT
