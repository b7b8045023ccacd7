"""The report in a browser: a real evaluation of a really trained (tiny) model, opened in headless Chromium."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks import get_benchmark
from qure.evaluation.outcome import Outcome
from qure.evaluation.stage import write_again
from qure.evaluation.statistics.results import load_results

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

DESKTOP, PHONE = (1200, 1000), (390, 844)

Drive = Callable[..., Any]


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """Opens a page in a window of some size; there is one browser per size."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    browsers: dict[tuple[int, int], Any] = {}

    def open_page(page: Path, size: tuple[int, int] = DESKTOP) -> Any:
        if size not in browsers:
            browsers[size] = _browser(chromium, driver, size, tmp_path_factory.mktemp("profile"))
        browser = browsers[size]
        # Leaves the page before, or the browser's own first page, and what both have logged.
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(page.as_uri())
        return browser

    yield open_page
    for browser in browsers.values():
        browser.quit()


def _browser(chromium: str, driver: str, size: tuple[int, int], profile: Path) -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in (*flags.split(), "disable-component-update", "disable-sync", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    if size == PHONE:
        metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


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
        assert rows.keys() == intervals[key].keys(), "every metric that has an interval, by category too"
        for name, (value, interval, champion, difference) in rows.items():
            low, high = intervals[key][name]
            assert value == f"{metrics[key][name]:.2f}"
            assert interval == f"{low:.2f} to {high:.2f}"
            if name in compared[key]:
                told = compared[key][name]
                assert champion == f"{told['b']:.2f}"
                assert difference == f"{told['difference']:+.2f} ({told['low']:+.2f} to {told['high']:+.2f})"
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


def test_a_champion_that_was_asked_otherwise_is_not_compared(evaluated: Any, tmp_path: Path) -> None:
    champion = tmp_path / "champion"
    shutil.copytree(evaluated.folder / "champion", champion)
    file = champion / "results" / "fashioniq" / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data_fingerprint": "another"}))
    write_again(
        evaluated.settings,
        "fashioniq",
        data=evaluated.data,
        evaluation=evaluated.folder / "evaluation",
        champion=champion,
        output=tmp_path,
    )
    first, second = (tmp_path / "summary.md").read_text().split("## HP-FashionIQ")
    assert "was evaluated on other data" in first
    assert "| champion | difference |" not in first
    assert "| champion | difference |" in second


def test_the_reports_difference_is_the_one_in_the_comparisons(evaluated: Any) -> None:
    """Both are made from the settings' seed, whatever it is."""
    settings = evaluated.settings.evaluation.model_copy(update={"seed": 7})
    own, other = (load_results(evaluated.folder / name / "results") for name in ("evaluation", "champion"))
    compared = Outcome([own["fashioniq"]], {}, {}, other).comparisons(settings)["champion"]["fashioniq"]
    write_again(
        evaluated.settings.model_copy(update={"evaluation": settings}),
        "fashioniq",
        data=evaluated.data,
        evaluation=evaluated.folder / "evaluation",
        champion=evaluated.folder / "champion",
        output=evaluated.folder / "seeded",
    )
    told = compared["recall_at_10"]
    expected = f"{told['difference']:+.2f} ({told['low']:+.2f} to {told['high']:+.2f})"
    (row,) = [
        line
        for line in (evaluated.folder / "seeded" / "summary.md").read_text().splitlines()
        if line.startswith("| recall_at_10 |")
    ]
    assert row.endswith(f"| {expected} |")
