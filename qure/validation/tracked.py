"""The validate stage's MLflow run: what was found, kept where it outlives a task that fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qure.config import Settings
from qure.errors import QureError
from qure.tracking import SilentRun, data_fingerprint, pipeline_run_id, stage_run, tracking_uri
from qure.validation.report import Report

#: Folder of the run's artifacts.
FOLDER = "validation"

#: What of a validation folder the run keeps.
KEPT = ("result.json", "bad_rows.csv", "statistics.json", "data_docs")


@contextmanager
def tracked(settings: Settings, training_set: str, data: Path, report: Report, listed: Path) -> Iterator[SilentRun]:
    """An MLflow run with the report's numbers; when the stage fails, with the list of bad rows too.

    Args:
        settings: `tracking` and `validation` are read.
        training_set: which.
        data: the data root.
        report: what was found.
        listed: folder that holds the report when annotations fail.
    """
    if tracking_uri(settings.tracking) is None:
        yield SilentRun()
        return
    of_data = _data(data, report)
    with stage_run(
        settings.tracking,
        stage="validate",
        training_set=training_set,
        parameters={"validation": settings.validation.model_dump(mode="json", exclude={"workers"})},
        inputs={"data": of_data},
        pipeline=pipeline_run_id(settings.resolved(), of_data),
    ) as run:
        run.set_tags({"qure.validation": report.fingerprint()})
        run.log_metrics(report.metrics())
        try:
            yield run
        except QureError:
            keep(run, listed)
            raise


def keep(run: SilentRun, folder: Path) -> None:
    """Keeps a validation folder with the run, as far as it is there."""
    for name in KEPT:
        if (folder / name).is_dir():
            run.log_artifact(folder / name, f"{FOLDER}/{name}")
        elif (folder / name).is_file():
            run.log_artifact(folder / name, FOLDER)


def _data(data: Path, report: Report) -> str:
    """The data's fingerprint as DVC has it; else of what was checked, as hashing every file again would take longer."""
    pointer = data.with_name(data.name + ".dvc")
    return data_fingerprint(data) if pointer.is_file() else f"validation:{report.fingerprint()}"
