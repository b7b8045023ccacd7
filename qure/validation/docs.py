"""Data Docs for people: Great Expectations' own sections on pages that are safe to open and to pass on.

Great Expectations puts data into its pages as it is, loads scripts from several hosts, and stamps machine and time.
Here every value is HTML-escaped before it is rendered, the sections stand on plain pages whose content security policy
forbids scripts and foreign addresses, and the same data always makes the same pages. Importing this module imports
Great Expectations (seconds).
"""

import copy
import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from markupsafe import Markup

from qure.validation.findings import BadRow, RuleOutcome
from qure.validation.rules import RULES
from qure.validation.run import PLACE, SuiteResult

#: How many bad rows a page shows; bad_rows.csv has them all.
SHOWN = 200

#: How many characters of one text a page shows.
SHOWN_CHARACTERS = 300

_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "style-src 'unsafe-inline'; img-src data:\">"
)
_STYLE = """<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; color: #1d2430; }
a { color: #0b57a4; } h1, h2, h5 { line-height: 1.2; } hr { border: 0; border-top: 1px solid #d8dde5; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { border: 1px solid #d8dde5; padding: .3rem .5rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } th { background: #f2f4f8; }
.ok { color: #18794e; } .failed { color: #b3261e; font-weight: 600; } .warned, .tolerated { color: #8a5a00; }
.fas { font-style: normal; } .fa-check-circle::before { content: "\\2713"; color: #18794e; }
.fa-times::before { content: "\\2717"; color: #b3261e; }
.fa-exclamation-triangle::before { content: "!"; color: #8a5a00; }
td img { border: 1px solid #d8dde5; max-width: 6rem; margin: .2rem 0; }
.badge { background: #eef1f6; border-radius: .2rem; padding: 0 .25rem; font-family: ui-monospace, monospace; }
.popover, .cooltip > span { display: none; }
/* A telephone: every row is a card, every cell a line with its column's name. Tables inside a cell stay tables. */
@media (max-width: 640px) {
  body { padding: .6rem; overflow-wrap: anywhere; }
  h1 { font-size: 1.4rem; }
  .rows, .rows > tbody, .rows > tbody > tr, .rows > tbody > tr > td,
  .table-responsive > table, .table-responsive > table > tbody, .table-responsive > table > tbody > tr,
  .table-responsive > table > tbody > tr > td { display: block; width: auto; }
  .rows > tbody > tr:has(> th), .table-responsive > table > thead { display: none; }
  .rows > tbody > tr, .table-responsive > table > tbody > tr {
    border: 1px solid #d8dde5; border-radius: .3rem; margin: .5rem 0; padding: .3rem .5rem; }
  .rows > tbody > tr > td, .table-responsive > table > tbody > tr > td { border: 0; padding: .1rem 0; }
  .rows > tbody > tr > td:empty { display: none; }
  .rows > tbody > tr > td[data-label]::before { content: attr(data-label) ": "; color: #5b6570; font-weight: 400; }
  .table-responsive > table > tbody > tr > td:nth-child(3)::before { content: "Observed: "; color: #5b6570; }
  .table-responsive > table > tbody > tr > td:nth-child(3) > div { display: inline; }
  td table { font-size: .8rem; } td table th { overflow-wrap: normal; padding: .2rem .3rem; }
}
</style>"""

