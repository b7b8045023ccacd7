"""What pages say of small made-up outcomes. `test_artifacts.py` reads the pages of whole pipelines."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from qure.datasets.benchmarks import read_training
from qure.evaluation.findings import Finding
from qure.evaluation.provenance import Provenance
from qure.files import write_json
from qure.pages.evaluation import evaluation_page, verdict
from qure.pages.features import features_page, features_table
from qure.pages.links import links
from qure.pages.markdown import Page
from qure.pages.numbers import headline_numbers
from qure.pages.pictures import Images
from qure.pages.registry import check_page, promotion_page, registration_page
from qure.pages.training import training_page
from qure.pages.validation import drift_page

METRICS = {"recall_at_1": 9.0, "recall_at_10": 52.63, "recall_at_50": 71.0, "average": 60.0, "queries": 1200.0}
FINDING = {
    "kind": "not above control",
    "benchmark": "fashioniq",
    "subject": "text_only",
    "says": "recall_at_10 is 52.6, text alone reaches 52.1",
    "remedy": "Look at the data",
}


def shown(page: Page) -> str:
    """The words of a page, as a browser shows them, a space between each two."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(page.markdown())
    for tag in ("</td>", "</th>", "</li>", "</h1>", "</h2>", "</p>"):
        html = html.replace(tag, f"{tag} ")
    for tag in html.split("<")[1:]:
        html = html.replace(f"<{tag.split('>')[0]}>", "")
    return " ".join(html.split())


@pytest.fixture
def evaluation(tmp_path: Path) -> Callable[..., Path]:
    """An evaluate stage's folder, as far as pages read it."""

    def write(*findings: dict[str, str], controls: dict[str, Any] | None = None) -> Path:
        metrics = {"fashioniq": METRICS, "hp_fashioniq": {"agreement": 61.0}, "controls": controls or {}}
        paired = {"text_only": {"recall_at_10": {"difference": 0.5, "low": -0.24, "high": 1.26}}}
        write_json(tmp_path / "metrics.json", metrics)
        write_json(tmp_path / "intervals.json", {"fashioniq": {"recall_at_10": [50.0, 55.24]}})
        write_json(tmp_path / "comparisons.json", {"controls": paired if controls else {}})
        write_json(tmp_path / "findings.json", {"findings": list(findings)})
        return tmp_path

    return write


def test_the_headline_is_sorted_by_its_names(evaluation: Callable[..., Path]) -> None:
    controls = {"untrained_backbone": {"recall_at_10": 4.0}, "random": {"recall_at_10": -0.001}, "text_only": {}}
    found = headline_numbers("fashioniq", evaluation(FINDING, controls=controls), {"difference": 2.0})
    assert [found[name] for name in sorted(found)[:3]] == [52.63, 50.0, 55.24]
    assert found["4 vs champion"] == 2.0
    assert (found["5 untrained R@10"], found["6 chance R@10"], found["7 R@50"], found["findings"]) == (
        4.0,
        0.0,
        71.0,
        1,
    )
    assert 61.0 in found.values()
    assert all(len(name) <= 20 for name in found)
    assert "4 vs champion" not in headline_numbers("fashioniq", evaluation())


def test_an_evaluation_says_what_is_wrong_and_compares_with_controls(evaluation: Callable[..., Path]) -> None:
    said = shown(evaluation_page("fashioniq", evaluation(FINDING, controls={"text_only": {"recall_at_10": 52.1}})))
    assert "What is wrong" in said
    assert "text alone reaches 52.1" in said
    assert "Look at the data" in said
    assert "R@10 52.6 50.0 to 55.2" in said
    assert "52.1 +0.5 (-0.2 to +1.3)" in said
    said = shown(evaluation_page("fashioniq", evaluation()))
    assert "What is wrong" not in said
    assert "both halves" not in said


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], "nothing is wrong"),
        (["not above control"], "not clearly above all of its controls"),
        (["not above control", "collapsed queries"], "has collapsed and must not be used"),
    ],
)
def test_findings_in_half_a_sentence(kinds: list[Any], said: str) -> None:
    from qure.evaluation.findings import COLLAPSES

    kinds = [next(iter(COLLAPSES)) if kind.startswith("collapsed") else kind for kind in kinds]
    assert said in verdict([Finding(kind, "fashioniq", "x", "y") for kind in kinds])


