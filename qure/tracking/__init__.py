"""MLflow runs: one parent run per pipeline run, one nested run per stage.

>>> with stage_run(settings.tracking, stage="train", training_set="fashioniq") as run:  # doctest: +SKIP
...     run.log_metrics({"loss": 0.3}, step=1)

MLflow itself (seconds to import) is imported when a run starts, and never where tracking is switched off.
"""

from qure.tracking.connection import connect, tracking_uri
from qure.tracking.identity import commit, data_fingerprint, environment, pipeline_run_id, repository
from qure.tracking.lock import LockLost, RegistryLock, registry_lock
from qure.tracking.redaction import redacted
from qure.tracking.runs import SilentRun, StageRun, opened_runs, stage_run

__all__ = [
    "LockLost",
    "RegistryLock",
    "SilentRun",
    "StageRun",
    "commit",
    "connect",
    "data_fingerprint",
    "environment",
    "opened_runs",
    "pipeline_run_id",
    "redacted",
    "registry_lock",
    "repository",
    "stage_run",
    "tracking_uri",
]
