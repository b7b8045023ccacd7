"""One MLflow run per stage, nested in one run per pipeline run; a stage that is killed goes on in its own run."""

import contextlib
import logging
import numbers
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.config import TrackingSettings
from qure.tracking import kubeflow, pipeline_runs
from qure.tracking.connection import connect, experiment_id, tracking_uri, translated
from qure.tracking.entries import dataset_digest, flattened, metric_name, parameter_value
from qure.tracking.identity import pipeline_run_id
from qure.tracking.pages import NOTE, stage_name, stage_note, varied
from qure.tracking.redaction import redacted
from qure.tracking.remedies import first_line
from qure.tracking.retrying import impatient
from qure.tracking.tags import ERROR, PARENT, ROLE, RUN_KEY, RUN_NAME, STAGE, TRAINING_SET

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

logger = logging.getLogger(__name__)


_PER_REQUEST = 100
#: The list that `opened_runs` fills.
_OPENED: ContextVar["list[SilentRun] | None"] = ContextVar("opened_runs", default=None)
#: Seconds without another attempt after a failed one: a training must not wait for a server that is down.
_PAUSE_AFTER_FAILURE = 60.0


class SilentRun:
    """What `stage_run` yields when tracking is switched off: takes everything, keeps nothing."""

    run_id: str | None = None
    experiment_id: str | None = None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes numbers by name."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Takes parameters, nested mappings too."""

    def log_headline(self, metrics: Mapping[str, float]) -> None:
        """Takes the numbers that its pipeline run shows."""

    def log_inputs(self, inputs: Mapping[str, str]) -> None:
        """Takes fingerprints by name."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Takes a file or a folder."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Takes tags."""


