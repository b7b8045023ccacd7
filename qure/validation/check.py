"""All checks of one training set's data: annotation tables first, images beside them in other processes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from qure.benchmarks import get_benchmark, judged_on
from qure.config import ValidationSettings
from qure.datasets import truth
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import shown
from qure.datasets.image_store import ImageStore, open_images
from qure.datasets.links import linked_folders
from qure.datasets.rows import is_there
from qure.environment import without_collecting
from qure.errors import BadInput
from qure.validation import lazy
from qure.validation.annotations import Annotations
from qure.validation.cache import ImageCache
from qure.validation.findings import BadRow, bad_rows_of
from qure.validation.hidden import hidden_rows
from qure.validation.images import ImageChecks, content_table, image_table, start_server
from qure.validation.readable import Reading, kept_queries
from qure.validation.rules import RULES

if TYPE_CHECKING:
    from qure.validation.run import SuiteResult


@dataclass
class Checked:
    """Everything the checks found out.

    Attributes:
        annotations: benchmark -> its tables.
        findings: every bad row.
        suites: what Great Expectations found, suite by suite.
        images: benchmark -> one row per image; only benchmarks that have images of their own.
        contents: benchmark -> one row per usable image and split (`qure.validation.images.content_table`).
        stores: benchmark -> where its images are.
        reading: reads the data as later stages will, in another process; None where that is not worth one.
    """

    annotations: dict[str, Annotations]
    findings: list[BadRow] = field(default_factory=list)
    suites: "list[SuiteResult]" = field(default_factory=list)
    images: dict[str, pd.DataFrame] = field(default_factory=dict)
    contents: dict[str, pd.DataFrame] = field(default_factory=dict)
    stores: dict[str, ImageStore] = field(default_factory=dict)
    reading: Reading | None = None

    def kept_queries(self, data: Path, benchmark: str, exclusions: Exclusions) -> dict[str, dict[str, int]]:
        """As `qure.validation.readable.kept_queries`; taken from `reading` where nothing is left out."""
        ahead = self.reading.kept(benchmark) if self.reading and not exclusions else None
        return ahead if ahead is not None else kept_queries(data, benchmark, exclusions)

    def close(self) -> None:
        """Ends what still runs."""
        if self.reading:
            self.reading.close()

    def rules(self) -> set[tuple[str, str]]:
        """(benchmark, rule) of everything that was looked at."""
        return {
            (suite.name.partition(".")[0], result["expectation_config"]["meta"]["rule"])
            for suite in self.suites
            for result in suite.expectations
        }


def check(settings: ValidationSettings, training_set: str, *, data: Path, work: Path) -> Checked:
    """Reads annotations, then checks images in other processes while Great Expectations looks at the tables.

    Args:
        settings: bounds.
        training_set: which.
        data: the data root.
        work: where the cache of image checks is.

    Raises:
        BadInput: a file is damaged as a whole, or the images cannot be opened.
        StageFailed: a process that checks images died.
    """
    with without_collecting():  # tables of rows are no garbage
        return _check(settings, training_set, data, work)


def _check(settings: ValidationSettings, training_set: str, data: Path, work: Path) -> Checked:
    checked = Checked(read_annotations(training_set, data, lambda images: start_server(images, settings)))
    cache, complete = ImageCache(work, settings.max_image_bytes), False
    running: dict[str, tuple[ImageStore, ImageChecks]] = {}
    try:
        refused = _start_images(checked, data, cache, settings, running)
        if any(checks.in_processes for _, checks in running.values()):
            checked.reading = Reading(data, list(checked.annotations))
        _check_annotations(checked, data, settings)
        if refused is not None and not any(finding.severity == "error" for finding in checked.findings):
            raise refused
        for benchmark, (store, checks) in running.items():
            images = image_table(checked.annotations[benchmark].images, store, checks.finish(), data.resolve())
            _check_images(checked, benchmark, images, settings)
            checked.findings += hidden_rows(data, benchmark, images["file"][images["found"].notna()])
        complete = refused is None
    except BaseException:
        checked.close()
        raise
    finally:
        for _, checks in running.values():
            checks.close()
        cache.save(complete=complete)
    return checked


def read_annotations(
    training_set: str, data: Path, meanwhile: Callable[[int], None] = lambda _: None
) -> dict[str, Annotations]:
    """The annotation tables of the benchmarks that a training set is trained and judged on.

    Args:
        training_set: which.
        data: the data root.
        meanwhile: called after each benchmark with its number of images, before the next one is read.

    Raises:
        BadInput: a file is missing or damaged as a whole.
    """
    found: dict[str, Annotations] = {}
    for name in judged_on(training_set):
        found[name] = get_benchmark(name).tables(data, found)
        meanwhile(len(found[name].images))
    return found


def _start_images(
    checked: Checked,
    data: Path,
    cache: ImageCache,
    settings: ValidationSettings,
    running: dict[str, tuple[ImageStore, ImageChecks]],
) -> BadInput | None:
    """Starts the image checks; an image folder that cannot be opened is returned, as bad rows may be the cause."""
    for benchmark, annotations in checked.annotations.items():
        one = get_benchmark(benchmark)
        if one.images != benchmark:
            continue
        try:
            store = open_images(one.root(data.resolve()))
        except BadInput as error:
            return error
        checked.stores[benchmark] = store
        running[benchmark] = (store, ImageChecks(store, list(annotations.images), cache, settings))
    return None


def _check_annotations(checked: Checked, data: Path, settings: ValidationSettings) -> None:
    lazy.prepare()  # Great Expectations is imported here
    from qure.validation.run import run_suites
    from qure.validation.suites import annotation_suites

    for annotations in checked.annotations.values():
        claims = _claims_public(data, annotations.benchmark, settings)
        results = run_suites(annotation_suites(annotations, settings, claims_public=claims))
        checked.suites += results
        for result in results:
            checked.findings += bad_rows_of(annotations, result.expectations)
        if not annotations.has_gallery:
            checked.findings.append(_no_gallery(annotations.benchmark))
        checked.findings += _not_versioned(data, annotations.benchmark)
        there = [file for file, digest in annotations.digests.items() if digest is not None]
        checked.findings += hidden_rows(data, annotations.benchmark, there)


def _check_images(checked: Checked, benchmark: str, images: pd.DataFrame, settings: ValidationSettings) -> None:
    from qure.validation.run import run_suites
    from qure.validation.suites import image_suites

    checked.images[benchmark], checked.contents[benchmark] = images, content_table(images)
    results = run_suites(image_suites(benchmark, images, checked.contents[benchmark], settings))
    checked.suites += results
    for result in results:
        checked.findings += bad_rows_of(checked.annotations[benchmark], result.expectations)
    checked.findings += _strays(checked, benchmark)


def _claims_public(data: Path, benchmark: str, settings: ValidationSettings) -> bool | None:
    """Whether the data claims to be the published benchmark; the rendered catalogue says that it is not."""
    if settings.expect_public is not None:
        return settings.expect_public
    return False if is_there(get_benchmark(benchmark).root(data) / truth.FILE) else None


def _no_gallery(benchmark: str) -> BadRow:
    rule = RULES["no_gallery"]
    one = get_benchmark(benchmark)
    file = f"{one.folder}/{one.gallery_file}"
    return BadRow(rule.name, benchmark, file, "", "images", "", rule.reason, rule.severity)


def _not_versioned(data: Path, benchmark: str) -> list[BadRow]:
    rule, root = RULES["not_versioned"], get_benchmark(benchmark).root(data)
    return [
        BadRow(
            rule=rule.name,
            benchmark=benchmark,
            file=link.relative_to(data).as_posix(),
            row="",
            field="",
            value=str(link.readlink()),
            reason=rule.reason,
            severity=rule.severity,
        )
        for link in linked_folders(root)
    ]


def _strays(checked: Checked, benchmark: str) -> list[BadRow]:
    """What lies among the images and is not read, except where it stands for a listed image: that has its own row."""
    rule, store, listed = RULES["stray_file"], checked.stores[benchmark], checked.annotations[benchmark].images
    folder = get_benchmark(benchmark).folder
    return [
        BadRow(
            rule=rule.name,
            benchmark=benchmark,
            file=f"{folder}/{refusal.file}",
            row="",
            field="",
            value=shown(refusal.file),
            reason=f"{rule.reason}: {refusal.problem}",
            severity=rule.severity,
        )
        for refusal in store.refused
        if refusal.image is None or refusal.image not in listed or store.refusal(refusal.image) is None
    ]
