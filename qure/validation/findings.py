"""Bad rows: from expectations' results to a list that names each, and what of it may be passed over."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qure.datasets.ids import shown, unsafe_reason
from qure.validation.annotations import Annotations
from qure.validation.rules import RULES, Severity

COLUMNS = ("file", "row", "field", "value", "reason", "remedy", "rule", "severity")


@dataclass(frozen=True, slots=True)
class BadRow:
    """One bad row.

    Attributes:
        rule: which rule it breaks.
        benchmark: whose data it is.
        file: relative to the data root.
        row: its place in the file.
        field: the file's name of the field.
        value: what stands there, as `repr` writes it, shortened.
        reason: what is wrong.
        severity: whether it fails the stage.
        query: the query's name across splits ("train/dress/17"), where the row is a query or names a query's image.
        image: the image's id, where the row is about an image.
        other: another image's id, where the row is about two.
    """

    rule: str
    benchmark: str
    file: str
    row: int | str
    field: str
    value: str
    reason: str
    severity: Severity
    query: str | None = None
    image: str | None = None
    other: str | None = None


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """How one rule of one benchmark ended.

    Attributes:
        outcome: "ok", "warned", "tolerated" or "failed".
        rows: how many rows break it.
        tolerated: how many `validation.tolerate` allows.
    """

    benchmark: str
    rule: str
    severity: Severity
    rows: int
    tolerated: int
    outcome: str


def bad_rows_of(annotations: Annotations, results: Iterable[Mapping[str, Any]]) -> list[BadRow]:
    """The bad rows that a suite's results name.

    Args:
        annotations: the benchmark's, for what stood in fields that could not be taken.
        results: expectations' results as JSON, from `qure.validation.run.run_suite`.
    """
    found: list[BadRow] = []
    for result in results:
        meta = result["expectation_config"]["meta"]
        for cells in _bad_rows(result):
            finding = _finding(annotations, meta, result, cells)
            if finding is not None:
                found.append(finding)
    return found


def outcomes_of(
    benchmarks: Sequence[str], found: Sequence[BadRow], tolerate: Mapping[str, int], checked: Iterable[tuple[str, str]]
) -> list[RuleOutcome]:
    """How every checked rule ended; a rule's allowance is shared by the benchmarks.

    Args:
        benchmarks: their order in the result.
        found: all bad rows.
        tolerate: rule -> rows that may break it.
        checked: (benchmark, rule) pairs that were checked.
    """
    rows = Counter((finding.benchmark, finding.rule, finding.severity) for finding in found)
    totals = Counter(one.rule for one in found if "error" in (one.severity, *_when_named(one.rule)))
    rules: list[tuple[str, str, Severity]] = list(rows)
    rules += [(*pair, RULES[pair[1]].severity) for pair in checked if not any(key[:2] == pair for key in rows)]
    order = {name: place for place, name in enumerate(RULES)}
    outcomes = []
    for benchmark, rule, severity in sorted(set(rules), key=lambda key: (benchmarks.index(key[0]), order[key[1]])):
        count, allowed = rows[benchmark, rule, severity], tolerate.get(rule, 0)
        if count == 0:
            outcome = "ok"
        elif severity == "warning" and not (RULES[rule].tolerable and rule in tolerate):
            outcome = "warned"
        else:
            outcome = "tolerated" if totals[rule] <= allowed else "failed"
        outcomes.append(RuleOutcome(benchmark, rule, severity, count, allowed, outcome))
    return outcomes


def _when_named(rule: str) -> tuple[Severity, ...]:
    """The weight of a rule's rows for whoever names it in `validation.tolerate`: a warning becomes an error."""
    return ("error",) if RULES[rule].tolerable else ()


