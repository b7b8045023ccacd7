"""One MLflow run per stage, nested in one run per pipeline run; a stage that is killed goes on in its own run."""

import contextlib
import hashlib
import logging
import numbers
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.config import TrackingSettings
from qure.tracking import kubeflow
from qure.tracking.connection import connect, every, experiment_id, tracking_uri, translated
from qure.tracking.identity import commit, environment, pipeline_run_id
from qure.tracking.lock import LockLost, RegistryLock, registry_lock
from qure.tracking.pages import NOTE, pipeline_name, pipeline_note, stage_name, stage_note, varied
from qure.tracking.redaction import HIDDEN, is_secret, redacted
from qure.tracking.remedies import first_line
from qure.tracking.retrying import impatient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

logger = logging.getLogger(__name__)

PIPELINE, ROLE, STAGE, TRAINING_SET, RUN_KEY = (
    "qure.pipeline_run",
    "qure.role",
    "qure.stage",
    "qure.training_set",
    "qure.run_key",
)
COMMIT, ERROR, DATA = "qure.commit", "qure.error", "qure.data_fingerprint"
#: A pipeline run's name as qure has given it: another one is a person's, and stays.
GIVEN_NAME, TRAINING_SETS = "qure.name", "qure.training_sets"
PARENT, RUN_NAME, GIT_COMMIT = "mlflow.parentRunId", "mlflow.runName", "mlflow.source.git.commit"

#: Parameters longer than this are logged as their digest.
LONGEST_PARAMETER = 500
_PER_REQUEST = 100
#: The list that `opened_runs` fills.
_OPENED: ContextVar["list[SilentRun] | None"] = ContextVar("opened_runs", default=None)
_METRIC_CHARACTERS = re.compile(r"[^\w.\- :/]")
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
        told = [Metric(metric_name(name), float(value), now, 0) for name, value in metrics.items()]
        self._for_parent("numbers", lambda parent: self._client.log_batch(parent, metrics=told))

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
        told = {name: redacted(value) for name, value in inputs.items()}
        new = [
            DatasetInput(
                Dataset(name, digest=_digest(value), source_type="dvc", source=value),
                [InputTag("fingerprint", value), InputTag("mlflow.data.context", "input")],
            )
            for name, value in told.items()
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
            _settle_parent(self._client, self._run)
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


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys.

    >>> flattened({"negatives": {"rule": "paper"}, "seed": 1})
    {'negatives.rule': 'paper', 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parameter_value(key: str, value: Any) -> str:
    """A parameter as MLflow gets it: hidden when name and value say secret, without credentials, long ones as a digest.

    >>> parameter_value("s3.secret_key", "abc"), parameter_value("uri", "s3://u:p@host/b"), parameter_value("n", 3)
    ('***', 's3://***@host/b', '3')
    >>> parameter_value("ids", "x" * 501)
    'sha256:3ac31d30..., 501 characters'
    """
    text = str(value)
    if is_secret(key, value):
        return HIDDEN
    if len(text) > LONGEST_PARAMETER:
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:8]}..., {len(text)} characters"
    return redacted(text)


def metric_name(name: str) -> str:
    """A metric's name in the characters that MLflow takes.

    >>> metric_name("fashioniq/recall@10 (val)")
    'fashioniq/recall_at_10 _val_'
    """
    return _METRIC_CHARACTERS.sub("_", name.replace("@", "_at_"))


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
    parent = _parent(client, experiment, pipeline, data)
    tags = {PARENT: parent, ROLE: "stage", STAGE: stage, TRAINING_SET: training_set or "", RUN_KEY: run_key or ""}
    earlier = _search(client, experiment, tags)
    if earlier:
        client.update_run(earlier[0].info.run_id, status="RUNNING")
        client.update_run(parent, status="RUNNING")
        _name_parent(client, parent, training_set)
        return StageRun(client, earlier[0], continued=True)
    name = stage_name(stage, training_set, run_key)
    described = tags | _facts(pipeline, data) | {RUN_NAME: name} | ({NOTE: note} if (note := stage_note(stage)) else {})
    run = client.create_run(experiment, tags=described, run_name=name)
    client.update_run(parent, status="RUNNING")
    _name_parent(client, parent, training_set)
    return StageRun(client, run, continued=False)


