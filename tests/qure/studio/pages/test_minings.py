"""Inside a mining: the numbers on the page are those of the record, the pictures those of H."""

import html
import re
from typing import Any

import pytest

from qure.layout import Layout
from qure.studio.application import application, studio_of
from qure.studio.pages.minings import HEIGHT, MARGIN, WIDTH, curve
from qure.studio.project import Project


def test_each_mining_of_the_training_is_there(visitor: Any, project: Any) -> None:
    epochs = list(project.minings())
    assert len(epochs) >= 2
    for epoch in epochs:
        kept = project.mining(epoch)
        page = visitor.get(f"/minings?epoch={epoch}").text
        assert f"{len(kept.queries)} queries" in page
        query = kept.queries[1]
        one = visitor.client.get("/minings", params={"epoch": epoch, "query": query}).text
        row, record = 1, kept.record
        assert f"The target ranks {record.target_rank[row] + 1} of {record.corpus_size[row]}." in one
        assert f"H holds {record.size[row]} images" in one
        shown = re.search(r'<ol class="grid small" id="hard">(.*?)</ol>', one, re.DOTALL)
        assert shown is not None
        assert [html.unescape(name) for name in re.findall(r'alt="([^"]*)"', shown[1])] == kept.named(record.hard[row])
        drops = len(re.findall('<line class="drop"', one))
        assert drops == (2 if record.start[row] >= 0 else 0)


def test_the_curve_falls_and_stays_inside(project: Any) -> None:
    kept = project.mining(list(project.minings())[-1])
    for row in range(5):
        drawn = curve(kept, row)
        points = [tuple(map(float, one.split(","))) for one in drawn["points"].split()]
        sparse = [int(kept.record.start[row]), int(kept.record.end[row])] if kept.record.start[row] >= 0 else []
        further = {rank for edge in sparse for rank in (edge, edge + 1)} - set(kept.record.positions.tolist())
        assert len(points) == min(kept.record.corpus_size[row], len(kept.record.positions)) + len(further)
        assert all(MARGIN <= x <= WIDTH - MARGIN and MARGIN <= y <= HEIGHT - MARGIN for x, y in points)
        assert [y for _, y in points] == sorted(y for _, y in points), "relevance falls with the rank"
        assert [x for x, _ in points] == sorted(x for x, _ in points)
        if drawn["drops"]:
            assert drawn["target"][0] < drawn["drops"][0] < drawn["drops"][1]


@pytest.mark.parametrize(
    "place",
    ["/minings?epoch=99", "/minings?epoch=x", f"/minings?epoch={'9' * 5000}", "/minings?query=dress/9999999"],
    ids=["unknown", "none", "longer than Python reads", "query"],
)
def test_what_is_not_there_is_said(visitor: Any, place: str) -> None:
    assert visitor.get(place).status_code in (400, 404)


def test_queries_are_found_by_words(visitor: Any, project: Any) -> None:
    kept = project.mining(list(project.minings())[-1])
    query = project.training_queries[kept.queries[0]]
    page = visitor.client.get("/minings", params={"words": query.text}).text
    assert html.escape(query.text) in page
    assert "0 queries" in visitor.get("/minings?words=no+such+words").text


def test_a_training_without_records_says_how_to_get_them(world: Any, make_visitor: Any, tmp_path: Any) -> None:
    layout = Layout(world.data, tmp_path / "artifacts", tmp_path / ".work").of("fashioniq")
    project = Project(world.settings, layout, params=world.params, device="cpu")
    page = make_visitor(application(studio_of(project, tmp_path / "studio"))).get("/minings")
    assert "dvc repro" in page.text
