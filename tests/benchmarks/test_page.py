"""The page says what the results say, and nothing that is not measured."""

import json
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.common import RESULTS
from benchmarks.sections import SECTIONS, Row

MEASURED = {
    "date": "2026-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef+changes",
    "machine": {"processor": "a processor", "cores": 2, "accelerator": None},
    "versions": {"torch": "2.13.0"},
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one result."""
    seconds = {"relevance_s": 2.0, "ranking_and_drops_s": 1.0, "all_s": 3.0, "peak_mib": 1000.0}
    loop = {**seconds, "all_s": 12.0, "peak_mib": 12_345.6}
    (tmp_path / "mining.json").write_text(json.dumps({"loop": loop, "blocks": seconds, "measured": MEASURED}))
    return tmp_path


def test_the_page_in_the_repository_is_current() -> None:
    assert page.main(["--check"]) == 0, "run `python -m benchmarks.page`"


def test_numbers_stand_with_what_they_are_compared_with(results: Path) -> None:
    text = page.text(results)
    assert "| all | 12 CPU s | 3 CPU s | 4.0 |" in text
    assert "| peak memory | 12,346 MiB | 1,000 MiB | 12.3 |" in text
    assert "a processor, 2 cores, torch 2.13.0, 2026-01-02, commit 0123456 with changes" in text


def test_what_is_not_measured_is_said(results: Path) -> None:
    assert "Not measured yet: `python -m benchmarks.gpu`" in page.text(results)


def test_rates_of_planted_faults_are_of_those_that_somebody_can_tell(tmp_path: Path) -> None:
    def module(killed: int, timed_out: int, survived: int, rate: float | None) -> dict[str, object]:
        counts = {"killed": killed, "timed_out": timed_out, "survived": survived, "equivalent": 5}
        return counts | {"kill_rate": rate, "seed": int(rate == 1.0)}

    modules = {
        "qure/a.py": module(17, 1, 2, 0.9),
        "qure/b.py": module(10, 0, 0, 1.0),
        "qure/c.py": module(0, 0, 0, None),
    }
    (tmp_path / "mutation.json").write_text(json.dumps({"modules": modules, "measured": MEASURED}))
    text = page.text(tmp_path)
    assert "| all 2 modules: 28 of 30 | 93.33 % |" in text
    assert "| `qure/a.py`: 18 of 20 | 90 % |" in text
    assert "| `qure/b.py`, drawn anew: 10 of 10 | 100 % |" in text
    assert "qure/c.py" not in text


def test_a_rate_is_better_when_it_is_more() -> None:
    assert Row("images", 200.0, "a second", before=50.0, more_is_better=True).times == 4
    assert Row("step", 50.0, "ms", before=200.0).times == 4
    assert Row("step", 50.0, "ms").times is None


def test_every_section_reads_the_result_that_is_kept() -> None:
    for section in SECTIONS:
        file = RESULTS / f"{section.name}.json"
        if file.is_file():
            assert list(section.rows(json.loads(file.read_text()))), section.name


def test_the_figure_is_drawn(results: Path, tmp_path: Path) -> None:
    page.draw(results, tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
