"""The two ways a stage ends other than well.

`BadInput` is the user's to mend (exit code 2): it names the file, the row, the field and the way out.
`StageFailed` is everything a stage itself decides is a failure (exit code 1).
"""

from pathlib import Path


class QureError(Exception):
    """Base of every error that the command line prints as one clear message instead of a traceback."""

    exit_code = 1


class StageFailed(QureError):
    """A stage ran and its outcome is a failure, for example a promotion that was required and refused."""

    exit_code = 1


class BadInput(QureError):
    """Something handed to a stage is wrong.

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
                str(file) if file is not None else "",
                (f"row {row}" if isinstance(row, int) else str(row)) if row is not None else "",
                f"field {field!r}" if field is not None else "",
            )
            if part
        )
        text = f"{place}: {problem}" if place else problem
        super().__init__(f"{text}. {remedy}" if remedy else text)
