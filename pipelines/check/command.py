"""The command `qure-pipelines check`."""

import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qure.errors import QureError, StageFailed

if TYPE_CHECKING:
    from infra.probing.findings import Finding
    from pipelines.check.watching import RunPods
    from pipelines.config import PipelineConfig

CONFIG = Path(__file__).parents[1] / "config.yaml"


def check(
    config: Annotated[Path, typer.Option("--config", help="The configuration that is to be run.")] = CONFIG,
) -> None:
    """Run one small pipeline that looks whether everything is there, and print a table; takes at most five minutes."""
    from infra.probing.findings import Finding
    from pipelines.check.watching import expected, table, watch
    from pipelines.config import PipelineConfig

    settings = PipelineConfig.load(config)
    settings.require_real_images(config)
    try:
        service, name, run = _started(settings)
    except QureError as error:
        _print([Finding("API", "failed", str(error))])
        raise StageFailed("the installation cannot be checked") from None
    mode = f"multi-user, namespace {service.namespace}" if service.namespace else "single-user"
    findings = [Finding("API", "ok", f"answers; {mode}; run {name}")]
    pods = _pods(settings, run)

    def state() -> str:
        return str(service.status(name, runs=1)["runs"][0]["state"])

    last = watch(state, pods)
    if last not in ("succeeded", "failed"):
        service.stop(name)
    account = settings.service.service_account or "of Kubeflow's choice"
    findings += table(expected(settings), last, pods, account=account)
    _print(findings)
    failed = [finding.subject for finding in findings if finding.state == "failed"]
    if failed:
        raise StageFailed(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")


def _started(config: "PipelineConfig") -> tuple[Any, str, str]:
    """The service, and name and id of a new run."""
    from kfp import compiler

    from pipelines.check import pipeline
    from pipelines.client import PipelinesService

    service = PipelinesService(config.service)
    name = f"check-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "check.yaml"
        compiler.Compiler().compile(pipeline.check(config), str(package))
        return service, name, service.submit(name, service.upload(package), {}).id


def _pods(config: "PipelineConfig", run: str) -> "RunPods | None":
    """The run's pods, where a kubeconfig leads to them."""
    from kubernetes import config as kubeconfig

    from pipelines.check.watching import RunPods

    try:
        kubeconfig.load_kube_config()
    except kubeconfig.ConfigException:
        typer.echo("no kubeconfig: only the run's state can be shown", err=True)
        return None
    return RunPods(config.service.namespace or "kubeflow", run)


def _print(findings: Iterable["Finding"]) -> None:
    rows = list(findings)
    width = max(len(row.subject) for row in rows)
    for row in rows:
        typer.echo(f"{row.subject:<{width}}  {row.state:<7}  {row.text}")
        if row.state == "failed" and row.remedy:
            typer.echo(f"{'':<{width}}           -> {row.remedy}")
