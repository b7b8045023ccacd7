"""Ends of runs, out of recorded Workflows."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.argo.workflow import ending, nodes

NOW = datetime(2026, 11, 27, 8, 7, 50, tzinfo=UTC)


def test_a_failed_task_is_named_with_its_pod(recorded: Callable[[str], dict[str, Any]]) -> None:
    found = ending(recorded("failed"))
    assert (found.state, found.seconds) == ("FAILED", 60)
    (task,) = found.broken
    assert (task.name, task.message, task.attempts) == ("fail", "main: Error (exit code 1)", 1)
    assert task.pod == "probe-exit-bad-f4nhd-system-container-impl-3801720876"
    assert [(one.name, one.state, one.is_handler) for one in found.tasks] == [
        ("fail", "FAILED", False),
        ("say", "SUCCEEDED", True),
    ]


def test_compressed_nodes_are_read(recorded: Callable[[str], dict[str, Any]]) -> None:
    workflow = recorded("training-compressed-nodes")
    assert "nodes" not in workflow["status"]
    assert len(nodes(workflow)) == 131
    found = ending(workflow)
    assert (found.state, found.seconds, found.broken) == ("SUCCEEDED", 384, ())
    names = [task.name for task in found.tasks]
    assert len(names) == 17
    assert names.count("precompute-embeddings") == 2
    assert names[-1] == "report-outcome"
    assert all(task.attempts == 1 and task.state == "SUCCEEDED" for task in found.tasks)


@pytest.mark.parametrize(
    ("message", "phase", "spec", "state"),
    [
        ("main: Error (exit code 1)", "Failed", {}, "FAILED"),
        ("main: Error (exit code 1)", "Failed", {"activeDeadlineSeconds": 172800}, "FAILED"),
        ("pod deleted", "Error", {}, "FAILED"),
        ("main: OOMKilled (exit code 137)", "Failed", {}, "OUT OF MEMORY"),
        ("Pod was active on the node longer than the specified deadline", "Failed", {}, "TIMED OUT"),
        ("main: Error (exit code 143)", "Failed", {"activeDeadlineSeconds": 0}, "STOPPED"),
        ("main: Error (exit code 143)", "Failed", {"shutdown": "Terminate"}, "STOPPED"),
        ("main: Error (exit code 143)", "Failed", {"activeDeadlineSeconds": 30}, "TIMED OUT"),
        ("", "Succeeded", {}, "SUCCEEDED"),
    ],
)
def test_how_a_run_ended_as_its_exit_handler_sees_it(
    failed: Callable[..., dict[str, Any]], message: str, phase: str, spec: dict[str, Any], state: str
) -> None:
    found = ending(failed(message, phase, **spec), NOW)
    assert (found.state, found.seconds) == (state, 57)
    assert [task.name for task in found.broken] == ([] if state == "SUCCEEDED" else ["fail"])
    assert next(task for task in found.tasks if task.is_handler).state == "RUNNING"


def test_a_success_from_the_cache_is_one(failed: Callable[..., dict[str, Any]]) -> None:
    """Kubeflow's own status says RUNNING of it. A task that the cache serves has no pod."""
    workflow = failed("", "Succeeded")
    for key, node in list(workflow["status"]["nodes"].items()):
        if ".fail(0).executor" in node["name"]:
            del workflow["status"]["nodes"][key]
    found = ending(workflow, NOW)
    assert found.state == "SUCCEEDED"
    assert next((task.name, task.pod, task.attempts) for task in found.tasks) == ("fail", "", 0)


def test_attempts_are_counted_and_the_last_decides(failed: Callable[..., dict[str, Any]]) -> None:
    workflow = failed("", "Succeeded")
    found_nodes = workflow["status"]["nodes"]
    key, pod = next((key, one) for key, one in found_nodes.items() if one["name"].endswith("fail(0).executor(0)"))
    second = copy.deepcopy(pod) | {"name": pod["name"][:-2] + "1)", "displayName": "executor(1)", "id": f"{key}7"}
    pod |= {"phase": "Failed", "message": "main: Error (exit code 1)"}
    second["startedAt"] = "2026-11-27T08:07:29Z"
    found_nodes[second["id"]] = second
    task = ending(workflow, NOW).tasks[0]
    assert (task.state, task.attempts, task.pod.endswith("38017208767")) == ("SUCCEEDED", 2, True)


def test_a_driver_that_fails_is_named(failed: Callable[..., dict[str, Any]]) -> None:
    """An account without rights: the first driver fails, and no task of the pipeline ever begins."""
    workflow = failed("", "Succeeded")
    for key, node in list(workflow["status"]["nodes"].items()):
        if ".fail(0)" in node["name"] or node["displayName"] in ("fail", "fail(0)"):
            del workflow["status"]["nodes"][key]
        elif node["displayName"].startswith("fail-driver"):
            node |= {"phase": "Failed", "message": "main: Error (exit code 1)"}
        elif node["displayName"] in ("exit-handler-1", "exit-handler-1(0)"):
            node["phase"] = "Failed"
    found = ending(workflow, NOW)
    assert found.state == "FAILED"
    assert [task.name for task in found.broken] == ["fail-driver"]
    assert found.broken[0].pod == "probe-exit-bad-f4nhd-system-container-driver-2375021295"


def test_a_driver_whose_second_attempt_succeeds_has_not_failed(recorded: Callable[[str], dict[str, Any]]) -> None:
    workflow = recorded("training-compressed-nodes")
    every = nodes(workflow)
    key, pod = next((key, one) for key, one in every.items() if one["displayName"].endswith("-driver(0)"))
    second = copy.deepcopy(pod) | {"name": pod["name"][:-2] + "1)", "id": f"{key}7"}
    every[second["id"]] = second
    pod |= {"phase": "Error", "message": "pod deleted"}
    del workflow["status"]["compressedNodes"]
    workflow["status"]["nodes"] = every
    found = ending(workflow)
    assert (found.state, found.broken, len(found.tasks)) == ("SUCCEEDED", (), 17)


@pytest.mark.parametrize(
    ("phases", "state"),
    [
        ({"status": "Error"}, "FAILED"),  # before any task: the Workflow itself cannot go on
        ({"exit-handler-1": "Failed"}, "FAILED"),
        ({"exit-handler-1": "Running"}, "RUNNING"),
        ({}, "SUCCEEDED"),
    ],
)
def test_where_no_task_has_failed_the_level_decides(
    failed: Callable[..., dict[str, Any]], phases: dict[str, str], state: str
) -> None:
    workflow = failed("", "Succeeded")
    workflow["status"]["phase"] = phases.get("status", "Running")
    for node in workflow["status"]["nodes"].values():
        if node["displayName"] in phases:
            node["phase"] = phases[node["displayName"]]
    assert ending(workflow, NOW).state == state


def test_a_pod_is_named_as_argo_is_configured_to(recorded: Callable[[str], dict[str, Any]]) -> None:
    workflow = recorded("failed")
    workflow["metadata"]["annotations"] = {"workflows.argoproj.io/pod-name-format": "v1"}
    (task,) = ending(workflow).broken
    assert task.pod in workflow["status"]["nodes"]
    assert workflow["status"]["nodes"][task.pod]["name"].endswith("fail(0).executor(0)")


@pytest.mark.parametrize(("status", "words"), [({}, "no nodes yet"), ({"offloadNodeStatusVersion": "1"}, "database")])
def test_nodes_that_are_not_there(status: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ending({"metadata": {"name": "x"}, "status": status})
