"""Pages as Kubeflow Pipelines shows them: names whole, nothing taken for a mark, short enough to be shown."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from qure.pages.markdown import LONGEST, Page, Picture, code, prose, table

NAMES = "recall_at_10 is 52.6 [51.0, 54.2] of hp-fashioniq/ndcg_at_10 under training.fashioniq.batch_size, *not* <b>"


def rendered(markdown: str) -> str:
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def test_names_are_shown_whole_and_nothing_is_taken_for_a_mark() -> None:
    html = rendered(prose(NAMES))
    for name in ("recall_at_10", "hp-fashioniq/ndcg_at_10", "training.fashioniq.batch_size"):
        assert f"<code>{name}</code>" in html
    assert "<em>" not in html
    assert "[51.0, 54.2]" in html
    assert "*not* &lt;b&gt;" in html


@pytest.mark.parametrize("text", ["<script>x</script>", "a|b", "tick ` tick", "`a` ``b``", "_x_ **y**", "[a](b)"])
def test_somebody_elses_text_is_shown_as_it_is(text: str) -> None:
    html = rendered(table(["value"], [[code(text)]]))
    assert html.count("<td>") == 1
    assert "<code>" in html
    for mark in ("<script>", "<em>", "<strong>", "<a "):
        assert mark not in html


def test_a_long_caption_is_cut() -> None:
    assert len(code("word " * 1000)) < 210


def test_the_verdict_comes_first_and_links_are_links() -> None:
    page = Page("Promotion of qure-cirr", "Refused: it is worse.", [("Fact", "a_b")], [("MLflow run", "http://x/#/r")])
    lines = page.markdown().splitlines()
    assert (lines[0], lines[2]) == ("# Promotion of qure-cirr", "**Refused: it is worse.**")
    assert '<a href="http://x/#/r">MLflow run</a>' in rendered(page.markdown())


def test_a_page_that_would_be_cut_leaves_pictures_out_and_says_so() -> None:
    page = Page("Pictures", "Many.", parts=[[Picture("one", "data:image/png;base64," + "A" * 90_000)] * 6, "The end."])
    text = page.markdown()
    assert len(text) <= LONGEST
    assert text.count("![") == 4
    assert "2 more pictures would not fit" in text
    assert "The end." in text


def test_the_same_is_told_in_a_few_lines(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    page = Page("Training", "2 epochs.", [(f"fact {number}", "x") for number in range(20)])
    with caplog.at_level("INFO", "qure"):
        page.write(tmp_path / "summary", links=[("MLflow run", "http://x")])
    said = [record.message for record in caplog.records]
    assert said[0] == "Training: 2 epochs."
    assert said[-1] == "MLflow run: http://x"
    assert 3 <= len(said) <= 10