def test_a_promotion_says_why_and_by_how_much(evaluation: Callable[..., Path]) -> None:
    decision: dict[str, Any] = {
        "name": "qure-fashioniq",
        "version": 4,
        "verdict": "version 4 stays challenger.",
        "champion_before": 3,
        "checks": {
            "loads": True,
            "collapsed": ["queries"],
            "thresholds": {"fashioniq/recall_at_10": {"value": 52.6, "least": 60.0}},
        },
        "comparison": {
            "metric": "recall_at_10", "a": 52.63, "b": 51.0, "difference": 1.63, "low": -0.5, "high": 3.24,
            "queries": 1200, "risk": 0.0721, "max_risk": 0.05,
        },
    }  # fmt: skip
    said = shown(promotion_page("fashioniq", decision, evaluation(FINDING)))
    assert "version 4 stays challenger." in said
    assert "Champion before: version 3 Loads and answers: yes Collapsed: queries" in said
    assert "60" in said
    assert "On the same 1,200 queries; worse in 7.2 % of resamples, allowed are 5 %." in said
    assert "R@10 52.6 51.0 +1.6 (-0.5 to +3.2)" in said
    assert "text alone reaches 52.1" in said
    first = decision | {"champion_before": None, "comparison": None, "checks": {}}
    said = shown(promotion_page("fashioniq", first, evaluation()))
    assert "Champion before: nobody Loads and answers: no Collapsed: no" in said
    assert "Against the champion" not in said
    assert "What is wrong" not in said


def test_a_registration_cuts_what_is_too_long_and_shows_main_metrics() -> None:
    told = {
        "name": "qure-fashioniq",
        "verdict": "version 4 is registered.",
        "model_fingerprint": "f" * 64,
        "data_fingerprint": f"md5:{'d' * 32}.dir",
        "commit": "c" * 60,
        "model_uri": "models:/qure-fashioniq/4",
        "drift": ["texts are longer"],
        "metrics": {"fashioniq/recall_at_10": 52.63, "fashioniq/queries": 1200.0},
    }
    said = shown(registration_page(told))
    assert f"Model: {'f' * 12} " in said
    assert f"md5:{'d' * 32}.dir" in said, "DVC's is whole"
    assert f"{'c' * 45}… " in said
    assert "Shifted data: texts are longer" in said
    assert "fashioniq R@10 52.6" in said
    assert "1200" not in said


@pytest.mark.parametrize("known", [True, False])
def test_a_check_says_where_drift_is_unknown(known: bool) -> None:
    check = {
        "name": "qure-fashioniq",
        "version": 3,
        "verdict": "version 3 still holds.",
        "thresholds": {},
        "drift": ["texts are longer"] if known else [],
        "drift_known": known,
        "metrics": {"fashioniq/recall_at_10": 52.63, "fashioniq/queries": 1200.0},
    }
    said = shown(check_page(check))
    assert "version 3 still holds." in said
    assert "fashioniq R@10 52.6" in said
    assert ("texts are longer" in said) == known
    assert ("unknown, as the champion has left no statistics" in said) == (not known)


def test_what_has_shifted_stands_first() -> None:
    measures = [
        {"split": "cirr/train", "measure": "images", "shifted": False, "says": "the images are alike"},
        {"split": "cirr/train", "measure": "words", "shifted": True, "says": "texts are longer"},
    ]
    told = {"verdict": "1 of 2 measures have shifted.", "champion": 3, "shifted": ["texts are longer"]}
    said = shown(drift_page(told | {"measures": measures}))
    assert "Champion: version 3" in said
    assert said.index("shifted texts are longer") < said.index("alike the images are alike")
    without = {"verdict": "There is no champion to compare with.", "champion": None, "shifted": [], "measures": []}
    said = shown(drift_page(without))
    assert "There is no champion to compare with." in said
    assert "Measures" not in said