class StageRun(SilentRun):
    """An open MLflow run of one stage.

    When the tracking server goes away while a stage works, the stage does not fail: metrics and tags wait and are
    sent with a later call or at the end; what cannot be sent then is counted in a warning.
    """

    def __init__(self, client: "MlflowClient", run: "Run", *, continued: bool) -> None:
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self._client, self._run = client, run
        self._logged: dict[str, set[tuple[int, float]]] | None = {} if continued else None
        self._waiting: list[Metric] = []
        self._waiting_tags: dict[str, str] = {}
        self._lost = 0
        self._try_again_at = 0.0

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers by name; characters that MLflow refuses are replaced ("recall@10" -> "recall_at_10").

        A run that goes on after a kill does not log a step's value twice.

        Raises:
            TypeError: a value is not a number.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in metrics.items():
            if not isinstance(value, numbers.Real):
                raise TypeError(f"metric {name!r} is not a number: {value!r}")
            self._waiting.append(Metric(metric_name(name), float(value), now, step or 0))
        self._send()

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Logs parameters, nested mappings flattened ("negatives.rule"), secrets hidden, long values as digests.

        MLflow never changes a parameter. One that differs from an earlier attempt's is told in a warning and a tag.
        """
        from mlflow.entities import Param

        self._show_varied(parameters)
        earlier = self._run.data.params
        wanted = {key: parameter_value(key, value) for key, value in flattened(parameters).items()}
        changed = {key: value for key, value in wanted.items() if earlier.get(key, value) != value}
        if changed:
            logger.warning(
                "this run was begun with other values of %s; MLflow keeps the first ones", ", ".join(sorted(changed))
            )
            self.set_tags({f"qure.changed.{key}": value for key, value in changed.items()})
        new = [Param(key, value) for key, value in wanted.items() if key not in earlier]
        for start in range(0, len(new), _PER_REQUEST):
            self._client.log_batch(self.run_id, params=new[start : start + _PER_REQUEST])

    def log_headline(self, metrics: Mapping[str, float]) -> None:
        """Logs numbers on the pipeline run, so that MLflow's table compares pipeline runs by them."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        logged = [Metric(metric_name(name), float(value), now, 0) for name, value in metrics.items()]
        self._for_parent("numbers", lambda parent: self._client.log_batch(parent, metrics=logged))

    def _show_varied(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        tags = self._run.data.tags
        shown = varied(tags[STAGE], tags.get(TRAINING_SET), flattened(parameters))

        def log(parent: str) -> None:
            known = self._client.get_run(parent).data.params
            new = [Param(key, parameter_value(key, value)) for key, value in shown.items() if key not in known]
            if new:
                self._client.log_batch(parent, params=new)

        if shown:
            self._for_parent("parameters", log)

    def _for_parent(self, what: str, log: "Callable[[str], None]") -> None:
        """For people: what cannot be shown there is in the stage's own run."""
        try:
            log(self._run.data.tags[PARENT])
        except Exception as error:
            logger.warning("the pipeline run does not show this stage's %s: %s", what, first_line(error))

    def log_inputs(self, inputs: Mapping[str, str]) -> None:
        """Logs what the stage reads as MLflow datasets: the whole fingerprint is the tag `fingerprint`."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        known = {
            (one.dataset.name, tag.value)
            for one in (self._run.inputs.dataset_inputs if self._run.inputs else [])
            for tag in one.tags
            if tag.key == "fingerprint"
        }
        fingerprints = {name: redacted(value) for name, value in inputs.items()}
        new = [
            DatasetInput(
                Dataset(name, digest=dataset_digest(value), source_type="dvc", source=value),
                [InputTag("fingerprint", value), InputTag("mlflow.data.context", "input")],
            )
            for name, value in fingerprints.items()
            if (name, value) not in known
        ]
        if new:
            self._client.log_inputs(self.run_id, datasets=new)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copies a file, or what is in a folder, to the run's artifacts, below `folder` there."""
        # A server that is known to be away is not waited for again with every file.
        client = impatient(self._client) if time.monotonic() < self._try_again_at else self._client
        try:
            if Path(path).is_dir():
                client.log_artifacts(self.run_id, str(path), folder)
            else:
                client.log_artifact(self.run_id, str(path), folder)
        except FileNotFoundError:
            raise
        except Exception as error:
            self._lost += 1
            logger.warning("MLflow did not take %s: %s", path, first_line(error))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; secrets are hidden."""
        self._waiting_tags |= {key: redacted(str(value))[:5000] for key, value in tags.items()}
        self._send()

    def _finish(self, status: str, error: BaseException | None = None) -> None:
        """Sends what waits and closes the run. Never raises: the stage's own outcome stands."""
        if error is not None:
            self._waiting_tags[ERROR] = first_line(error)
        self._send(wait=True)
        try:
            if error is None and ERROR in self._run.data.tags:
                self._client.delete_tag(self.run_id, ERROR)
            self._client.set_terminated(self.run_id, status)
            pipeline_runs.settle(self._client, self._run)
        except Exception as problem:
            logger.warning("MLflow run %s could not be closed: %s", self.run_id, first_line(problem))
        unsent = self._lost + len(self._waiting) + len(self._waiting_tags)
        if unsent:
            logger.warning("%d metrics, tags or artifacts did not reach MLflow run %s", unsent, self.run_id)

    def _send(self, *, wait: bool = False) -> None:
        """Sends what waits: at once or later in the midst of work, with patience at the end (`wait`)."""
        from mlflow.entities import RunTag

        if not wait and time.monotonic() < self._try_again_at:
            return
        client = self._client if wait else impatient(self._client)
        try:
            metrics = self._not_yet_logged(client, self._waiting)
            for start in range(0, len(metrics), _PER_REQUEST):
                client.log_batch(self.run_id, metrics=metrics[start : start + _PER_REQUEST])
            self._waiting = []
            tags = [RunTag(key, value) for key, value in self._waiting_tags.items()]
            for start in range(0, len(tags), _PER_REQUEST):
                client.log_batch(self.run_id, tags=tags[start : start + _PER_REQUEST])
            self._waiting_tags = {}
        except Exception as error:
            self._try_again_at = time.monotonic() + _PAUSE_AFTER_FAILURE
            logger.warning("MLflow does not answer, its entries wait: %s", first_line(error))

    def _not_yet_logged(self, client: "MlflowClient", metrics: "list[Metric]") -> "list[Metric]":
        if self._logged is None:
            return metrics
        for key in {metric.key for metric in metrics} - self._logged.keys():
            history = client.get_metric_history(self.run_id, key)
            self._logged[key] = {(one.step, one.value) for one in history}
        return [metric for metric in metrics if (metric.step, metric.value) not in self._logged[metric.key]]


@contextlib.contextmanager
def stage_run(
    settings: TrackingSettings,
    *,
    stage: str,
    training_set: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    run_key: str | None = None,
    pipeline: str | None = None,
) -> Iterator[SilentRun]:
    """The MLflow run of one stage, nested in its pipeline run's; `StageRun`, or `SilentRun` without tracking.

    Leaving the block ends the run: FINISHED, FAILED with the error's first line, or KILLED by an interrupt. After
    kill -9 it stays RUNNING, and the same stage of the same pipeline run goes on in it.

    Args:
        settings: where MLflow is.
        stage: for example "train".
        training_set: "fashioniq", "cirr", or None for a stage that serves both.
        parameters: what the stage depends on; nested mappings are flattened.
        inputs: name -> fingerprint of what it reads; "data" is the data root's.
        run_key: tells apart runs of one stage in one pipeline run, for example a shard or a seed.
        pipeline: id of the pipeline run. Left out: the variable QURE_PIPELINE_RUN, else the same code and data are
            the same pipeline run. Whoever knows all settings should pass `pipeline_run_id(...)`.

    Raises:
        StageFailed, BadInput: the tracking server cannot be reached or used; says what to do.
    """
    uri = tracking_uri(settings)
    if uri is None:
        yield SilentRun()
        return
    inputs = dict(inputs or {})
    with translated(uri):
        client = connect(settings)
        run = _open(client, settings, stage, training_set, run_key, pipeline, inputs.get("data", ""))
        run.log_parameters(parameters or {})
        run.log_inputs(inputs)
        parent = run._run.data.tags[PARENT]
        if theirs := kubeflow.tags():
            run.set_tags(theirs)
            kubeflow.tie(client, run.run_id, parent, uri)
        # pipelines' exit handler finds the run by this line.
        logger.info("MLflow: %s is run %s in run %s of experiment %s", stage, run.run_id, parent, run.experiment_id)
    opened = _OPENED.get()
    if opened is not None:
        opened.append(run)
    try:
        yield run
    except BaseException as error:
        run._finish("FAILED" if isinstance(error, Exception) else "KILLED", error)
        raise
    run._finish("FINISHED")


@contextlib.contextmanager
def opened_runs() -> Iterator[list[SilentRun]]:
    """The runs that stages open inside the block, oldest first: what a page links to when the stage is over."""
    opened: list[SilentRun] = []
    before = _OPENED.set(opened)
    try:
        yield opened
    finally:
        _OPENED.reset(before)


def _open(
    client: "MlflowClient",
    settings: TrackingSettings,
    stage: str,
    training_set: str | None,
    run_key: str | None,
    pipeline: str | None,
    data: str,
) -> StageRun:
    """The stage's run: the one that an earlier attempt has begun, else a new one."""
    pipeline = pipeline or pipeline_run_id(None, data)
    experiment = experiment_id(client, settings)
    parent = pipeline_runs.find_or_create(client, experiment, pipeline, data)
    tags = {PARENT: parent, ROLE: "stage", STAGE: stage, TRAINING_SET: training_set or "", RUN_KEY: run_key or ""}
    earlier = pipeline_runs.find_runs(client, experiment, tags)
    if earlier:
        client.update_run(earlier[0].info.run_id, status="RUNNING")
        client.update_run(parent, status="RUNNING")
        pipeline_runs.name_after(client, parent, training_set)
        return StageRun(client, earlier[0], continued=True)
    name = stage_name(stage, training_set, run_key)
    described = tags | pipeline_runs.facts_of(pipeline, data) | {RUN_NAME: name}
    if note := stage_note(stage):
        described[NOTE] = note
    run = client.create_run(experiment, tags=described, run_name=name)
    client.update_run(parent, status="RUNNING")
    pipeline_runs.name_after(client, parent, training_set)
    return StageRun(client, run, continued=False)
