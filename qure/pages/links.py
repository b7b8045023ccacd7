"""Where more is found: addresses in MLflow's pages, and reports that can be read inside another page's frame."""

from collections.abc import Sequence
from pathlib import Path

from qure.config import TrackingSettings
from qure.evaluation.provenance import Provenance, provenance_of, stamped
from qure.files import atomic_file
from qure.tracking import SilentRun


def places(
    settings: TrackingSettings, runs: Sequence[SilentRun], *, name: str | None = None, version: int | None = None
) -> list[Provenance]:
    """Where the last of a stage's runs is kept; empty without tracking.

    Args:
        settings: where MLflow is.
        runs: from `qure.tracking.opened_runs`.
        name, version: of the registered version, where there is one.
    """
    found = provenance_of(runs[-1], settings, name=name, version=version) if runs else None
    return [found] if found is not None else []


def links(found: Sequence[Provenance], *, report: bool = False) -> list[tuple[str, str]]:
    """(what, address) of runs, of versions, and of the report among a run's artifacts."""
    addresses: list[tuple[str, str]] = []
    for place in found:
        addresses += place.links
        if report:
            addresses.append(("the report", f"{place.links[0][1]}/artifacts"))
    return addresses


def write_framed(report: Path, found: Sequence[Provenance], path: Path | str) -> None:
    """Copies a report with its place of provenance filled, addresses as text: links lead nowhere from a frame."""
    text = report.read_text(encoding="utf-8")
    for place in found:
        text = stamped(text, place, markdown=False, linked=False)
    with atomic_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