def _parent(client: "MlflowClient", experiment: str, pipeline: str, data: str) -> str:
    """The pipeline run's own run.

    Stages may start at the same moment on two machines, and MLflow gives every new run a new id: it is made under a
    lock, after a second look.
    """
    tags = {PIPELINE: pipeline, ROLE: "pipeline"}
    found = _search(client, experiment, tags)
    if found:
        return str(found[0].info.run_id)
    with registry_lock(client, f"pipeline-runs.{experiment}", wait=300.0) as lock:
        found = _search(client, experiment, tags)
        if found:
            return str(found[0].info.run_id)
        lock.check()
        facts = tags | _facts(pipeline, data)
        name = pipeline_name([], datetime.now(UTC), facts[COMMIT])
        facts |= {RUN_NAME: name, GIVEN_NAME: name, NOTE: pipeline_note(facts[DATA], facts[COMMIT])}
        own = client.create_run(experiment, tags=facts, run_name=name)
        return _agreed(client, experiment, tags, own.info.run_id, lock)


def _name_parent(client: "MlflowClient", parent: str, training_set: str | None) -> None:
    """Adds a training set to the pipeline run's name, unless a person has named it otherwise."""
    if not training_set:
        return
    run = client.get_run(parent)
    tags = run.data.tags
    if tags.get(RUN_NAME) != tags.get(GIVEN_NAME):
        return
    begun = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    sets = [*tags.get(TRAINING_SETS, "").split(), training_set]
    name = pipeline_name(sets, begun, tags.get(COMMIT, ""))
    if name != tags.get(GIVEN_NAME):
        client.set_tag(parent, TRAINING_SETS, " ".join(sorted(set(sets))))
        client.set_tag(parent, GIVEN_NAME, name)
        client.update_run(parent, name=name)


def _agreed(client: "MlflowClient", experiment: str, tags: dict[str, str], own: str, lock: RegistryLock) -> str:
    """The parent that a process has made, unless it had lost the lock before and another one has made one too."""
    try:
        lock.check()
    except LockLost:
        others = [run.info.run_id for run in _search(client, experiment, tags) if run.info.run_id != own]
        if others:
            client.delete_run(own)
            return str(others[0])
    return own


def _search(client: "MlflowClient", experiment: str, tags: Mapping[str, str]) -> "list[Run]":
    """Active runs with these tags, oldest first."""
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items() if value)
    found = every(client.search_runs, [experiment], condition, order_by=["attributes.start_time ASC"], max_results=1000)
    # MLflow cannot search for the absence of a tag.
    same = [run for run in found if all(run.data.tags.get(key, "") == value for key, value in tags.items())]
    return sorted(same, key=lambda run: (run.info.start_time, run.info.run_id))


def _facts(pipeline: str, data: str) -> dict[str, str]:
    code = commit()
    facts = {PIPELINE: pipeline, COMMIT: code, DATA: redacted(data)}
    facts |= {f"environment.{name}": value for name, value in environment().items()}
    if re.match(r"[0-9a-f]{40}\b", code):
        facts[GIT_COMMIT] = code[:40]
    return facts


def _settle_parent(client: "MlflowClient", run: "Run") -> None:
    """The pipeline run's status follows from its stages': failed if one has failed, running while one runs."""
    parent = run.data.tags[PARENT]
    condition = f"tags.`{PARENT}` = '{parent}' and tags.`{ROLE}` = 'stage'"
    for status in ("RUNNING", "FAILED", "KILLED"):
        one_such = f"{condition} and attributes.status = '{status}'"
        if client.search_runs([run.info.experiment_id], one_such, max_results=1):
            break
    else:
        status = "FINISHED"
    if status == "RUNNING":
        client.update_run(parent, status=status)
    else:
        client.set_terminated(parent, status)


def _digest(value: str) -> str:
    """At most 36 characters, as MLflow wants a dataset's digest: a DVC md5 fits whole.

    >>> _digest("md5:39543f124e4c7d03705ab90e9d7bde28.dir")
    '39543f124e4c7d03705ab90e9d7bde28.dir'
    >>> _digest("md5:39543f124e4c7d03705ab90e9d7bde28.dir+changed:0a1b2c3d")
    '39543f124e4c7d03705ab90e9d7+0a1b2c3d'
    """
    value, _, changed = value.partition("+changed:")
    whole = value.partition(":")[2] or value
    return f"{whole[:27]}+{changed}" if changed else whole[:36]
