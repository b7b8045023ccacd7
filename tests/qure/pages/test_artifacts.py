"""The artifacts of every task, read as the pages of Kubeflow Pipelines read them."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from qure.pages.markdown import LONGEST

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

#: Of a file that is no Markdown, HTML or folder the pages show so many bytes.
SHOWN_BYTES = 255
#: The frame that HTML is shown in.
FRAME = (527, 598)

Drive = Callable[..., Any]


def rendered(page: Path) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(page.read_text())


def test_every_step_has_a_page_that_is_shown_whole(tasks: Any) -> None:
    pages = tasks.pages()
    steps = {task.partition("/")[2].split()[0] for task in pages}
    assert steps == {
        "prepare_data", "compare_data", "precompute", "train_qure", "evaluate", "promote_model", "evaluate_champion",
        "ablate",
    }  # fmt: skip
    for task, page in pages.items():
        lines = page.read_text().splitlines()
        assert lines[0].startswith("# "), task
        assert re.fullmatch(r"\*\*.+\*\*", lines[2]), task
        assert len(page.read_text()) <= LONGEST, task


def test_names_are_whole(tasks: Any) -> None:
    """An underscore outside of backticks is emphasis, and is lost."""
    for task, page in tasks.pages().items():
        text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", page.read_text())
        assert "_" not in text, (task, [line for line in text.splitlines() if "_" in line])
        assert "<em>" not in rendered(page), task


@pytest.mark.parametrize("run", ["first", "second"])
def test_about_ten_numbers_the_headline_first(tasks: Any, run: str) -> None:
    numbers = tasks.artifacts[f"{run}/promote_model"]["metrics"].metadata
    evaluation = Path(tasks.artifacts[f"{run}/promote_model"]["evaluation"].path)
    metrics = json.loads((evaluation / "metrics.json").read_text())
    intervals = json.loads((evaluation / "intervals.json").read_text())
    names = sorted(numbers)
    assert 8 <= len(names) <= 11
    assert all(len(name) <= 20 for name in names)
    assert all(value == round(value, 2) for value in numbers.values())
    assert names[:3] == ["1 R@10", "2 R@10 from", "3 R@10 to"]
    assert numbers["1 R@10"] == round(metrics["fashioniq"]["recall_at_10"], 2)
    assert numbers["3 R@10 to"] == round(intervals["fashioniq"]["recall_at_10"][1], 2)
    assert numbers["5 untrained R@10"] == round(metrics["controls"]["untrained_backbone"]["recall_at_10"], 2)
    assert ("4 vs champion" in names) == (run == "second")


def test_the_difference_to_the_champion_is_the_decisions(tasks: Any) -> None:
    made = tasks.artifacts["second/promote_model"]
    decision = json.loads(Path(made["promotion"].path).read_text())
    assert made["metrics"].metadata["4 vs champion"] == round(decision["comparison"]["difference"], 2)
    first, second = (
        tasks.artifacts[f"{run}/promote_model"]["metrics"].metadata["1 R@10"] for run in ("first", "second")
    )
    assert made["metrics"].metadata["4 vs champion"] == pytest.approx(second - first, abs=0.02)


def test_a_promotion_that_is_tried_again_registers_nothing_twice(tasks: Any) -> None:
    """The second run's first attempt had registered the model when it was broken off."""
    from mlflow import MlflowClient

    made = tasks.artifacts["second/promote_model"]
    registration, decision = (json.loads(Path(made[name].path).read_text()) for name in ("registration", "promotion"))
    assert (registration["version"], registration["created"]) == (2, False)
    assert (decision["version"], decision["outcome"]) == (2, "promoted")
    client = MlflowClient(f"sqlite:///{tasks.root}/mlflow.db")
    assert {int(one.version) for one in client.search_model_versions("name = 'qure-fashioniq'")} == {1, 2}


@pytest.mark.parametrize(
    ("task", "port", "verdict"),
    [
        ("first/promote_model registered", "registration", "qure-fashioniq version 1 is registered as challenger"),
        ("first/promote_model", "promotion", "Promoted: there was no champion"),
        ("second/promote_model", "promotion", "Promoted: not worse than the champion"),
        ("first/compare_data", "drift", "There is no champion to compare with"),
        ("second/compare_data", "drift", "Alike in all"),
        ("check/evaluate_champion", "check", "qure-fashioniq version 2 still holds"),
    ],
)
def test_the_first_bytes_of_a_file_hold_the_verdict(tasks: Any, task: str, port: str, verdict: str) -> None:
    shown = Path(tasks.artifacts[task.split()[0]][port].path).read_bytes()[:SHOWN_BYTES].decode(errors="ignore")
    assert verdict in shown
    assert verdict in tasks.pages()[task].read_text().replace("`", "")


def test_validation_shows_bad_rows_with_pictures(tasks: Any) -> None:
    text = tasks.pages()["first/prepare_data"].read_text()
    assert "`image_unreadable`" in text
    assert "tolerated" in text
    assert "![" in text, "the image that is too wide can be shown"


