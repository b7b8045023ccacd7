"""Design decision 4: whether a challenger becomes champion, decided under a lock on what is true at that moment."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.evaluation.findings import collapses
from qure.evaluation.statistics.results import Evaluation
from qure.models.manifest import read_manifest
from qure.registry.champions import Champions
from qure.registry.comparison import compare, missed_thresholds
from qure.registry.evaluations import (
    EvaluationLost,
    attach,
    count_judged,
    download_evaluation,
    key_of,
    read_evaluations,
)
from qure.registry.history import PROMOTED, accumulated_loss, barred
from qure.registry.names import how_to_promote, registered_name
from qure.registry.packaging import MODEL, answers
from qure.registry.registration import FINGERPRINT
from qure.scratch import scratch_folder
from qure.tracking.remedies import first_line
from qure.tracking.retrying import download

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from qure.tracking import RegistryLock

logger = logging.getLogger(__name__)

#: How often the champion may change, each time to one that was not asked the same, before a promotion gives up.
ROUNDS = 5


@dataclass(frozen=True)
class Decision:
    """How a promotion ended.

    Attributes:
        outcome: what happened.
        reason: why, in a sentence.
        version: the challenger.
        champion_before: who was champion when it was decided; None for nobody.
        checks: what was checked, as JSON.
        comparison: challenger against champion, as JSON; None when there was none.
        compared_with: the version that it was compared with: the champion, or the last one where there is none.
        note: what the measured score is worth, in a sentence; empty where there is nothing to say.
    """

    outcome: Literal["promoted", "champion already", "refused"]
    reason: str
    version: int
    champion_before: int | None
    checks: dict[str, Any] = field(default_factory=dict)
    comparison: dict[str, Any] | None = None
    compared_with: int | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the challenger is champion now."""
        return self.outcome != "refused"

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"promoted": self.outcome == "promoted"}


