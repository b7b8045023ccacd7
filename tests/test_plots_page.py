""".dvc/plots.html, the page of `dvc plots`, in a browser that reaches nothing outside."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc_render import VegaRenderer, render_html

TEMPLATE = Path(__file__).resolve().parents[1] / ".dvc" / "plots.html"


def renderer(revisions: list[str], rows: list[dict[str, Any]]) -> VegaRenderer:
    """A line chart as `dvc plots diff` describes it to Vega: two columns of one file, per revision."""
    points = [
        {**row, "dvc_inferred_y_value": row[field], "rev": revision, "filename": "recall.csv", "field": field}
        for revision in revisions
        for field in ("trained", "untrained")
        for row in rows
    ]
    return VegaRenderer(
        points,
        "recall at k",
        x="k",
        y="dvc_inferred_y_value",
        title="FashionIQ - recall at k",
        x_label="k",
        y_label="recall (percent)",
        anchors_y_definitions=[{"filename": "recall.csv", "field": field} for field in ("trained", "untrained")],
        revs_with_datapoints=revisions,
    )


def dom(page: Path) -> str:
    """The page as a browser has built it, all hosts unknown to it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}")
    done = subprocess.run(
        [chromium, *quiet, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("revisions", [["workspace"], ["workspace", "HEAD"]])
def test_every_column_of_every_revision_is_a_line_with_a_name(tmp_path: Path, revisions: list[str]) -> None:
    rows = [{"k": "1", "trained": "4.5", "untrained": "1"}, {"k": "10", "trained": "27", "untrained": ""}]
    page = Path(render_html([renderer(revisions, rows)], tmp_path / "page" / "index.html", TEMPLATE))
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)", page.read_text(encoding="utf-8")) == []
    built = dom(page)
    lines = re.findall(r"<polyline[^>]*points=\"([^\"]*)\"", built)
    assert [len(line.split()) for line in lines] == [2, 1] * len(revisions)  # an empty cell is no point
    assert "NaN" not in "".join(lines)
    for revision in revisions:
        assert re.search(rf"<text[^>]*>{revision}: [^<]*trained<", built)
    assert all(f">{text}<" in built for text in ("FashionIQ - recall at k", "recall (percent)"))
