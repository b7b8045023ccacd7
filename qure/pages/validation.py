"""The validate stage's page, and that of the comparison with the champion's data."""

import ast
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qure.files import read_json
from qure.pages.markdown import Page, Part, Picture, code, prose, table
from qure.pages.pictures import Images
from qure.progress import counted

#: Bad rows and pictures of them that are shown; bad_rows.csv lists every one.
SHOWN_ROWS, SHOWN_PICTURES = 20, 12


def validation_page(validation: Path, data: Path) -> Page:
    """What was checked, what is wrong, and what later stages leave out.

    Args:
        validation: the validate stage's folder.
        data: data root, for the pictures of bad rows.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    result = read_json(validation / "result.json")
    broken = [rule for rule in result["rules"] if rule["rows"]]
    wrong = sum(rule["rows"] for rule in broken)
    queries = sum(split["kept"] for split in result["queries"].values())
    left_out = {
        name: (len(gone["images"]), len(gone["queries"]))
        for name, gone in result["excluded"].items()
        if gone["images"] or gone["queries"]
    }
    page = Page(
        f"Validation of {result['training_set']}",
        f"{'Passed' if result['success'] else 'Failed'}: {counted(queries, 'query', 'queries')} can be used, "
        f"{counted(wrong, 'row breaks', 'rows break')} a rule.",
        [
            ("Rules looked at", f"{len(result['rules'])}, broken {len(broken)}"),
            *(
                (f"Left out of {name}", f"{counted(images, 'image')}, {counted(asked, 'query', 'queries')}")
                for name, (images, asked) in left_out.items()
            ),
            ("Fingerprint", result["fingerprint"][:16]),
        ],
    )
    if broken:
        rows = [
            [code(one["benchmark"]), code(one["rule"]), f"{one['rows']:,}", str(one["tolerated"] or ""), one["outcome"]]
            for one in broken
        ]
        page.section("Broken rules", table(["benchmark", "rule", "rows", "tolerated", "outcome"], rows))
        page.section("Bad rows", *_bad_rows(validation, data, {one["benchmark"] for one in broken}))
    page.section("Counts", _counts(result))
    page.section("Against the champion's data", *_drift(result["drift_measures"]))
    return page


def drift_page(drift: Mapping[str, Any]) -> Page:
    """Whether data is like the champion's: what `qure.registry.monitoring.compare_data` found."""
    page = Page("Data against the champion's", drift["verdict"])
    if drift["champion"] is not None:
        page.facts.append(("Champion", f"version {drift['champion']}"))
    page.facts += [("Shifted", sentence) for sentence in drift["shifted"]]
    page.section("Measures", *_drift(drift["measures"]))
    return page


def _counts(result: Mapping[str, Any]) -> str:
    rows = []
    for split, numbers in result["statistics"].items():
        kept = result["queries"].get(split, {}).get("kept")
        cells = [f"{numbers[key]:,}" if key in numbers else "" for key in ("queries", "images")]
        rows.append([code(split), *cells, "" if kept is None else f"{kept:,}"])
    return table(["split", "queries", "images", "queries kept"], rows)


def _bad_rows(validation: Path, data: Path, benchmarks: set[str]) -> list[Part]:
    with (validation / "bad_rows.csv").open(encoding="utf-8", newline="") as stream:
        found = list(csv.DictReader(stream))
    # A list, as a table with a path in it is wider than the frame.
    lines = [
        f"- {prose(row['reason'])}: {code(row['value'])} in {code(row['file'])}, {code(row['row'])}"
        for row in found[:SHOWN_ROWS]
    ]
    parts: list[Part] = ["\n".join(lines)]
    if len(found) > SHOWN_ROWS:
        parts.append(f"{len(found):,} in all; `bad_rows.csv` in the folder `validation` lists each.")
    pictures = _pictures(found, [Images(data, name) for name in sorted(benchmarks)])
    return [*parts, pictures] if pictures else parts


def _pictures(found: Sequence[Mapping[str, str]], sources: Sequence[Images]) -> list[Picture]:
    """Of the images that bad rows are about, those that can be shown: a picture that is damaged cannot."""
    named = dict.fromkeys(value for row in found for value in [_text(row["value"])] if value)
    pictures = []
    for image in list(named)[: 10 * SHOWN_PICTURES]:
        shown = next((one for source in sources if (one := source.picture(image, image))), None)
        if shown is not None:
            pictures.append(shown)
        if len(pictures) == SHOWN_PICTURES:
            break
    return pictures


def _text(value: str) -> str | None:
    """The string that a row's value is; None for other values."""
    try:
        said = ast.literal_eval(value.removeprefix("'") if value.startswith("''") else value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return said if isinstance(said, str) else None


def _drift(measures: Sequence[Mapping[str, Any]]) -> list[Part]:
    if not measures:
        return []
    shifted_first = sorted(measures, key=lambda one: not one["shifted"])
    rows = [
        [code(one["split"]), code(one["measure"]), "**shifted**" if one["shifted"] else "alike", prose(one["says"])]
        for one in shifted_first
    ]
    return [table(["split", "measure", "outcome", "effect"], rows)]
