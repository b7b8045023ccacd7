"""Which MLflow run and registered version a report belongs to, and when: told in the copies that MLflow keeps.

An evaluation's folder is an output of a DVC stage: the same model on the same data must give the same bytes, or every
later stage would run again. So the folder's own report names model and data, which decide it, and leaves a place; the
copy that is logged to a run or kept with a version has run, version and day filled in there.
"""

import html
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from qure.config import TrackingSettings
from qure.scratch import temporary_folder
from qure.tracking import SilentRun, tracking_uri

#: Where `make mlflow` shows a database that no server stands before.
LOCAL_PAGES = "http://127.0.0.1:5000"
#: Variable with the address of MLflow's pages, where people reach them by another one than programs do.
PAGES_VARIABLE = "QURE_MLFLOW_PAGES"
#: What stands in the place until it is filled.
UNFILLED = (
    "This file is the same whenever the same model is judged on the same data, so it names no day and no run. "
    "Its copies in MLflow do (make mlflow): with the run of the evaluate stage and with the registered version."
)
_PLACE = re.compile(r"(<!-- provenance -->).*?(<!-- /provenance -->)", re.DOTALL)
_NAMES = ("report.html", "summary.md", "model_card.md")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a copy of a report is kept.

    Attributes:
        day: when it was logged.
        uri: MLflow's; a database or a server.
        experiment_id, run_id: of the run that the copy belongs to.
        name, version: of the registered version; None before there is one.
    """

    day: date
    uri: str
    experiment_id: str
    run_id: str
    name: str | None = None
    version: int | None = None

    @property
    def links(self) -> list[tuple[str, str]]:
        """(what, address in MLflow's pages) of the run, and of the version where there is one."""
        pages = f"{pages_address(self.uri)}/#"
        links = [(f"MLflow run {self.run_id[:8]}", f"{pages}/experiments/{self.experiment_id}/runs/{self.run_id}")]
        if self.version is not None:
            links.append((f"{self.name} version {self.version}", f"{pages}/models/{self.name}/versions/{self.version}"))
        return links

    @property
    def hint(self) -> str:
        """How to make the addresses answer."""
        return "" if urlsplit(self.uri).scheme in ("http", "https") else " (`make mlflow` opens these pages)"


def provenance_of(
    run: SilentRun, settings: TrackingSettings, *, name: str | None = None, version: int | None = None
) -> Provenance | None:
    """Of what is logged today to an open run; None where tracking is switched off."""
    uri = tracking_uri(settings)
    if uri is None or run.run_id is None or run.experiment_id is None:
        return None
    return Provenance(datetime.now(UTC).date(), uri, run.experiment_id, run.run_id, name, version)


def pages_address(uri: str) -> str:
    """Where MLflow's pages are: as QURE_MLFLOW_PAGES says, else the server's address without its credentials, or
    where `make mlflow` puts them.

    >>> pages_address("https://somebody:secret@mlflow.example.org/team/"), pages_address("sqlite:///mlflow.db")
    ('https://mlflow.example.org/team', 'http://127.0.0.1:5000')
    """
    parts = urlsplit(os.environ.get(PAGES_VARIABLE, "").strip() or uri)
    if parts.scheme not in ("http", "https"):
        return LOCAL_PAGES
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def stamped(text: str, provenance: Provenance, *, markdown: bool, linked: bool = True) -> str:
    """A report with its place filled; unchanged when it has none (reports of other versions of qure).

    Args:
        text: HTML, or Markdown where `markdown` is set.
        provenance: what to fill in.
        linked: addresses as links; else as text, for a frame from which no link leads out.
    """
    day = f"{provenance.day:%Y-%m-%d}"
    if markdown:
        links = ", ".join(f"[{what}]({address})" for what, address in provenance.links)
        line = f"{day}, {links}{provenance.hint}"
    elif not linked:
        links = ", ".join(f"{html.escape(what)}: <code>{html.escape(to)}</code>" for what, to in provenance.links)
        line = f"{day}, {links}{html.escape(provenance.hint)}"
    else:
        links = ", ".join(f'<a href="{html.escape(to)}">{html.escape(what)}</a>' for what, to in provenance.links)
        line = f"{day}, {links}{html.escape(provenance.hint)}"
    return _PLACE.sub(lambda place: f"{place[1]}{line}{place[2]}", text, count=1)


@contextmanager
def stamped_copies(folder: Path, provenance: Provenance | None) -> Iterator[list[Path]]:
    """The folder's report, summary and model card with their places filled, as files of their names.

    Without provenance (no tracking) they are the folder's own files.
    """
    files = [Path(folder) / name for name in _NAMES if (Path(folder) / name).is_file()]
    if provenance is None:
        yield files
        return
    with temporary_folder() as scratch:
        copies = [scratch / file.name for file in files]
        for file, copy in zip(files, copies, strict=True):
            text = file.read_text(encoding="utf-8")
            copy.write_text(stamped(text, provenance, markdown=file.suffix == ".md"), encoding="utf-8")
        yield copies
