"""A tracking database of the test's own, and what was recorded in it."""

from collections.abc import Callable
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.tracking import connect
from qure.tracking.tags import ROLE


@pytest.fixture
def settings(sqlite_uri: str) -> TrackingSettings:
    """Tracking in a database that exists already."""
    return TrackingSettings(uri=sqlite_uri)


@pytest.fixture
def recorded() -> Callable[..., list[Any]]:
    """(settings, role) -> the MLflow runs of that role, newest first; all of them without a role."""

    def find(settings: TrackingSettings, role: str | None = None) -> list[Any]:
        client = connect(settings)
        experiment = client.get_experiment_by_name(settings.experiment)
        found = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
        return [run for run in found if role is None or run.data.tags[ROLE] == role]

    return find
