"""No library reports usage to anyone: asked of the libraries themselves, in a process where nothing is set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

ASK = """
import qure.cli
from qure.tracking.connection import quiet_environment

quiet_environment()
from mlflow.telemetry.utils import is_telemetry_disabled
from dvc import analytics
from huggingface_hub import constants
from qure.validation.run import _context

import os

by_command = analytics.is_enabled()
os.environ.pop("DVC_NO_ANALYTICS")
print(is_telemetry_disabled(), _context().config.analytics_enabled, by_command, analytics.is_enabled(),
      constants.HF_HUB_DISABLE_TELEMETRY)
"""


@pytest.mark.integration
def test_usage_reports_are_off() -> None:
    """DVC's also by the repository's own settings, which `dvc repro` reads without `qure`.

    Great Expectations 1.24 sends nothing of itself any more; earlier ones ask the setting of the context.
    """
    quiet = ("DVC_", "MLFLOW_", "GX_", "HF_", "DO_NOT_TRACK", "CI", "GITHUB_", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(quiet)}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.split() == ["True", "False", "False", "False", "True"]