_INDEX = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """{% macro head(names) %}<tr>{% for name in names %}<th>{{ name }}</th>{% endfor %}</tr>{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{{ policy }}
<title>Validation of {{ training_set }}</title>{{ style }}</head>
<body>
<h1>Validation of {{ training_set }}: <span class="{{ 'ok' if success else 'failed' }}">{{ verdict }}</span></h1>
<p>Data fingerprint <span class="badge">{{ fingerprint[:16] }}</span></p>
<h2>Rules</h2>
<table class="rows">
{{ head(["Benchmark", "Rule", "Weight", "Rows", "Tolerated", "Outcome", "What it says"]) }}
{% for outcome in outcomes %}
<tr><td data-label="Benchmark">{{ outcome.benchmark }}</td><td data-label="Rule">{{ outcome.rule }}</td>
<td data-label="Weight">{{ outcome.severity }}</td><td data-label="Rows">{{ outcome.rows }}</td>
<td data-label="Tolerated">{{ outcome.tolerated or "" }}</td>
<td data-label="Outcome" class="{{ outcome.outcome }}">{{ outcome.outcome }}</td>
<td data-label="What it says">{% if outcome.rows %}{{ rules[outcome.rule].reason }}{% endif %}</td></tr>
{% endfor %}
</table>
{% if drift %}
<h2>Against the champion's training data</h2>
<table class="rows">
{{ head(["Split", "Measure", "Outcome", "Effect"]) }}
{% for measure in drift %}
<tr><td data-label="Split">{{ measure.split }}</td><td data-label="Measure">{{ measure.measure }}</td>
<td data-label="Outcome" class="{{ 'warned' if measure.shifted else 'ok' }}">
{{- "shifted" if measure.shifted else "alike" }}</td>
<td data-label="Effect">{{ measure.says }}</td></tr>
{% endfor %}
</table>
{% endif %}
<h2>Bad rows</h2>
<p>{{ findings | length }} in all{% if findings | length > shown %}, the first {{ shown }} here{% endif %};
the file bad_rows.csv beside this folder lists each.</p>
{% if findings %}
<table class="rows">
{{ head(["File", "Row", "Field", "Value", "Reason", "What to do"]) }}
{% for finding in findings[:shown] %}
<tr><td data-label="File">{{ finding.file }}</td><td data-label="Row">{{ finding.row }}</td>
<td data-label="Field">{{ finding.field }}</td><td data-label="Value">{{ finding.value }}
{%- for name, source in pictures(finding) %}<br><img src="{{ source }}" alt="{{ name }}">{% endfor %}</td>
<td data-label="Reason" class="{{ 'failed' if finding.severity == 'error' else 'warned' }}">{{ finding.reason }}</td>
<td data-label="What to do">{{ rules[finding.rule].remedy }}</td></tr>
{% endfor %}
</table>
{% endif %}
<h2>Suites</h2>
<table class="rows">
{{ head(["Table", "Rows", "Expectations", "Not met"]) }}
{% for suite in suites %}
<tr><td data-label="Table"><a href="{{ suite.name }}.html">{{ suite.name }}</a></td>
<td data-label="Rows">{{ suite.rows }}</td><td data-label="Expectations">{{ suite.expectations | length }}</td>
<td data-label="Not met">{{ suite.expectations | rejectattr("success") | list | length }}</td></tr>
{% endfor %}
</table>
</body></html>
"""
)

_SUITE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{{ policy }}
<title>{{ suite.name }}</title>{{ style }}</head>
<body>
<p><a href="index.html">All rules and suites</a></p>
<h1>{{ suite.name }}</h1>
<p>{{ suite.rows }} rows, {{ suite.expectations | length }} expectations,
{{ suite.expectations | rejectattr("success") | list | length }} not met.
At most {{ shown }} rows are shown for each.</p>
{{ sections }}
</body></html>
"""
)

#: The part of Great Expectations' own page that holds its sections.
_SECTIONS = "{% for section in sections %}{% set section_loop = loop %}{% include 'section.j2' %}{% endfor %}"


def write_docs(
    folder: Path,
    *,
    training_set: str,
    success: bool,
    fingerprint: str,
    outcomes: Sequence[RuleOutcome],
    findings: Sequence[BadRow],
    drift: Sequence[dict[str, Any]],
    suites: Sequence[SuiteResult],
    picture: Callable[[str, str], str | None] = lambda benchmark, image: None,
) -> None:
    """Writes index.html and one page per suite.

    Args:
        folder: where to; made when missing.
        training_set: which.
        success: the verdict.
        fingerprint: the data's.
        outcomes: how each rule ended.
        findings: all bad rows.
        drift: comparison with the champion's data, empty without one.
        suites: what Great Expectations found.
        picture: benchmark and image id -> a small picture as a data: address, None where there is none to show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = _INDEX.render(
        policy=Markup(_POLICY),
        style=Markup(_STYLE),
        training_set=training_set,
        success=success,
        verdict="passed" if success else "failed",
        fingerprint=fingerprint,
        outcomes=sorted(outcomes, key=lambda outcome: outcome.rows == 0),  # broken rules first
        rules=RULES,
        findings=sorted(findings, key=lambda finding: finding.severity != "error"),
        shown=SHOWN,
        drift=drift,
        suites=suites,
        pictures=lambda finding: _pictures(finding, picture),
    )
    _write(folder / "index.html", index)
    view = DefaultJinjaPageView()  # one for all pages, as it compiles its templates
    for suite in suites:
        _write(folder / f"{suite.name}.html", suite_page(suite, view))


