"""Data Docs in a browser: as wide as the window, whatever the data holds, and every cell says what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.errors import BadInput

pytestmark = pytest.mark.integration

DESKTOP, PHONE = (1400, 1000), (420, 900)
LONG = "w" * 250


@pytest.fixture(scope="module")
def pages(new_workplace: Callable[[], Any]) -> list[Path]:
    """The pages about data with a caption that is one endless word, an unknown image and a missing field."""
    place = new_workplace()

    def damage(rows: Any) -> None:
        rows[0]["captions"] = [LONG, LONG]
        rows[1]["target"] = LONG
        del rows[2]["captions"]

    place.edit("fashioniq/captions/cap.dress.train.json", damage)
    with pytest.raises(BadInput):
        place.validate()
    return sorted((place.work / "validation-report" / "data_docs").glob("*.html"))


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_no_page_is_wider_than_the_window(pages: list[Path], drive: Callable[..., Any], size: tuple[int, int]) -> None:
    assert {"index.html", "fashioniq.queries.html"} <= {page.name for page in pages}
    for page in pages:
        browser = drive(page, size)
        inner, wide = browser.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert inner == size[0], page.name
        assert wide <= inner, page.name
        assert browser.get_log("browser") == [], page.name


def test_on_a_telephone_a_cell_names_its_column(pages: list[Path], drive: Callable[..., Any]) -> None:
    index = next(page for page in pages if page.name == "index.html")
    script = """return [...document.querySelectorAll('.rows td')].filter(cell => cell.getClientRects().length)
        .map(cell => [getComputedStyle(cell, '::before').content, cell.dataset.label,
                      cell.getBoundingClientRect().width, parseFloat(getComputedStyle(cell).fontSize)])"""
    cells = drive(index, PHONE).execute_script(script)
    assert len(cells) > 50
    for content, label, width, size in cells:
        assert content == f'"{label}: "' or content == 'attr(data-label) ": "'
        assert width > 300, "a line of its own, not a column of single letters"
        assert size >= 11
    heads = drive(index, DESKTOP).execute_script(
        "return [...document.querySelectorAll('.rows')].map(table => [...table.rows].map(row => row.cells.length))"
    )
    assert all(len(set(lengths)) == 1 for lengths in heads), "every row has its head's columns"


def test_bad_rows_stand_before_the_suites(pages: list[Path], drive: Callable[..., Any]) -> None:
    index = next(page for page in pages if page.name == "index.html")
    browser = drive(index, PHONE)
    headings = browser.execute_script("return [...document.querySelectorAll('h1, h2')].map(one => one.textContent)")
    assert headings == ["Validation of fashioniq: failed", "Rules", "Bad rows", "Suites"]
    outcomes = browser.execute_script(
        "return [...document.querySelectorAll('[data-label=Outcome]')].map(e => e.innerText)"
    )
    last_failed = max(place for place, one in enumerate(outcomes) if "failed" in one)
    assert all("ok" not in one for one in outcomes[: last_failed + 1]), "broken rules stand first"
    assert "the field is missing" in browser.execute_script("return document.body.innerText")