def test_a_share_that_was_kept_has_no_speed() -> None:
    passed: Any = SimpleNamespace(exclusions=lambda image_set: SimpleNamespace(images={"a", "b"}))
    summary = {
        "images": 1500, "reused_images": 500, "images_per_second": 12.34, "seconds": 81.0, "bytes": 3 * 2**20,
        "fingerprint": "f" * 64,
    }  # fmt: skip
    said = shown(features_page("cirr", 0, 4, summary, passed))
    assert "share 1 of 4" in said
    assert "1,500 images in 81 s: 12.3 images/s." in said
    assert "Computed now: 1,000 Kept from an earlier attempt: 500" in said
    assert "2, as validation excluded them" in said
    assert "3.0 MiB" in said
    said = shown(features_page("cirr", 0, 4, summary | {"reused_images": 1500}, passed))
    assert "nothing had to be computed" in said
    assert "1,500 | 3.0 |" in features_table({"cirr": summary})


def test_a_report_lies_among_its_runs_artifacts() -> None:
    place: Any = SimpleNamespace(links=[("the run", "https://mlflow.test/#/runs/1"), ("version 4", "https://x")])
    places: list[Provenance] = [place]
    assert links(places) == place.links
    assert links(places, report=True) == [*place.links, ("the report", "https://mlflow.test/#/runs/1/artifacts")]
    assert links([], report=True) == []


def test_a_picture_that_cannot_be_shown_is_left_out(tmp_path: Path, catalogue: Path) -> None:
    assert Images(tmp_path, "fashioniq").picture("B01", "x") is None, "there are no images"
    images = Images(catalogue, "fashioniq")
    assert images.picture("no such image", "x") is None
    split = json.loads((catalogue / "fashioniq" / "image_splits" / "split.dress.val.json").read_text())
    picture = images.picture(split[0], "a dress")
    assert picture is not None
    assert picture.shows == "a dress"


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., Path]:
    """A train stage's folder, as far as its page reads it."""

    def write(*findings: str, **more: Any) -> Path:
        summary = {
            "epochs": 2, "findings": findings, "model_fingerprint": "f" * 64, "triplets": 4500, "held_out": 50,
            "steps": 140, "stopped_early": False, "selected_epoch": 1, "selected_by": "recall_at_10",
            "pair_accuracy": 0.875, "temperature": 0.07, "excluded": {"triplets": 3},
        }  # fmt: skip
        write_json(tmp_path / "summary.json", summary | more)
        epochs = [{"epoch": 0, "loss": 2.5, "pair_accuracy": 0.5}, {"epoch": 1, "loss": 1.25, "pair_accuracy": 0.875}]
        (tmp_path / "history.jsonl").write_text("\n".join(json.dumps(one) for one in epochs))
        return tmp_path

    return write


def test_a_training_says_how_it_went(training: Callable[..., Path]) -> None:
    folder = training()
    said = shown(training_page("fashioniq", folder, folder))
    assert "2 epochs, loss 2.5000 to 1.2500: nothing stood out." in said
    assert "4,500, held out 50" in said
    assert "Steps: 140 Weights of: epoch 2" in said
    assert "87.50%" in said
    assert "Left out: 3 triplets" in said
    assert "Hard negatives" not in said
    folder = training("the loss rises", stopped_early=True)
    said = shown(training_page("fashioniq", folder, folder))
    assert "1 finding to look at." in said
    assert "the loss rises" in said
    assert "140, stopped early" in said


def test_a_mined_query_is_shown_with_what_can_be_had_of_it(training: Callable[..., Path], catalogue: Path) -> None:
    folder = training()
    query = read_training("fashioniq", catalogue)[0][0]
    example = {
        "query_id": query.query_id, "reference": query.reference, "target": query.target, "epoch": 0,
        "target_rank": 6, "corpus_size": 1200, "size": 9, "first": 7, "last": 15,
        "negatives": [query.reference, "no such image"],
    }  # fmt: skip
    write_json(folder / "example.json", example)
    for name in ("sizes.png", "example.png"):
        Image.new("RGB", (1000, 20), "white").save(folder / name)
    page = training_page("fashioniq", folder, catalogue)
    said = shown(page)
    assert query.text in said
    assert "The target is at rank 7 of 1,200; 9 hard negatives at ranks 8 to 16." in said
    assert "1 of its hard negatives:" in said
    pictures = [one.shows for part in page.parts if not isinstance(part, str) for one in part]
    assert f"reference {query.reference}" in pictures
    assert f"target {query.target}" in pictures
    assert "hard negatives per query at each mining" in pictures
    assert not any("no such image" in one for one in pictures)
    without = shown(training_page("fashioniq", folder, folder))
    assert "rank 7 of 1,200" in without, "also where its data is not at hand"
    assert "Reference and target" not in without
