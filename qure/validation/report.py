"""What validation hands on: the result for later stages, the list and the pages for people, the errors' words."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qure.config import ValidationSettings
from qure.datasets.exclusions import Exclusions
from qure.datasets.validated import write_images
from qure.errors import BadInput
from qure.files import fingerprint, write_json
from qure.progress import counted
from qure.validation.check import Checked
from qure.validation.drift import compare
from qure.validation.findings import BadRow, RuleOutcome, write_bad_rows
from qure.validation.rules import RULES
from qure.validation.statistics import statistics

logger = logging.getLogger(__name__)

#: Raise when a rule changes, so that a result of other rules is not taken for this one's.
RULES_VERSION = 5

#: How many bad rows an error message names.
_NAMED = 3


@dataclass
class Report:
    """One validation's outcome.

    Attributes:
        settings: bounds and thresholds it was made with.
        training_set: which.
        checked: everything the checks found out.
        outcomes: how each rule ended.
        champion: statistics of the champion's training data, None without a champion.
        excluded: benchmark -> what later stages leave out.
        queries: "{benchmark}/{split}" -> {"rows", "kept"}; empty while annotations are broken.
    """

    settings: ValidationSettings
    training_set: str
    checked: Checked
    outcomes: Sequence[RuleOutcome]
    champion: Mapping[str, Any] | None = None
    excluded: Mapping[str, Exclusions] = field(default_factory=dict)
    queries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.statistics = statistics(self.training_set, list(self.checked.annotations.values()), self.checked.contents)
        self.drift = compare(self.statistics, self.champion, self.settings) if self.champion else []

    @property
    def success(self) -> bool:
        """Whether nothing fails the stage."""
        return not any(outcome.outcome == "failed" for outcome in self.outcomes)

    def failures(self, about: str) -> list[BadRow]:
        """Bad rows that fail the stage, of rules about annotations or images."""
        failed = {(one.benchmark, one.rule, one.severity) for one in self.outcomes if one.outcome == "failed"}
        return [
            finding
            for finding in self.checked.findings
            if RULES[finding.rule].about == about and (finding.benchmark, finding.rule, finding.severity) in failed
        ]

    def result(self) -> dict[str, Any]:
        """The content of result.json; the same data and settings always give the same."""
        return {
            "success": self.success,
            "training_set": self.training_set,
            "fingerprint": self.fingerprint(),
            "annotations": dict(sorted(self._digests().items())),
            "rules": [dataclasses.asdict(outcome) for outcome in self.outcomes],
            "suites": {
                suite.name: {
                    "rows": suite.rows,
                    "expectations": len(suite.expectations),
                    "not_met": sum(not result["success"] for result in suite.expectations),
                }
                for suite in self.checked.suites
            },
            "excluded": {
                benchmark: {"images": sorted(left_out.images), "queries": sorted(left_out.queries)}
                for benchmark, left_out in self.excluded.items()
            },
            "queries": {split: dict(count) for split, count in self.queries.items()},
            "drift": [measure for measure in self.drift if measure["shifted"]],
            "drift_measures": self.drift,
            "statistics": {
                split: {key: numbers[key] for key in ("queries", "images", "categories") if key in numbers}
                for split, numbers in self.statistics["splits"].items()
            },
        }

    def metrics(self) -> dict[str, float]:
        """Numbers for MLflow: bad rows by benchmark and rule, and what was looked at."""
        broken = {
            f"validation/{outcome.benchmark}/{outcome.rule}": float(outcome.rows)
            for outcome in self.outcomes
            if outcome.rows
        }
        images = sum(len(table) for table in self.checked.images.values())
        return {"validation/success": float(self.success), "validation/images": float(images), **broken}

    def fingerprint(self) -> str:
        """Of annotation files, image contents, bounds and rules: changes with anything that could change the result."""
        images = {
            benchmark: sorted(zip(table["image"], table["sha256"], strict=True), key=lambda pair: pair[0])
            for benchmark, table in self.checked.images.items()
        }
        digests = {name: tables.digests for name, tables in self.checked.annotations.items()}
        return fingerprint([RULES_VERSION, self.settings.model_dump(exclude={"workers"}), digests, images])

    def write(self, folder: Path) -> None:
        """Writes result.json, statistics.json, images.parquet, bad_rows.csv and data_docs/ into a folder."""
        from qure.validation.docs import write_docs
        from qure.validation.thumbnails import thumbnail

        write_json(folder / "result.json", self.result())
        write_json(folder / "statistics.json", self.statistics)
        write_images(folder, self._images())
        self.write_lists(folder)
        write_docs(
            folder / "data_docs",
            training_set=self.training_set,
            success=self.success,
            fingerprint=self.fingerprint(),
            outcomes=self.outcomes,
            findings=self.checked.findings,
            drift=self.drift,
            suites=self.checked.suites,
            picture=lambda benchmark, image: thumbnail(self.checked.stores.get(benchmark), image),
        )

    def _digests(self) -> dict[str, str | None]:
        return {name: digest for tables in self.checked.annotations.values() for name, digest in tables.digests.items()}

    def _images(self) -> Iterator[tuple[str, str, int | None, str | None]]:
        """What later stages compare present images with; a benchmark's images are named like the benchmark."""
        for benchmark, table in self.checked.images.items():
            for image, size, sha256 in zip(table["image"], table["bytes"], table["sha256"], strict=True):
                yield benchmark, image, size, sha256

    def write_lists(self, folder: Path) -> None:
        """Writes bad_rows.csv alone."""
        write_bad_rows(folder / "bad_rows.csv", self.checked.findings)

    def log(self) -> None:
        """Says loudly what was passed over, what warns and what has shifted."""
        for outcome in self.outcomes:
            if outcome.outcome in ("warned", "tolerated"):
                passed_over = "" if outcome.outcome == "warned" else f" (up to {outcome.tolerated} tolerated: left out)"
                reason = RULES[outcome.rule].reason
                rows = counted(outcome.rows, "row")
                logger.warning("%s: %s of %s: %s%s", outcome.benchmark, rows, outcome.rule, reason, passed_over)
        for measure in self.drift:
            if measure["shifted"]:
                logger.warning("shifted data: %s", measure["says"])
        if self.success:
            images = sum(len(table) for table in self.checked.images.values())
            kept = sum(count["kept"] for count in self.queries.values())
            logger.info("%s passed: %d queries, %d images", self.training_set, kept, images)

    def annotation_error(self, data: Path, listed_in: Path) -> BadInput:
        """The one error about broken annotations: the first row, how many more there are, and where they are listed."""
        failures = self.failures("annotation")
        first, more = failures[0], len(failures) - 1
        others = f"; {more} more bad row{'s' if more > 1 else ''}" if more else ""
        return BadInput(
            f"{first.reason}: {first.value}" if first.value else first.reason,
            file=data / first.file,
            row=first.row if first.row != "" else None,
            field=first.field,
            remedy=f"{RULES[first.rule].remedy}{others}. Every bad row is listed in {listed_in}",
        )

    def image_failure(self, listed_in: Path) -> str:
        """What fails the stage when only images do: rule by rule, the first few by name."""
        failures = self.failures("image")
        parts = []
        for outcome in self.outcomes:
            rows = [row for row in failures if (row.benchmark, row.rule) == (outcome.benchmark, outcome.rule)]
            if rows:
                first = "; ".join(f"{row.value} ({row.file}: {row.reason})" for row in rows[:_NAMED])
                more = f"; {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
                allowed = f", {outcome.tolerated} tolerated" if outcome.tolerated else ""
                parts.append(f"{outcome.benchmark}: {len(rows)} x {outcome.rule}{allowed}: {first}{more}")
        remedy = "Mend or replace them, or say in validation.tolerate how many may be left out"
        return f"validation failed. {'. '.join(parts)}. {remedy}. Every bad row is listed in {listed_in}"
