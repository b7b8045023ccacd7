"""The two ways a stage ends other than well.

`BadInput` is the user's to mend (exit code 2): it names the file, the row, the field and the way out.
`StageFailed` is everything a stage itself decides is a failure (exit code 1).
"""

import unicodedata
from pathlib import Path

#: Characters of a message's parts: what stands in a file may be megabytes.
_PLACE, _PROBLEM = 200, 1000


class QureError(Exception):
    """Base of every error that the command line prints as one clear message instead of a traceback."""

    exit_code = 1


class StageFailed(QureError):
    """A stage ran and its outcome is a failure, for example a promotion that was required and refused."""

    exit_code = 1


class BadInput(QureError):
    """Something handed to a stage is wrong.

    The message is one line that every terminal can show and none obeys: what stands in a file is cut, and written as
    Python escapes it where it is a control character or half a character.

    Args:
        problem: what is wrong, with the offending value.
        file: the file that holds it.
        row: its place in the file: a 0-based row number, a key or a "row 3, captions[1]"-like path.
        field: the field's name.
        remedy: what the user can do about it.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        file: Path | str | None = None,
        row: int | str | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem, self.file, self.row, self.field, self.remedy = problem, file, row, field, remedy
        place = ", ".join(
            part
            for part in (
                _one_line(str(file)) if file is not None else "",
                (f"row {row}" if isinstance(row, int) else cut(_one_line(str(row)))) if row is not None else "",
                f"field {cut(repr(field))}" if field is not None else "",
            )
            if part
        )
        told = cut(_one_line(problem), _PROBLEM)
        text = f"{place}: {told}" if place else told
        super().__init__(f"{text}. {cut(_one_line(remedy), _PROBLEM)}" if remedy else text)


def cut(text: str, limit: int = _PLACE) -> str:
    """A text without its middle where it is longer: after a person's name the end says which question.

    >>> cut("k" * 300 + "/set/7", limit=15)
    'kkkkkk.../set/7'
    """
    kept = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:kept]}...{text[-kept:]}"


def _one_line(text: str) -> str:
    """A text with what no terminal can show, or would obey, as Python escapes it; line breaks are spaces.

    >>> _one_line("a\\n  b \\x1b[2J \\ud800")
    'a b \\\\x1b[2J \\\\ud800'
    """
    if text.isprintable():
        return text
    joined = " ".join(line.strip() for line in text.splitlines())
    return "".join(one if _is_shown(one) else one.encode("unicode_escape").decode() for one in joined)


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"
