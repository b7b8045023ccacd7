"""The validate stage: annotations and images of a training set's benchmarks, every bad row by name."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qure.benchmarks import judged_on
from qure.config import Settings
from qure.datasets.validated import IMAGES, RESULT
from qure.errors import BadInput, StageFailed
from qure.files import atomic_folder
from qure.scratch import alone
from qure.validation.check import check
from qure.validation.drift import read_statistics
from qure.validation.exclude import exclusions
from qure.validation.findings import outcomes_of
from qure.validation.readable import empty_splits
from qure.validation.report import Report
from qure.validation.rules import check_tolerance
from qure.validation.tracked import keep, tracked

logger = logging.getLogger(__name__)

#: Below the work folder: the lists and pages when annotations fail, because then nothing is written as output.
REPORT = "validation-report"


def validate(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    output: Path,
    work: Path,
    champion_statistics: Path | None = None,
) -> dict[str, Any]:
    """Checks every annotation and image that a training set's training and evaluation touch.

    Writes `output` whole or not at all: result.json, images.parquet, bad_rows.csv, statistics.json and data_docs/. A
    result that no longer holds does not stay: whenever this function fails without a new one, an older `output` is
    removed.

    Args:
        settings: `validation` has bounds, tolerance and drift thresholds; `tracking` is read.
        training_set: which.
        data: the data root.
        output: the folder to write.
        work: scratch, which keeps the cache of image checks and, when annotations fail, the report.
        champion_statistics: statistics.json of the data that the champion was trained on.

    Returns:
        result.json's content: "success", "fingerprint", "rules", "excluded", "queries", "drift", "statistics".

    Raises:
        BadInput: a file is damaged, or annotations break a rule: names the first row and where the list of all is.
        StageFailed: images break a rule more often than tolerated; `output` is written, its "success" is false. Or
            another process validates into the same `output`.
    """
    data, output, work = Path(data), Path(output), Path(work)
    judges = judged_on(training_set)
    check_tolerance(settings.validation.tolerate)
    _refuse_foreign_output(output)
    with contextlib.ExitStack() as opened:
        opened.enter_context(alone(output))
        with _withdrawn_on_failure(output):
            champion = read_statistics(champion_statistics) if champion_statistics else None
            checked = check(settings.validation, training_set, data=data, work=work)
            opened.callback(checked.close)
            outcomes = outcomes_of(judges, checked.findings, settings.validation.tolerate, sorted(checked.rules()))
            report = Report(settings.validation, training_set, checked, outcomes, champion)
            run = opened.enter_context(tracked(settings, training_set, data, report, work / REPORT))
            _refuse_broken_annotations(report, data, work / REPORT)
            _leave_out(report, data)
            with atomic_folder(output) as folder:
                report.write(folder)
        keep(run, output)
        report.log()
        if not report.success:
            raise StageFailed(report.image_failure(output / "bad_rows.csv"))
    return report.result()


def _refuse_broken_annotations(report: Report, data: Path, folder: Path) -> None:
    """Raises the one error about annotations, with the whole list in the work folder; removes an older list."""
    if not report.failures("annotation"):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with atomic_folder(folder) as temporary:
        report.write(temporary)
        for name in (RESULT, IMAGES):  # a list for people: nothing that a stage could take for a pass
            (temporary / name).unlink()
    raise report.annotation_error(data, folder / "bad_rows.csv")


def _leave_out(report: Report, data: Path) -> None:
    """Settles what later stages leave out, and reads the data as they will.

    Raises:
        BadInput: a reader refuses the data all the same.
        StageFailed: nothing would be left of a split.
    """
    report.excluded = exclusions(report.checked.annotations, report.checked.findings, report.outcomes)
    counts = {}
    for benchmark, left_out in report.excluded.items():
        counts.update(report.checked.kept_queries(data, benchmark, left_out))
    report.queries = counts
    empty = empty_splits(counts)
    if empty:
        raise StageFailed(f"of {', '.join(empty)} no query is left once tolerated rows are left out")


def _refuse_foreign_output(output: Path) -> None:
    """Refuses to replace a folder that no validation has written."""
    if output.is_dir() and any(output.iterdir()) and not (output / "result.json").is_file():
        raise BadInput(
            "the output folder holds something other than a validation's result", file=output, remedy="Name another"
        )
    if output.exists() and not output.is_dir():
        raise BadInput("the output is a file, not a folder", file=output, remedy="Name another")


@contextlib.contextmanager
def _withdrawn_on_failure(output: Path) -> Iterator[None]:
    """Removes an older result when the data has no new one, so that nothing is trained on what it once said."""
    try:
        yield
    except BaseException:
        if output.exists():
            logger.warning("the older result in %s no longer holds and is removed", output)
            shutil.rmtree(output, ignore_errors=True)
        raise
