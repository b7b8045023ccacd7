"""The local runners keep what the pipelines rely on: fan-out, retries, exit handlers, failures, cache.

Each test runs with tasks as processes and, where a container engine answers at DOCKER_HOST, with tasks as containers
of the image that QURE_TEST_IMAGE names.
"""

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from pipelines.local import run_locally
from qure.errors import StageFailed

IMAGE = os.environ.get("QURE_TEST_IMAGE", "localhost/qure:python")


@pytest.fixture(
    params=[
        pytest.param("subprocess", marks=pytest.mark.kfp_local),
        pytest.param("docker", marks=pytest.mark.containers),
    ]
)
def runner(request: pytest.FixtureRequest) -> str:
    if request.param == "docker" and not (os.environ.get("DOCKER_HOST") and os.environ.get("QURE_TEST_IMAGE")):
        pytest.skip("needs a container engine: set DOCKER_HOST and QURE_TEST_IMAGE")
    return str(request.param)


def run(pipeline: BaseComponent, runner: Any, root: Path, *, cache: bool = False, **arguments: Any) -> dict[str, Any]:
    return run_locally(pipeline, arguments, runner=runner, root=root, run=f"test-{uuid.uuid4().hex}", cache=cache)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def list_items(count: int) -> list:  # type: ignore[type-arg]
    return [{"number": number} for number in range(count)]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def square(number: int, squared: dsl.Output[dsl.Dataset]) -> None:
    from pathlib import Path

    Path(squared.path).write_text(str(number * number))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def add_up(squares: dsl.Input[list[dsl.Dataset]]) -> int:
    from pathlib import Path

    return sum(int(Path(one.path).read_text()) for one in squares)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail_until(attempt: int, counter: dsl.Output[dsl.Dataset]) -> int:
    from pathlib import Path

    marks = Path(counter.path + ".attempts")
    marks.write_text(marks.read_text() + "x" if marks.exists() else "x")
    if len(marks.read_text()) < attempt:
        raise SystemExit(1)
    return len(marks.read_text())


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def fail(code: int) -> None:
    raise SystemExit(code)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def note(folder: str, status: dsl.PipelineTaskFinalStatus) -> None:
    import json
    from pathlib import Path

    Path(folder, "status.json").write_text(json.dumps({"state": status.state, "message": status.error_message}))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def who_am_i() -> str:
    import json
    import os

    return json.dumps({"user": os.getuid(), "run": os.environ.get("QURE_PIPELINE_RUN")})


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def count_calls(folder: str, version: str) -> str:
    from pathlib import Path

    calls = Path(folder, "calls")
    calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
    return version


def test_parallel_items_are_collected(runner: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="fan-out")
    def pipeline(count: int) -> int:
        with dsl.ParallelFor(items=list_items(count=count).output, parallelism=2) as item:
            squared = square(number=item.number)
        return add_up(squares=dsl.Collected(squared.outputs["squared"])).output

    assert run(pipeline, runner, tmp_path / "root", count=4)["Output"] == 0 + 1 + 4 + 9


def test_a_failing_task_is_tried_again(runner: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="retry")
    def pipeline() -> int:
        return fail_until(attempt=3).set_retry(num_retries=3, backoff_duration="0s").outputs["Output"]

    assert run(pipeline, runner, tmp_path / "root")["Output"] == 3


def test_retries_end(runner: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="retry-ends")
    def pipeline() -> int:
        return fail_until(attempt=3).set_retry(num_retries=1, backoff_duration="0s").outputs["Output"]

    with pytest.raises(StageFailed, match="fail-until"):
        run(pipeline, runner, tmp_path / "root")


@pytest.mark.parametrize("code", [1, 2])
def test_a_component_that_always_fails_is_reported_as_failed(runner: str, tmp_path: Path, code: int) -> None:
    @dsl.pipeline(name="failure")
    def pipeline() -> None:
        fail(code=code)

    with pytest.raises(StageFailed, match="fail"):
        run(pipeline, runner, tmp_path / "root")


@pytest.mark.parametrize("works", [True, False])
def test_the_exit_handler_hears_how_it_ended(runner: str, tmp_path: Path, works: bool) -> None:
    root = tmp_path / "root"

    @dsl.pipeline(name="exit-handler")
    def pipeline(folder: str) -> None:
        with dsl.ExitHandler(note(folder=folder)):
            if works:
                list_items(count=1)
            else:
                fail(code=1)

    if works:
        run(pipeline, runner, root, folder=str(root))
    else:
        with pytest.raises(StageFailed):
            run(pipeline, runner, root, folder=str(root))
    assert json.loads((root / "status.json").read_text())["state"] == ("SUCCEEDED" if works else "FAILED")


def test_the_run_is_known_to_the_task_and_containers_are_not_root(runner: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="identity")
    def pipeline() -> str:
        return who_am_i().output

    found = json.loads(run(pipeline, runner, tmp_path / "root")["Output"])
    assert found["run"].startswith("test-")
    assert runner == "subprocess" or found["user"] == 10001


def test_the_second_run_takes_from_the_cache_what_has_not_changed(runner: str, tmp_path: Path) -> None:
    root = tmp_path / "root"

    @dsl.pipeline(name="cache")
    def pipeline(folder: str, version: str) -> str:
        return count_calls(folder=folder, version=version).set_caching_options(True).output

    for version in ("a", "a", "b"):
        assert run(pipeline, runner, root, cache=True, folder=str(root), version=version)["Output"] == version
    assert (root / "calls").read_text() == "xx"