def suite_page(suite: SuiteResult, view: DefaultJinjaPageView) -> str:
    """A suite's sections as Great Expectations renders them, one per column, with every value escaped.

    Args:
        suite: what was found.
        view: Great Expectations' templates.
    """
    document = ValidationResultsPageRenderer().render(_escaped(suite.validation)).to_json_dict()
    _overview, *sections = document["sections"]
    rendered = view.env.from_string(_SECTIONS).render(sections=sections)
    rendered = re.sub(r"<script\b.*?</script\s*>", "", rendered, flags=re.DOTALL | re.IGNORECASE)
    page = _SUITE.render(
        policy=Markup(_POLICY), style=Markup(_STYLE), suite=suite, sections=Markup(rendered), shown=SHOWN
    )
    return _same_every_time(page)


def _pictures(finding: BadRow, picture: Callable[[str, str], str | None]) -> list[tuple[str, str]]:
    """The pictures that a bad row is about: id and data: address."""
    if RULES[finding.rule].about != "image":
        return []
    shown = {image: picture(finding.benchmark, image) for image in (finding.image, finding.other) if image}
    return [(image, source) for image, source in shown.items() if source]


def _escaped(validation: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """A copy for rendering: values HTML-escaped, long lists cut, and no identity of this run."""
    safe = copy.deepcopy(validation)
    safe.meta = {"great_expectations_version": validation.meta.get("great_expectations_version", "")}
    for result in safe.results:
        shown = {key: value[:SHOWN] if isinstance(value, list) else value for key, value in result.result.items()}
        if shown.get("unexpected_index_list"):
            shown["unexpected_index_list"] = _one_cell(shown["unexpected_index_list"])
        result.result = {key: _escape(value) for key, value in shown.items()}
        if result.expectation_config is not None:
            result.expectation_config.kwargs.pop("batch_id", None)
    return safe


def _one_cell(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows an expectation names, what it found wrong in one cell instead of one cell per column.

    Great Expectations (1.24.1, `great_expectations.render.util`) puts several columns in the order of a set of
    strings, which differs from process to process.

    >>> _one_cell([{"lower": 1, "higher": 2, "file": "a.json", "row": 3}])
    [{'file': 'a.json', 'row': 3, 'lower, higher': '(1, 2)'}]
    """
    found = [column for column in rows[0] if column not in PLACE]
    if len(found) < 2:
        return rows
    name = ", ".join(found)
    return [
        {column: cell for column, cell in row.items() if column in PLACE}
        | {name: str(tuple(_cut(row[column]) for column in found))}
        for row in rows
    ]


def _cut(value: Any) -> Any:
    """A text cut to what a page can show: one cell of a data set may hold megabytes.

    >>> _cut("x" * 1000)[:3], len(_cut("x" * 1000)), _cut(7)
    ('xxx', 301, 7)
    """
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return value[:SHOWN_CHARACTERS] + "\N{HORIZONTAL ELLIPSIS}"
    return value


def _escape(value: Any) -> Any:
    """Every string in a JSON value cut and HTML-escaped; lone surrogates, which no file can hold, written out.

    >>> _escape({"value": ["<b>"]})
    {'value': ['&lt;b&gt;']}
    """
    if isinstance(value, str):
        return html.escape(_cut(value).encode("utf-8", "backslashreplace").decode("utf-8"))
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escape(item) for item in value]
    return value


def _same_every_time(page: str) -> str:
    """Random element names numbered instead, so that the same data makes the same page."""
    numbers: dict[str, str] = {}
    return re.sub(
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        lambda match: numbers.setdefault(match[0], f"element-{len(numbers)}"),
        page,
    )


def _write(path: Path, page: str) -> None:
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
