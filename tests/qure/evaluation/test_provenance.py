"""Stamped copies: links to run and version, and nothing else of the report is touched."""

from datetime import date
from pathlib import Path

import pytest

from qure.evaluation.provenance import Provenance, stamped, stamped_copies

PAGE = "<p>before</p><p><!-- provenance -->nothing yet<!-- /provenance --></p><p>after</p>"


def kept(uri: str, version: int | None = None) -> Provenance:
    return Provenance(date(2026, 11, 27), uri, "3", "abcdef0123456789", "qure-cirr" if version else None, version)


def test_a_database_is_opened_with_make_mlflow() -> None:
    text = stamped(PAGE, kept("sqlite:///mlflow.db"), markdown=False)
    assert '2026-11-27, <a href="http://127.0.0.1:5000/#/experiments/3/runs/abcdef0123456789">MLflow run' in text
    assert "make mlflow" in text
    assert "nothing yet" not in text
    assert text.startswith("<p>before</p>")
    assert text.endswith("<p>after</p>")


@pytest.mark.parametrize("markdown", [True, False])
def test_a_server_is_linked_without_its_credentials(markdown: bool) -> None:
    text = stamped(PAGE, kept("https://me:my-secret@mlflow.example.org/base/", 4), markdown=markdown)
    assert "https://mlflow.example.org/base/#/models/qure-cirr/versions/4" in text
    assert "my-secret" not in text
    assert "make mlflow" not in text


def test_a_frame_gets_addresses_as_text() -> None:
    text = stamped(PAGE, kept("https://me:my-secret@mlflow.example.org", 4), markdown=False, linked=False)
    assert "qure-cirr version 4: <code>https://mlflow.example.org/#/models/qure-cirr/versions/4</code>" in text
    assert "href" not in text
    assert "my-secret" not in text


def test_pages_may_have_an_address_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_MLFLOW_PAGES", "https://people.example.org/mlflow/")
    addresses = [address for _, address in kept("http://mlflow.internal:5000", 4).links]
    assert all(address.startswith("https://people.example.org/mlflow/#/") for address in addresses)


def test_a_stamped_copy_can_be_stamped_again() -> None:
    once = stamped(PAGE, kept("sqlite:///mlflow.db"), markdown=False)
    assert "versions/7" in stamped(once, kept("sqlite:///mlflow.db", 7), markdown=False)


def test_the_folder_itself_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("report.html", "summary.md", "model_card.md"):
        (tmp_path / name).write_text(PAGE)
    with stamped_copies(tmp_path, kept("sqlite:///mlflow.db", 1)) as copies:
        assert [copy.name for copy in copies] == ["report.html", "summary.md", "model_card.md"]
        assert all("versions/1" in copy.read_text() for copy in copies)
    assert not any(copy.exists() for copy in copies)
    assert {file.read_text() for file in tmp_path.iterdir()} == {PAGE}
    with stamped_copies(tmp_path, None) as copies:
        assert copies == [tmp_path / name for name in ("report.html", "summary.md", "model_card.md")]
