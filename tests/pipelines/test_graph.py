"""How deep the pipelines' graphs are, and how many edges they have.

On Kubeflow each level of a chain takes about 20 s whatever it does, 10 s from the cache
(docs/runbook.md, What a run costs).
"""

import copy
from typing import Any

import pytest
import yaml

from pipelines.compiling import COMPILED

#: Levels of the longest chain: tasks, and a loop's own level; the exit handler is none.
LEVELS = {"training": 8, "evaluate_champion": 5, "ablation": 6}
EDGES = {"training": 27, "evaluate_champion": 14, "ablation": 11}
HANDLED = "comp-exit-handler-1"


@pytest.fixture(params=list(LEVELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def spec(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(yaml.safe_load_all((COMPILED / f"{name}.yaml").read_text()))
    return found


def before(task: dict[str, Any]) -> set[str]:
    """The tasks of its own level that a task waits for."""
    producers = {
        one[kind]["producerTask"]
        for inputs in task.get("inputs", {}).values()
        for one in inputs.values()
        for kind in ("taskOutputArtifact", "taskOutputParameter")
        if kind in one
    }
    return producers | set(task.get("dependentTasks", []))


def longest_chain(spec: dict[str, Any], component: str = HANDLED) -> list[str]:
    """Names along the longest chain, a loop's own name before those inside it."""
    tasks = spec["components"][component]["dag"]["tasks"]

    def ending_with(name: str) -> list[str]:
        inside = tasks[name]["componentRef"]["name"]
        own = [name] + (longest_chain(spec, inside) if "dag" in spec["components"][inside] else [])
        return max((ending_with(one) for one in before(tasks[name])), key=len, default=[]) + own

    return max(map(ending_with, tasks), key=len)


def edges(spec: dict[str, Any]) -> int:
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    return sum(len(before(task)) for dag in dags for task in dag["tasks"].values())


def test_the_longest_chain_is_as_short_as_it_was(name: str, spec: dict[str, Any]) -> None:
    chain = longest_chain(spec)
    assert len(chain) <= LEVELS[name], chain
    assert any(one.startswith("for-loop") for one in chain), "the loop's own level is counted"


def test_the_graph_has_no_more_edges_than_it_had(name: str, spec: dict[str, Any]) -> None:
    assert edges(spec) <= EDGES[name]


def test_a_task_behind_the_last_one_is_counted(name: str, spec: dict[str, Any]) -> None:
    longer = copy.deepcopy(spec)
    tasks = longer["components"][HANDLED]["dag"]["tasks"]
    last = longest_chain(spec)[-1]
    tasks["one-more"] = tasks[last] | {"dependentTasks": [last], "inputs": {}}
    assert len(longest_chain(longer)) == len(longest_chain(spec)) + 1
    assert edges(longer) == edges(spec) + 1


def test_what_waits_for_nothing_of_the_longest_chain_does_not_lengthen_it(name: str, spec: dict[str, Any]) -> None:
    wider = copy.deepcopy(spec)
    tasks = wider["components"][HANDLED]["dag"]["tasks"]
    tasks["beside"] = tasks["resolve-inputs"] | {"dependentTasks": []}
    assert longest_chain(wider) == longest_chain(spec)
