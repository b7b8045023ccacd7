"""Workflows that a real Kubeflow Pipelines 2.17.0 has left, and what they would be at other ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[2] / "pipelines" / "recordings" / "workflows"


@pytest.fixture
def recorded() -> Callable[[str], dict[str, Any]]:
    """Reads a recorded Workflow."""

    def read(name: str) -> dict[str, Any]:
        return dict(json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8")))

    return read


@pytest.fixture
def failed(recorded: Callable[[str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The recorded failure, with other words for its end and as the exit handler sees it: itself still at work."""

    def make(message: str = "main: Error (exit code 1)", phase: str = "Failed", **spec: Any) -> dict[str, Any]:
        workflow = recorded("failed")
        workflow["spec"] = spec
        status = workflow["status"]
        status["phase"] = "Running"
        del status["finishedAt"]
        for node in status["nodes"].values():
            name = node["name"]
            if (
                ".onExit" in name
                or name in ("probe-exit-bad-f4nhd", "probe-exit-bad-f4nhd(0)")
                or name.endswith("root")
            ):
                node.update({"phase": "Running"})
                node.pop("finishedAt", None)
            elif "driver" not in node["displayName"] and (".fail" in name or name.endswith(("1", "1(0)"))):
                node["phase"] = phase
                if "message" in node:
                    node["message"] = message
        return workflow

    return make
