"""Where runs, models and champions are recorded."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator

from qure.config.base import Frozen


class TrackingSettings(Frozen):
    """Where MLflow is (owner: `qure.tracking`).

    Attributes:
        uri: tracking server and registry; the variable MLFLOW_TRACKING_URI wins, so that secrets stay out of files.
            null (or "none") runs without tracking; registering and promoting need it.
        experiment: name of the MLflow experiment.
        artifacts: where a new experiment keeps its artifacts, for example s3://bucket/mlflow; left out, the tracking
            server decides, and a SQLite database keeps them in mlruns/ beside itself.
    """

    #: Where params.yaml lies, when that is not the present folder: a relative path in `uri` is from there.
    _folder: Path | None = PrivateAttr(None)

    uri: str | None = "sqlite:///mlflow.db"
    experiment: str = Field("qure", min_length=1, max_length=200)
    artifacts: str | None = None

    @field_validator("uri")
    @classmethod
    def _is_uri(cls, value: str | None) -> str | None:
        urlsplit(value or "")  # raises ValueError: "Invalid IPv6 URL"
        return value

    @property
    def folder(self) -> Path | None:
        """The folder of the params.yaml that this was read from, when it is not the present one."""
        return self._folder
