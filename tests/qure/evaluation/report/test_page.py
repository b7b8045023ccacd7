"""The report in a browser: a real evaluation of a really trained (tiny) model, opened in headless Chromium."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks import get_benchmark
from qure.evaluation.findings import Finding, write_findings
from qure.evaluation.stage import write_again
from qure.evaluation.statistics.results import load_results
from qure.evaluation.wording import between, difference, number, short_name

pytestmark = pytest.mark.integration

DESKTOP, PHONE = (1400, 1000), (390, 844)

Drive = Callable[..., Any]


def _requested(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def _shown(browser: Any, section: str) -> list[tuple[str, str]]:
    """(kind, category) of the cards that a person sees."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} .query`)]
        .filter(one => one.getClientRects().length).map(one => [one.dataset.kind, one.dataset.category])"""
    return [(kind, category) for kind, category in browser.execute_script(script, section)]


def _texts(browser: Any, selector: str) -> list[str]:
    return list(
        browser.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)
    )


def test_opens_from_a_file_without_errors_or_requests(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    assert browser.title == "Evaluation of qure-fashioniq"
    assert browser.get_log("browser") == []
    foreign = [url for url in _requested(browser) if not url.startswith("data:")]
    assert foreign == [evaluated.report.as_uri()], "the page loads nothing but itself"


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_picture_is_inside_the_page_and_loads(evaluated: Any, drive: Drive, size: tuple[int, int]) -> None:
    pictures = drive(evaluated.report, size).execute_script(
        "return [...document.images].map(one => [one.src.slice(0, 11), one.complete, one.naturalWidth, one.alt])"
    )
    assert len(pictures) > 300
    assert all(start == "data:image/" and complete and width > 0 and alt for start, complete, width, alt in pictures)


def test_says_first_what_a_reader_wants_to_know(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    found = load_results(evaluated.folder / "evaluation" / "results")["fashioniq"]
    metrics = json.loads((evaluated.folder / "evaluation" / "metrics.json").read_text())
    first, second = _texts(browser, ".headline")
    value, bounds = found.metrics["recall_at_10"], found.intervals["recall_at_10"]
    assert first == (
        f"qure-fashioniq (model {found.details['model'][:12]}) finds the labelled target among the first ten for "
        f"{value:.1f} % of {len(found.per_query)} queries (95 % interval {between(bounds)})."
    )
    for control, name in (("random", "chance"), ("untrained_backbone", "the backbone before training")):
        assert f"{name} {metrics['controls'][control]['recall_at_10']:.1f}" in second
    assert "rendered catalogue, not photographs" in second
    assert found.data_fingerprint[:12] in second
    order = "return [...document.querySelectorAll('h1, .headline, [role=alert], #provenance, nav, section')]"
    seen = [one or "headline" for one in browser.execute_script(f"{order}.map(e => e.id || e.role || e.tagName)")]
    assert seen[:3] == ["H1", "P", "P"]
    assert seen[-4:] == ["NAV", "fashioniq", "hp-fashioniq", "training"]


def test_random_queries_stand_before_the_worst_and_the_best(evaluated: Any, drive: Drive) -> None:
    for block in ("fashioniq", "hp-fashioniq"):
        kinds = [kind for kind, _ in _shown(drive(evaluated.report), block)]
        assert list(dict.fromkeys(kinds)) == ["random", "worst", "best"]
        assert kinds == sorted(kinds, key=["random", "worst", "best"].index)


@pytest.mark.parametrize("which", ["evaluated", "scenes"])
def test_no_table_scrolls_sideways_on_a_desktop(which: str, request: pytest.FixtureRequest, drive: Drive) -> None:
    browser = drive(request.getfixturevalue(which).report)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    wide = """return [...document.querySelectorAll('.scroll')]
        .filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"""
    assert browser.execute_script(wide) == []


def test_what_is_wrong_stands_in_a_red_box_before_everything_else(evaluated: Any, tmp_path: Path, drive: Drive) -> None:
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluated.folder / "evaluation", folder)
    found = Finding("same ranking", "fashioniq", "collapsed: <b>always</b> the same", "train again & look")
    write_findings(folder, [found], [])
    write_again(evaluated.settings, "fashioniq", data=evaluated.data, evaluation=folder, output=tmp_path / "out")
    browser = drive(tmp_path / "out" / "report.html")
    (box,) = _texts(browser, "[role=alert]")
    assert "has collapsed and must not be used" in box
    assert "Collapsed: <b>always</b> the same. To mend it: train again & look." in box
    top, colour = browser.execute_script("""const box = document.querySelector('[role=alert]');
        return [box.getBoundingClientRect().top, getComputedStyle(box).borderTopColor]""")
    assert top < 500, "seen without scrolling"
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    assert red > 2 * green
    assert red > 2 * blue
    for name in ("summary.md", "model_card.md"):
        assert "> **WARNING: collapsed: " in (tmp_path / "out" / name).read_text().split("##")[0]
    write_findings(folder, [], [])
    write_again(evaluated.settings, "fashioniq", data=evaluated.data, evaluation=folder, output=tmp_path / "healthy")
    assert _texts(drive(tmp_path / "healthy" / "report.html"), "[role=alert]") == []
    assert "WARNING" not in (tmp_path / "healthy" / "model_card.md").read_text()


def test_filters_by_kind_and_category(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    everything = _shown(browser, "fashioniq")
    others = _shown(browser, "hp-fashioniq")
    assert {kind for kind, _ in everything} == {"worst", "random", "best"}
    assert {category for _, category in everything} == {"dress", "shirt", "toptee"}

    def press(key: str, choice: str) -> None:
        browser.find_element("css selector", f'#fashioniq button[data-key="{key}"][data-choice="{choice}"]').click()

    press("category", "shirt")
    assert _shown(browser, "fashioniq") == [one for one in everything if one[1] == "shirt"]
    press("kind", "worst")
    assert _shown(browser, "fashioniq") == [("worst", "shirt")] * 3
    press("category", "dress")
    assert _shown(browser, "fashioniq") == [("worst", "dress")] * 3
    pressed = _texts(browser, '#fashioniq button[aria-pressed="true"]')
    assert pressed == ["worst", "dress"]
    assert _shown(browser, "hp-fashioniq") == others, "each benchmark has filters of its own"
    press("kind", "all")
    press("category", "all")
    assert _shown(browser, "fashioniq") == everything


def test_shows_worst_and_best_queries_with_everything_that_was_asked(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    found = load_results(evaluated.folder / "evaluation" / "results")["fashioniq"]
    table = found.per_query.sort_values(["rank", "query_id"]).groupby("category")
    expected = {
        "best": {query for _, own in table for query in own["query_id"].head(3)},
        "worst": {query for _, own in table for query in own["query_id"].tail(3)},
    }
    for kind, queries in expected.items():
        told = _texts(browser, f'#fashioniq .query[data-kind="{kind}"] > p')
        assert {text.rpartition("query ")[2] for text in told} == queries
    rows = browser.execute_script("""return [...document.querySelectorAll('#fashioniq .query')].map(card => ({
        id: card.querySelector('p').textContent.split('query ')[1],
        text: card.querySelector('q').textContent,
        asked: [...card.querySelectorAll('.ask img')].map(one => one.alt),
        hits: [...card.querySelectorAll('.row figure')].map(one => [one.className, one.querySelector('img').alt,
            one.querySelector('.badge').textContent])}))""")
    asked = found.per_query.set_index("query_id")
    for row in rows:
        own = asked.loc[row["id"]]
        assert row["text"] == own["text"]
        assert row["asked"] == [f"reference {own['reference']}", f"right answer {own['target']}"]
        best = found.top[row["id"]][:10]
        assert [alt.rpartition(": ")[2] for _, alt, _ in row["hits"]] == [image for image, _ in best]
        for (mark, alt, symbol), (image, _) in zip(row["hits"], best, strict=True):
            assert (mark == "right") == (image == own["target"])
            assert mark in alt, "a mark is not told by colour alone"
            assert symbol == {"right": "✓", "relevant": "≈", "wrong": "✗"}[mark]


def test_several_right_answers_are_all_marked(scenes: Any, drive: Drive) -> None:
    browser = drive(scenes.report)
    found = load_results(scenes.folder / "evaluation" / "results")["circo"]
    answers = dict(zip(found.per_query["query_id"], found.per_query["answers"], strict=True))
    cards = browser.execute_script("""return [...document.querySelectorAll('#circo .query')].map(card => [
        card.querySelector('p').textContent, [...card.querySelectorAll('.ask .right img')].map(one => one.alt),
        [...card.querySelectorAll('.row .right img')].map(one => one.alt)])""")
    several = 0
    for told, shown, right in cards:
        query = told.rpartition("query ")[2]
        own = {str(answer) for answer in answers[query]}
        assert {alt.removeprefix("right answer ") for alt in shown} <= own
        assert len(shown) == min(4, len(own))
        among_the_best = [image for image, _ in found.top[query][:10] if image in own]
        assert [alt.rpartition(": ")[2] for alt in right] == among_the_best
        if len(own) > 1:
            several += 1
            assert f"{len(own)} right answers" in told
    assert several > 5
    assert browser.get_log("browser") == []


def test_shows_metrics_with_intervals_beside_the_champions(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    folder = evaluated.folder
    metrics, intervals = (
        json.loads((folder / "evaluation" / f"{n}.json").read_text()) for n in ("metrics", "intervals")
    )
    compared = json.loads((folder / "evaluation" / "comparisons.json").read_text())["champion"]
    for block, key in (("fashioniq", "fashioniq"), ("hp-fashioniq", "hp_fashioniq")):
        cells = browser.execute_script(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map("
            "row => [...row.cells].map(cell => cell.textContent))",
            block,
        )
        rows = {row[0]: row[1:] for row in cells if len(row) == 5}
        assert rows.keys() == {short_name(name) for name in intervals[key]}, (
            "every metric that has an interval, by category too"
        )
        for name, bounds in intervals[key].items():
            value, interval, champion, gap = rows[short_name(name)]
            assert value == number(metrics[key][name])
            assert interval == between(bounds)
            if name in compared[key]:
                told = compared[key][name]
                assert champion == number(told["b"])
                assert gap == difference(told["difference"], (told["low"], told["high"]))
    assert "paired bootstrap" in _texts(browser, "#fashioniq")[0]


def test_published_results_are_marked_as_published_on_other_data(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    for block in ("fashioniq", "hp-fashioniq"):
        (note,) = _texts(browser, f"#{block} .published")
        published = get_benchmark(block).published
        assert published is not None
        assert note.startswith(f"As published, percent, on {published.measured_on}: other data")
        assert "rendered catalogue" in note
        assert "Not a comparison" in note
        text = _texts(browser, f"#{block}")[0]
        assert all(f"{value:.2f}" in text for row in published.rows.values() for value in row)
    summary = (evaluated.folder / "evaluation" / "summary.md").read_text()
    assert "Published, on FashionIQ val, original gallery: other data" in summary
    assert "| QuRe | 46.80 |" in summary


def test_shows_the_sizes_of_h_and_score_curves_of_every_mining(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    summary = json.loads((evaluated.folder / "training" / "summary.json").read_text())
    minings = [one["epoch"] + 1 for one in summary["minings"]]
    assert minings
    alts = browser.execute_script("return [...document.querySelectorAll('#training img')].map(one => one.alt)")
    expected = ["size of the hard-negative sets at every mining"]
    for epoch in reversed(minings):
        expected += [
            f"Before epoch {epoch}: sorted relevance of single queries",
            f"Before epoch {epoch}: where the hard negatives rank",
        ]
    assert alts == expected


@pytest.mark.parametrize("which", ["evaluated", "scenes"])
def test_shows_what_lies_between_the_steep_drops(which: str, request: pytest.FixtureRequest, drive: Drive) -> None:
    found = request.getfixturevalue(which)
    browser = drive(found.report)
    records = json.loads((found.folder / "evaluation" / "plots" / "hard-negatives.json").read_text())
    cards = browser.execute_script("""return [...document.querySelectorAll('.set')].map(card => ({
        text: card.querySelector('q').textContent,
        told: [...card.querySelectorAll('p')].map(one => one.textContent),
        shown: [...card.querySelectorAll('.row img')].map(one => one.alt.split(': ')[1])}))""")
    assert len(cards) == len(records) == 2
    for card, record in zip(cards, records, strict=True):
        assert card["text"] == record["text"]
        assert card["shown"] == [one["id"] for one in record["negatives"]]
        assert card["told"][0].startswith(
            f"{record['size']} hard negatives, ranks {record['first']} to {record['last']}"
        )
        assert card["told"][1] == f"target at rank {record['target_rank']} · query {record['query_id']}"
    (curve,) = browser.execute_script("return [...document.querySelectorAll('section .plot img')].map(e => e.alt)")[:1]
    assert curve == "sorted relevance with the two steep drops"


@pytest.mark.parametrize("which", ["evaluated", "scenes"])
def test_captions_are_text_and_never_run(which: str, request: pytest.FixtureRequest, drive: Drive) -> None:
    browser = drive(request.getfixturevalue(which).report)
    hostile = [text for text in _texts(browser, ".query q") if "window.ran" in text]
    assert hostile
    assert all(request.getfixturevalue(which).hostile in text for text in hostile)
    assert browser.execute_script("return typeof window.ran") == "undefined"
    assert browser.execute_script("return document.querySelectorAll('img[src=x], q script').length") == 0
    assert len(_texts(browser, "script")) == 1


@pytest.mark.parametrize("which", ["evaluated", "scenes"])
def test_is_readable_on_a_phone(which: str, request: pytest.FixtureRequest, drive: Drive) -> None:
    browser = drive(request.getfixturevalue(which).report, PHONE)
    browser.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    # The window's own width grows with a page that is too wide, so it is the phone's that counts.
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE[0]
    small = browser.execute_script("""return [...document.querySelectorAll('p, td, th, q, figcaption, button, li')]
        .filter(one => one.getClientRects().length && parseFloat(getComputedStyle(one).fontSize) < 11)
        .map(one => one.outerHTML)""")
    assert small == []
    widths = browser.execute_script(
        "return [...document.querySelectorAll('.row img')].map(one => one.getBoundingClientRect().width)"
    )
    assert min(widths) > 50


def test_hp_fashioniq_shows_both_sets_and_who_preferred_which(evaluated: Any, drive: Drive) -> None:
    browser = drive(evaluated.report)
    found = load_results(evaluated.folder / "evaluation" / "results")["hp-fashioniq"].per_query.set_index("query_id")
    cards = browser.execute_script("""return [...document.querySelectorAll('#hp-fashioniq .query')].map(card => [
        card.dataset.kind, [...card.querySelectorAll('p')].map(one => one.textContent),
        [...card.querySelectorAll('.row')].map(row => [...row.querySelectorAll('img')].map(one => one.alt))])""")
    assert {kind for kind, _, _ in cards} == {"worst", "random", "best"}
    for kind, told, sets in cards:
        row = found.loc[told[-1].rpartition("query ")[2]]
        assert sets == [list(row["set_1"]), list(row["set_2"])]
        assert [("preferred by the person" in text) for text in told[:2]] == [
            row["preferred"] == 1,
            row["preferred"] == 2,
        ]
        if kind != "random":
            assert f"model and person {'agree' if kind == 'best' else 'disagree'}" in told[2]


def test_without_champion_training_and_truth(evaluated: Any, tmp_path: Path, drive: Drive) -> None:
    """As for somebody's own data: nothing known but the labelled targets."""
    data = tmp_path / "data"
    shutil.copytree(evaluated.data, data)
    for file in data.rglob("truth.json"):
        file.unlink()
    write_again(
        evaluated.settings, "fashioniq", data=data, evaluation=evaluated.folder / "evaluation", output=tmp_path / "out"
    )
    browser = drive(tmp_path / "out" / "report.html")
    assert browser.get_log("browser") == []
    text = _texts(browser, "body")[0]
    assert "No champion's evaluation was given" in text
    assert "not labelled: it may be relevant all the same" in text
    assert not _texts(browser, "#training")
    assert "rendered" not in text.lower()
    marks = browser.execute_script(
        "return [...document.querySelectorAll('#fashioniq .row figure')].map(e => e.className)"
    )
    assert set(marks) == {"right", "wrong"}
