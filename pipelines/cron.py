"""Cron expressions as Kubeflow Pipelines reads them: the grammar of robfig/cron v1, seconds first.

The server checks an expression only when a schedule is created. The same check here names the mistake when the
configuration is read.
"""

import re

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
#: Lowest and highest value, and names of values: second, minute, hour, day, month, weekday.
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _WEEKDAYS),
)
_DESCRIPTORS = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
_EVERY = re.compile(r"@every ([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+")


def check_cron(expression: str) -> None:
    """Refuses what the server refuses, in its words.

    Five fields are second, minute, hour, day and month, for every day of the week; six add the weekday.

    Raises:
        ValueError: not a cron expression for Kubeflow Pipelines.

    >>> check_cron("0 0 2 ? * MON-FRI")
    >>> check_cron("0 0 2 * * 7")
    Traceback (most recent call last):
    ...
    ValueError: End of range (7) above maximum (6): 7
    """
    if expression.startswith("@"):
        if expression not in _DESCRIPTORS and not _EVERY.fullmatch(expression):
            raise ValueError(f"Unrecognized descriptor: {expression}")
        return
    fields = expression.split()
    if not 5 <= len(fields) <= 6:
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {expression}")
    for field, (low, high, names) in zip(fields, _FIELDS, strict=False):
        for part in field.split(","):
            _check_range(part, low, high, names)


def _check_range(part: str, low: int, high: int, names: dict[str, int]) -> None:
    span, *steps = part.split("/")
    ends = span.split("-")
    if ends[0] in ("*", "?"):
        start, end = low, high
    else:
        start = _number(ends[0], names)
        end = _number(ends[1], names) if len(ends) > 1 else start
    if len(ends) > 2:
        raise ValueError(f"Too many hyphens: {part}")
    if len(steps) > 1:
        raise ValueError(f"Too many slashes: {part}")
    step = _number(steps[0], {}) if steps else 1
    if steps and len(ends) == 1:
        end = high  # "5/15" is from 5 to the end
    if start < low:
        raise ValueError(f"Beginning of range ({start}) below minimum ({low}): {part}")
    if end > high:
        raise ValueError(f"End of range ({end}) above maximum ({high}): {part}")
    if start > end:
        raise ValueError(f"Beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise ValueError(f"Step of range should be a positive number: {part}")


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'Failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
