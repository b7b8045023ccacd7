"""The documentation's site: links lead somewhere, doctests are code, nothing is fetched."""

import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("mkdocs", reason="needs mkdocs: `make setup`")

from mkdocs.exceptions import PluginError

from tools.docs_site import fenced, parts, relinked

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "[a](docs/gpu.md#x)", "[a](gpu.md#x)"),
        ("README.md", "![a](docs/images/retrieval.png)", "![a](images/retrieval.png)"),
        ("README.md", "[examples/](examples/) and [`x`](qure/py.typed)", "examples/ and `x`"),
        ("docs/gpu.md", "[a](../CONTRIBUTING.md#adding)", "[a](contributing.md#adding)"),
        ("docs/gpu.md", "[a](evaluation.md)", "[a](evaluation.md)"),
        ("docs/gpu.md", "[a](https://example.org/x.md), [b](#here)", "[a](https://example.org/x.md), [b](#here)"),
    ],
)
def test_links_lead_to_where_things_are_on_the_site(source: str, link: str, expected: str) -> None:
    assert relinked(link, PurePosixPath(source)) == expected


def test_a_link_to_nothing_ends_the_build() -> None:
    with pytest.raises(PluginError, match=r"docs/gpu\.md: \[a\]\(gone\.md\)"):
        relinked("[a](gone.md)", PurePosixPath("docs/gpu.md"))


def test_a_doctest_is_code_and_the_text_around_it_stays() -> None:
    docstring = "Adds.\n\n>>> [[1][0]]\n[1]\n>>> 2\n2\n\nEnd.\n\n    >>> deeper"
    expected = "Adds.\n\n```pycon\n>>> [[1][0]]\n[1]\n>>> 2\n2\n```\n\nEnd.\n\n    ```pycon\n    >>> deeper\n    ```"
    assert fenced(docstring) == expected


def test_every_part_of_the_library_has_a_page() -> None:
    assert parts()[:2] == ["qure", "qure.ablation"]
    assert {"qure.config", "qure.evaluation", "qure.registry"} <= set(parts())
    assert "qure.cli" not in parts()


@pytest.mark.integration
def test_the_site_is_whole_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Where things live" in (tmp_path / "contributing.html").read_text()
    assert "BadInput" in (tmp_path / "reference" / "qure.errors.html").read_text()
    for page in tmp_path.rglob("*.html"):
        assert (
            re.findall(
                r"<(?:script|img|iframe)[^>]* src=.?https?:|<link[^>]* rel=.?(?:stylesheet|preconnect)[^>]*https?:",
                page.read_text(),
            )
            == []
        )
