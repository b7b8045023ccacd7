"""Runs pipelines on one machine: each task a process, or each task a container of the real image.

kfp 2.17's own container runner lets the engine remove a container as soon as it ends, and takes one that is gone before
its exit code was read for a success: a component that always fails is then reported as succeeded. `run_container`
takes its place: it creates, starts, follows the log, waits, and only then removes.
"""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from kfp import local
from kfp.dsl.base_component import BaseComponent

from pipelines.config import PipelineConfig, Workspace
from pipelines.placement import RUN_VARIABLE
from qure.errors import BadInput, StageFailed

LOCAL_RETRY = {"attempts": 1, "backoff_seconds": 0, "patience_seconds": 10}
SOURCE = Path(__file__).resolve().parents[1]

#: Variables of this process that reach a container: where MLflow and the storage are, and who may use them.
PASSED_ON = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL",
    "QURE_NOTIFICATION_URL",
    "OMP_NUM_THREADS",
)


def local_config(config: PipelineConfig, *, image: str | None = None, workspace: Path | None = None) -> PipelineConfig:
    """The configuration for one machine: an image by tag if need be, a folder as workspace or none, no train job.

    A failed task is tried again once, at once: nobody wants to wait minutes at a terminal for a network that is not in
    between.
    """
    images = config.images
    if image is not None:
        images = images.model_copy(update={"cpu": image, "cuda": image, "allow_tags": True})
    folder = Workspace(claim="local", path=str(workspace)) if workspace is not None else None
    tasks = {name: {**settings, "retry": LOCAL_RETRY} for name, settings in config.tasks.items()}
    return config.model_copy(
        update={
            "images": images,
            "workspace": folder,
            "distributed": None,
            "defaults": {**config.defaults, "retry": LOCAL_RETRY},
            "tasks": tasks,
        }
    )


def run_locally(
    pipeline: BaseComponent,
    arguments: dict[str, Any],
    *,
    runner: Literal["subprocess", "docker"],
    root: Path,
    run: str,
    cache: bool = False,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Runs a pipeline to its end.

    Args:
        pipeline: from `pipelines.training` and its kin, built with `local_config`.
        arguments: the pipeline's arguments.
        runner: "subprocess" uses this environment, "docker" the configured image and the engine at DOCKER_HOST.
        root: folder that receives all artifacts and, with `cache`, what the next run may reuse.
        run: id of this pipeline run.
        cache: take outputs of earlier runs where component, image, code and arguments are the same.
        environment: further variables of the tasks' containers.

    Returns:
        The pipeline's outputs.

    Raises:
        BadInput: no container engine answers.
        StageFailed: a task failed.
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    # Tasks import components and infra wherever they are started from.
    source = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    with (
        _variable(RUN_VARIABLE, run),
        _variable("PYTHONPATH", source),
        tempfile.TemporaryDirectory(prefix="kfp-workspace-") as scratch,
    ):
        chosen = _container_runner(root, run, environment or {}) if runner == "docker" else _subprocess_runner()
        local.init(
            runner=chosen,
            pipeline_root=str(root),
            workspace_root=str(Path(scratch) / "workspace"),
            raise_on_error=True,
            enable_caching=cache,
            cache_root=str(root / ".cache"),
        )
        try:
            with warnings.catch_warnings():
                # Resources and accelerators mean nothing here, and kfp says so for each task.
                warnings.filterwarnings("ignore", message=".*no effect in the current local runner")
                warnings.filterwarnings("ignore", message=".*non-Python base image")
                task = pipeline(**arguments)
        except RuntimeError as error:
            raise StageFailed(str(error)) from error
        return dict(task.outputs)


def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **options: Any) -> int:
    """Runs a container to its end, prints its log and returns its exit code; it is removed whatever happens.

    Raises:
        BadInput: the image is neither here nor to be had.
    """
    import docker

    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except docker.errors.APIError as error:
            raise BadInput(
                f"no image {image!r}: {error.explanation or error}", remedy="Build infra/images/Containerfile"
            ) from None
    container = client.containers.create(image=image, command=command, volumes=volumes, **options)
    try:
        container.start()
        for line in container.logs(stream=True, follow=True):
            print(line.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


def _subprocess_runner() -> local.SubprocessRunner:
    return local.SubprocessRunner(use_venv=False)


def _container_runner(root: Path, run: str, environment: dict[str, str]) -> local.DockerRunner:
    from kfp.local import docker_task_handler

    _require_engine()
    docker_task_handler.run_docker_container = run_container
    # The image's user is not this one: it must be able to write what this process made.
    root.chmod(0o777)
    passed = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    return local.DockerRunner(environment={**passed, **environment, RUN_VARIABLE: run})


def _require_engine() -> None:
    import docker

    try:
        client = docker.from_env(timeout=30)
        client.ping()
        client.close()
    except docker.errors.DockerException as error:
        raise BadInput(f"no container engine answers: {error}", field="DOCKER_HOST") from None


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
