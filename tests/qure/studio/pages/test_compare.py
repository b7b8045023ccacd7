"""Two versions on one query, and where their evaluations differ."""

import html
import re
from typing import Any

import numpy as np

from qure.evaluation.statistics.paired import paired_difference


def test_what_moved_is_what_the_two_rankings_say(visitor: Any, project: Any) -> None:
    query = next(iter(project.queries.values()))
    page = visitor.client.get(
        "/compare",
        params={"r": f"gallery:{query.reference}", "t": query.text, "group": query.category, "a": "2", "b": "1"},
    ).text
    answers = [
        [
            one.image_id
            for one in project.searcher(version).search(
                project.images.read(query.reference),
                query.text,
                top_k=50,
                group=query.category,
                exclude=query.reference,
            )
        ]
        for version in (2, 1)
    ]
    sections = page.split("<section ")[1:]
    for section, own, other in zip(sections, answers, answers[::-1], strict=True):
        shown = [html.unescape(one) for one in re.findall(r'alt="([^"]*)"', section)]
        assert shown == own[:10]
        for rank, (image, caption) in enumerate(
            zip(own, re.findall(r"<figcaption>(.*?)</figcaption>", section, re.DOTALL), strict=False)
        ):
            move = other.index(image) - rank if image in other else None
            words = (
                "only here" if move is None else f"{abs(move)} higher" if move > 0 else "same" if not move else "lower"
            )
            assert words in caption


def test_champion_and_challenger_and_the_queries_that_differ_most(visitor: Any, project: Any) -> None:
    page = visitor.get("/compare").text
    assert '<option value="2" selected>version 2 (champion)</option>' in page
    assert '<option value="1" selected>version 1 (challenger)</option>' in page
    versions = {one.number: one for one in project.versions()}
    a, b = project.evaluated(versions[2]), project.evaluated(versions[1])
    paired = paired_difference(a, b, "recall_at_10")
    assert f"<b>{paired.difference:+.2f}</b>" in page
    ranks = [
        (int(x), int(y)) for x, y in re.findall(r'<td class="number">(\d+)</td><td class="number">(\d+)</td>', page)
    ]
    table = a.per_query.set_index("query_id")["rank"], b.per_query.set_index("query_id")["rank"]
    largest = np.sort(np.abs(np.log(table[0] / table[1])))[::-1][: len(ranks)]
    assert len(ranks) == 20
    assert np.allclose([abs(np.log(x / y)) for x, y in ranks], largest)


def test_one_version_with_itself_is_said(visitor: Any) -> None:
    assert "nothing to compare" in visitor.get("/compare?a=1&b=1").text


def test_an_evaluation_that_is_gone_is_no_comparison(visitor: Any, project: Any, monkeypatch: Any) -> None:
    difference = re.compile(r"<b>[+-]\d+\.\d\d</b>")
    assert difference.search(visitor.get("/compare").text)
    monkeypatch.setattr(project, "evaluation", lambda version, key: None)
    page = visitor.get("/compare")
    assert page.status_code == 200
    assert not difference.search(page.text)