class Promotion:
    """A challenger's way to the alias `champion`.

    Args:
        client: of the registry.
        settings: `promotion` and `evaluation` are read.
        training_set: "fashioniq" or "cirr".
        evaluations: benchmark -> the challenger's evaluation on the present data.
        reevaluate: evaluates a model folder on the present data; None where that cannot be done.
        scratch: folder for downloads.
        run: the MLflow run that decides.
    """

    def __init__(
        self,
        client: "MlflowClient",
        settings: Settings,
        training_set: str,
        evaluations: Mapping[str, Evaluation],
        reevaluate: Callable[[Path, Path], None] | None,
        scratch: Path,
        run: str = "",
    ) -> None:
        self._client, self._settings, self._training_set = client, settings, training_set
        self._evaluations, self._reevaluate, self._scratch = evaluations, reevaluate, scratch
        self._name = registered_name(training_set)
        self._champions = Champions(client, self._name, command=f"qure promote --training-set {training_set}", run=run)
        self._benchmark = training_set
        self._key = key_of(evaluations, training_set)

    def decide(self, number: int, evaluation: Path) -> Decision:
        """Checks a version and, when it passes, makes it champion.

        Args:
            number: the challenger's version.
            evaluation: the folder that its evaluations were read from; kept with the version.

        Raises:
            BadInput: no such version, or it holds another model than the one that was evaluated.
            StageFailed: the champion kept changing, or cannot be evaluated again.
        """
        version = self._champions.version(number, remedy=how_to_promote(self._training_set))
        self._require_same_model(version)
        attach(self._client, version, evaluation, self._evaluations, self._key)
        objection, checks = self._objection(version)
        for _ in range(ROUNDS):
            with self._champions.lock() as lock:
                champion = self._champions.settle(lock)
                objection, checks = self._barred(number, objection, checks)
                if champion == number:
                    return self._already(number, objection, checks)
                if objection is not None:
                    return Decision("refused", objection, number, champion, checks)
                to_beat = self._champions.to_beat()
                if to_beat is None or to_beat == number:
                    return self._unopposed(lock, number, to_beat, checks)
                rival, lost = self._evaluation_of(to_beat)
                if rival is not None:
                    return self._against(lock, number, champion, to_beat, rival, checks)
            # Without the lock: it can take hours, and whoever is champion afterwards is looked up again.
            if self._reevaluate is None:
                which = f"the champion, version {to_beat},"
                why = f"{lost}. It" if lost else f"{which} was judged on other data and"
                reason = f"{why} cannot be evaluated again here: {self._way_out(to_beat)}"
                return Decision("refused", reason, number, champion, checks, compared_with=to_beat)
            self._judge_again(self._champions.version(to_beat), self._reevaluate)
        raise StageFailed(f"{self._name}: the champion changed {ROUNDS} times meanwhile. Start the command again")

    def _unopposed(self, lock: "RegistryLock", number: int, to_beat: int | None, checks: dict[str, Any]) -> Decision:
        why = "there was no champion"
        if to_beat is not None:
            why += ", and it was the last one"
        self._champions.crown(lock, number, previous=self._before(number), reason=PROMOTED, why=why)
        return Decision("promoted", why, number, None, checks)

    def _before(self, number: int) -> int | None:
        """Who was champion before a version that was champion already."""
        return next((one.previous for one in reversed(self._champions.history()) if one.version == number), None)

    def _evaluation_of(self, number: int) -> tuple[Evaluation | None, str]:
        """The evaluation to compare with; None and why, where it is lost: then it is made again."""
        try:
            return download_evaluation(self._client, self._champions.version(number), self._benchmark, self._key), ""
        except EvaluationLost as error:
            logger.warning("%s", error)
            return None, str(error)

    def _way_out(self, number: int) -> str:
        training_set = self._training_set
        return (
            f"promote from a checkout with data and artifacts (qure promote --training-set {training_set}); or, if "
            f"version {number} is not to be champion any more: qure rollback --training-set {training_set}"
        )

    def _barred(self, number: int, objection: str | None, checks: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Whether the version was rolled back: a person's word, looked up under the lock."""
        left = barred(self._champions.history()).get(number)
        checks = checks | {"rolled_back": left.at if left else None}
        if objection is None and left is not None:
            lift = f"qure rollback --training-set {self._training_set} --to-version {number}"
            objection = f"it was rolled back at {left.at}; to make it champion again: {lift}"
        return objection, checks

    def _against(
        self,
        lock: "RegistryLock",
        number: int,
        champion: int | None,
        to_beat: int,
        rival: Evaluation,
        checks: dict[str, Any],
    ) -> Decision:
        logger.info(
            "%s: comparing version %d with the champion, version %d, query by query", self._name, number, to_beat
        )
        outcome = compare(
            self._settings,
            self._training_set,
            self._evaluations[self._benchmark],
            rival,
            lost=accumulated_loss(self._champions.history(), to_beat, self._settings.promotion.window),
            judged=count_judged(self._client, self._name, self._key),
        )
        checks = checks | {"not_worse": outcome.risk <= outcome.max_risk, "loss": outcome.loss <= outcome.max_loss}
        reason = outcome.sentence()
        if champion is None:
            reason = f"there is no champion; version {to_beat} was the last one: {reason}"
        if outcome.passed:
            self._champions.crown(
                lock, number, previous=to_beat, reason=PROMOTED, why=reason, difference=outcome.paired.difference
            )
        return Decision(
            "promoted" if outcome.passed else "refused",
            reason,
            number,
            champion,
            checks,
            outcome.record(),
            compared_with=to_beat,
            note=outcome.note(),
        )

    def _already(self, number: int, objection: str | None, checks: dict[str, Any]) -> Decision:
        """Nobody loses the alias by being promoted again; that it would not be promoted today must not go unnoticed."""
        reason = "it is champion already"
        if objection is not None:
            logger.warning(
                "%s: the champion, version %d, would not be promoted today: %s", self._name, number, objection
            )
            reason += f", but would not be promoted today: {objection}"
        return Decision("champion already", reason, number, number, checks)

    def _objection(self, version: "ModelVersion") -> tuple[str | None, dict[str, Any]]:
        """The first thing that bars a version whoever is champion, and what was checked."""
        missed, thresholds = missed_thresholds(self._settings, self._training_set, self._evaluations)
        problem = self._loading_problem(version)
        collapsed = collapses(self._evaluations.values())
        checks = {
            "loads": problem is None,
            "collapsed": [f"{one.benchmark}: {one.label}" for one in collapsed],
            "thresholds": thresholds,
        }
        if problem is not None:
            return problem, checks
        if collapsed and self._settings.promotion.refuse_collapsed:
            said = "; ".join(f"{one.benchmark}: {one.says}" for one in collapsed)
            return f"{said}. To mend it: {collapsed[0].remedy}", checks
        if missed:
            return "; ".join(missed), checks
        return None, checks

    def _loading_problem(self, version: "ModelVersion") -> str | None:
        logger.info("%s: loading version %s from the registry and asking it a query", self._name, version.version)
        with scratch_folder(self._scratch) as folder:
            try:
                package = self._download(version, "", folder)
                answers(package, environment=self._settings.promotion.environment, scratch=folder)
            except StageFailed as error:
                return str(error)
        return None

    def _judge_again(self, champion: "ModelVersion", reevaluate: Callable[[Path, Path], None]) -> None:
        logger.info("%s: evaluating the champion, version %s, on the present data", self._name, champion.version)
        with scratch_folder(self._scratch) as folder:
            try:
                model, output = self._download(champion, MODEL, folder), folder / "evaluation"
            except StageFailed as error:
                raise StageFailed(
                    f"{error}. So the champion cannot be evaluated again. Bring its files back, where artifacts/ still "
                    f"holds this model: dvc repro --single-item --force register@{self._training_set}; or make another "
                    f"version champion: qure rollback --training-set {self._training_set}"
                ) from None
            reevaluate(model, output)
            # Not from the version's tag, which a person can edit or delete on its page.
            found = read_evaluations(output, self._training_set, read_manifest(model)["fingerprint"])
            if key_of(found, self._training_set) != self._key:
                raise StageFailed(
                    f"{self._name}: the champion was evaluated again, and was not asked what the challenger was asked. "
                    "Evaluate the challenger on the same data and with the same settings"
                )
            attach(self._client, champion, output, found, self._key)

    def _download(self, version: "ModelVersion", inside: str, folder: Path) -> Path:
        uri = f"models:/{self._name}/{version.version}/{inside}".rstrip("/")
        try:
            return download(uri, folder)
        except Exception as error:
            raise StageFailed(f"{uri} cannot be downloaded: {first_line(error)}") from error

    def _require_same_model(self, version: "ModelVersion") -> None:
        evaluated = self._evaluations[self._benchmark].details.get("model")
        held = version.tags.get(FINGERPRINT)
        if held != evaluated:
            raise BadInput(
                f"{self._name} version {version.version} holds the model {held}, evaluated was {evaluated}",
                remedy="Register the model that was evaluated: qure register",
            )