def write_bad_rows(path: Path, found: Iterable[BadRow]) -> None:
    """Writes the plain list: one line per bad row, errors first, for people and spreadsheets."""
    ordered = sorted(found, key=lambda finding: finding.severity != "error")
    with Path(path).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for finding in ordered:
            cells = (finding.file, finding.row, finding.field, finding.value, finding.reason)
            line = (*cells, RULES[finding.rule].remedy, finding.rule, finding.severity)
            writer.writerow([_no_formula(str(cell)) for cell in line])


def _bad_rows(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows that an expectation names; of rows that repeat each other, all but the first."""
    rows: list[Mapping[str, Any]] = result["result"].get("unexpected_index_list") or []
    arguments = result["expectation_config"]["kwargs"]
    if result["expectation_config"]["type"] == "expect_compound_columns_to_be_unique":
        columns = arguments["column_list"]
    elif result["expectation_config"]["type"] == "expect_column_values_to_be_unique":
        columns = [arguments["column"]]
    else:
        return rows
    seen: set[tuple[Any, ...]] = set()
    later = []
    for cells in rows:
        key = tuple(cells[column] for column in columns)
        if key in seen:
            later.append(cells)
        seen.add(key)
    return later


def _finding(
    annotations: Annotations, meta: Mapping[str, Any], result: Mapping[str, Any], cells: Mapping[str, Any]
) -> BadRow | None:
    rule, field = RULES[meta["rule"]], cells.get("field") or meta["field"]
    reason, value = rule.reason, _value(result, cells)
    if rule.name == "schema":
        wrong = annotations.wrong.get((cells["file"], cells["row"], meta["field"]))
        if wrong is None:  # the row's outermost shape is wrong, which its first finding says
            return None
        field, reason, value = wrong.field, wrong.problem, wrong.value
    if rule.name == "unsafe_id":
        reason = f"{reason}: it {unsafe_reason(str(value))}"
    if rule.about == "image":
        value, reason = cells["image"], _image_reason(rule.name, rule.reason, result, cells)
    return BadRow(
        rule=rule.name,
        benchmark=annotations.benchmark,
        file=cells["file"],
        row=cells["row"],
        field=field,
        value=shown(value),
        reason=reason,
        severity=meta["severity"],
        query=cells.get("key"),
        image=cells.get("image"),
        other=cells.get("other"),
    )


#: Expectations about a pair of columns neither of which is the wrong one.
_ABOUT_BOTH = ("expect_column_pair_values_a_to_be_greater_than_b", "expect_column_pair_values_to_differ")


def _value(result: Mapping[str, Any], cells: Mapping[str, Any]) -> Any:
    """What the expectation was about: its column's cell, or its columns' cells."""
    arguments = result["expectation_config"]["kwargs"]
    if "column" in arguments:
        return cells.get(arguments["column"])
    if result["expectation_config"]["type"] in _ABOUT_BOTH:
        return [cells.get(arguments["column_A"]), cells.get(arguments["column_B"])]
    if "column_A" in arguments:
        return cells.get(arguments["column_A"])
    return [cells.get(column) for column in arguments["column_list"] if column not in ("file", "person", "split")]


#: Rules about images whose column says what was found.
_MEASURED = (
    *("image_unreadable", "image_too_large", "image_not_as_packed", "image_damaged", "image_blank"),
    *("image_duplicate", "image_near_duplicate"),
)


def _image_reason(rule: str, reason: str, result: Mapping[str, Any], cells: Mapping[str, Any]) -> str:
    measured = cells.get(result["expectation_config"]["kwargs"].get("column", ""))
    if rule in _MEASURED:
        return f"{reason}: {measured}"
    if rule == "image_missing" and cells.get("beside"):
        return f"{reason}; a file of its name lies at {cells['beside']}, where it is not looked for"
    if rule in ("image_size", "image_aspect"):
        return f"{reason}: {measured:.4g}"
    return reason


def _no_formula(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula.

    >>> _no_formula("=HYPERLINK()"), _no_formula("B000")
    ("'=HYPERLINK()", 'B000')
    """
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