def test_training_shows_curves_and_a_mined_query_with_pictures(tasks: Any) -> None:
    page = tasks.pages()["second/train_qure"].read_text()
    example = json.loads((Path(tasks.artifacts["second/train_qure"]["training"].path) / "example.json").read_text())
    assert "![loss and share of pairs won, by epoch](data:image/png" in page
    assert "sorted relevance with the two steep drops](data:image/png" in page
    for image in (example["reference"], example["target"]):
        assert re.search(rf"!\[(reference|target) `?{image}`?\]\(data:image/jpeg", page)
    assert page.count("![negative ") >= 1
    assert f"`{example['query_id']}`" in page


def test_precompute_says_how_fast_and_what_was_skipped(tasks: Any) -> None:
    text = tasks.pages()["first/precompute fashioniq 0"].read_text()
    assert re.search(r"[0-9] images/s", text)
    assert "Skipped in the whole image set: 2, as" in text


def test_links_lead_to_the_run_the_version_and_the_report(tasks: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tasks.root}/mlflow.db")
    links = dict(re.findall(r'<a href="([^"]+)">([^<]+)</a>', rendered(tasks.pages()["second/promote_model"])))
    named = {what: address for address, what in links.items()}
    run = next(one for what, one in named.items() if what.startswith("MLflow run"))
    assert client.get_run(run.rsplit("/", 1)[1]).data.tags["qure.stage"] == "promote"
    assert named["qure-fashioniq version 2"].endswith("/models/qure-fashioniq/versions/2")
    assert named["the report"] == f"{run}/artifacts"
    assert [one.path for one in client.list_artifacts(run.rsplit("/", 1)[1], "report")]
    assert "the report]" not in tasks.pages()["first/promote_model"].read_text(), "it had no champion to stand beside"


def test_models_are_told_apart(tasks: Any) -> None:
    for run in ("first", "second"):
        model = tasks.artifacts[f"{run}/train_qure"]["model"].metadata
        assert model["display_name"] == f"qure-fashioniq {model['fingerprint'][:12]}"
        assert ":" in model["data_fingerprint"]
    registered = tasks.artifacts["second/promote_model"]["registration"].metadata
    fetched = tasks.artifacts["check/fetch_champion"]["model"].metadata
    assert registered == fetched
    assert (registered["display_name"], registered["registered_version"]) == ("qure-fashioniq version 2", 2)


def framed(content: str, folder: Path) -> Path:
    """A page of an installation that shows something in its sandboxed frame."""
    page = folder / "kubeflow.html"
    attributes = f'sandbox="allow-scripts" width="{FRAME[0]}" height="{FRAME[1]}" style="border:0"'
    page.write_text(f'<title>Kubeflow</title><iframe {attributes} srcdoc="{html.escape(content)}"></iframe>')
    return page


def requested(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def foreign(urls: list[str], page: Path) -> list[str]:
    return [url for url in urls if not url.startswith(("data:", "about:")) and url != page.as_uri()]


@pytest.mark.parametrize("task", ["first/promote_model", "check/evaluate_champion"])
def test_the_report_works_inside_the_frame(tasks: Any, drive: Drive, tmp_path: Path, task: str) -> None:
    report = Path(tasks.artifacts[task]["report"].path).read_text()
    assert not re.findall(r'href="http', report), "a link out of the frame is blocked: addresses stand as text"
    assert re.search(r"MLflow run \w+: <code>http", report)
    page = framed(report, tmp_path)
    browser = drive(page)
    urls = requested(browser)
    browser.switch_to.frame(0)
    pictures = browser.execute_script("return [...document.images].map(one => one.complete && one.naturalWidth > 0)")
    assert len(pictures) > 50
    assert all(pictures)
    links = browser.find_elements("css selector", 'a[href^="#"]')
    assert links
    browser.execute_script("arguments[0].click()", links[-1])
    place = browser.execute_script(
        "return [document.title, document.getElementById(arguments[0]).getBoundingClientRect().top]",
        links[-1].get_attribute("hash")[1:],
    )
    assert place[0].startswith("Evaluation of")
    assert abs(place[1]) < FRAME[1]
    browser.switch_to.default_content()
    assert foreign([*urls, *requested(browser)], page) == []


def test_every_page_fits_and_loads_inside_the_frame(tasks: Any, drive: Drive, tmp_path: Path) -> None:
    style = "<style>body{font:14px sans-serif}td,th{border:1px solid;padding:2px}</style>"
    for task, summary in tasks.pages().items():
        page = framed(style + rendered(summary), tmp_path)
        browser = drive(page)
        assert foreign(requested(browser), page) == [], task
        browser.switch_to.frame(0)
        wide, loaded = browser.execute_script(
            "return [document.documentElement.scrollWidth,"
            " [...document.images].every(one => one.complete && one.naturalWidth > 0)]"
        )
        assert wide <= FRAME[0], task
        assert loaded, task
        browser.switch_to.default_content()
