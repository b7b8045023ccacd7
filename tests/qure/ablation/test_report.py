"""The ablation's page: what it says, and that it fits where it is read."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qure.ablation.report import verdict
from qure.ablation.summary import Difference, Estimate, Line


def line(name: str, values: tuple[float, ...], difference: tuple[float, float] | None = None) -> Line:
    mean = sum(values) / len(values)
    low, high = (mean - 1, mean + 1) if len(values) > 1 else (None, None)
    gap = {} if difference is None else {"ndcg_at_10": Difference(sum(difference) / 2, *difference, *difference)}
    arm: Any = SimpleNamespace(name=name, title=f"The {name}", group="all")
    return Line(arm, {"ndcg_at_10": Estimate(mean, low, high, values)}, {}, 1.0, 0, gap)


def test_the_verdict_names_who_is_above_and_below() -> None:
    lines = [
        line("base", (60.0, 61.0)),
        line("good", (64.0, 65.0), (3.0, 5.0)),
        line("bad", (50.0, 51.0), (-12.0, -8.0)),
    ]
    told = verdict([*lines, line("same", (60.0, 60.0), (-1.0, 1.0))], "base")
    assert told.startswith("Best in nDCG@10 is “The good” with 64.5 (63.5 to 65.5).")
    assert "baseline “The base” under the same budget: 1 above, 1 level with and 1 below it." in told
    assert told.endswith("Above: The good. Below: The bad.")


def test_the_verdict_says_what_is_not_known() -> None:
    assert "One seed only" in verdict([line("base", (60.0,)), line("other", (61.0,), (-1.0, 2.0))], "base")
    assert "nothing is compared" in verdict([line("other", (60.0, 61.0))], "base")


@pytest.mark.integration
@pytest.mark.parametrize("size", [(1400, 1000), (420, 900)])
def test_the_page_fits_and_loads_nothing(
    done: tuple[Path, dict[str, Any]], drive: Callable[..., Any], size: tuple[int, int]
) -> None:
    folder, results = done
    browser = drive(folder / "output" / "report.html", size)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth <= arguments[0]", size[0])
    if size[0] == 1400:
        wide = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
        assert browser.execute_script(wide) == 0
    pictures = browser.execute_script("return [...document.images].map(e => [e.src.slice(0, 10), e.naturalWidth])")
    assert [start for start, width in pictures if width > 0] == ["data:image"]
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#metrics tbody tr:not(.group)')].map(e => e.cells[0].textContent)"
    )
    assert rows == [arm["title"] for arm in results["arms"]]
    order = browser.execute_script(
        "return [...document.querySelectorAll('h1, .headline, img, table')].map(e => e.tagName)"
    )
    assert order == ["H1", "P", "IMG", "TABLE", "TABLE"]
