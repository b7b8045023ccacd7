"""`qure-pipelines install`: what the pipelines need in a namespace, rendered or applied."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from qure.errors import BadInput, StageFailed

if TYPE_CHECKING:
    from infra.kubernetes.settings import Installation
    from pipelines.config import PipelineConfig

CONFIG = Path(__file__).parent / "config.yaml"


def install(
    namespace: Annotated[str, typer.Option(help="Where runs take place; it is there already.")],
    profile: Annotated[
        Literal["small", "production"], typer.Option(help="One node, or a cluster with a ReadWriteMany storage class.")
    ] = "production",
    multi_user: Annotated[bool, typer.Option("--multi-user/--single-user", help="How Kubeflow is installed.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Hand the manifests to `kubectl apply`.")] = False,
    dedicated: Annotated[
        bool, typer.Option("--dedicated", help="The namespace is this product's alone: add quota and default limits.")
    ] = False,
    storage_class: Annotated[str | None, typer.Option(help="Of the workspace's claim; the cluster's default.")] = None,
    storage_size: Annotated[str | None, typer.Option(help="Of the workspace's claim.")] = None,
    pull_secret: Annotated[list[str] | None, typer.Option(help="Secret to pull the images with; repeatable.")] = None,
    secret_store: Annotated[
        str | None, typer.Option(help="ClusterSecretStore that External Secrets copies the secrets from.")
    ] = None,
    kubeflow_namespace: Annotated[str, typer.Option(help="Where Kubeflow Pipelines is installed.")] = "kubeflow",
    mlflow_port: Annotated[int, typer.Option(help="MLflow's port.")] = 5000,
    s3_port: Annotated[int, typer.Option(help="The object store's port.")] = 9000,
    webhook_port: Annotated[int, typer.Option(help="The notification's port.")] = 443,
    api_port: Annotated[
        list[int] | None, typer.Option(help="The Kubernetes API's ports; repeatable. 443, 6443, 8443.")
    ] = None,
    further_port: Annotated[list[int] | None, typer.Option(help="Another port that tasks need; repeatable.")] = None,
    node_local_dns: Annotated[str, typer.Option(help="Address of the node-local DNS; empty for none.")] = (
        "169.254.20.10"
    ),
    config: Annotated[Path, typer.Option("--config", help="Names of claim, account and secrets.")] = CONFIG,
) -> None:
    """Print what the pipelines need in a namespace (account, rights, claim, network policies), or apply it."""
    from infra.kubernetes.manifests import as_text, render
    from pipelines.config import PipelineConfig

    settings = PipelineConfig.load(config)
    ports = {"mlflow": mlflow_port, "s3": s3_port, "webhook": webhook_port, "further": further_port or []}
    installation = installation_of(
        settings,
        namespace=namespace,
        profile=profile,
        multi_user=multi_user,
        dedicated=dedicated,
        storage_class=storage_class,
        storage_size=storage_size,
        pull_secrets=pull_secret or [],
        secret_store=secret_store,
        kubeflow_namespace=kubeflow_namespace,
        ports=ports | ({"api_server": api_port} if api_port else {}),
        node_local_dns=node_local_dns or None,
    )
    manifests = render(installation)
    if apply:
        apply_manifests(manifests, installation.namespace)
    else:
        typer.echo(as_text(manifests), nl=False)


def installation_of(config: "PipelineConfig", **chosen: Any) -> "Installation":
    """An installation for a configuration.

    Args:
        config: names the claim, the service account and the secrets.
        chosen: the other fields of `infra.kubernetes.settings.Installation`.

    Raises:
        BadInput: a value that cannot be, or a namespace in which no run takes place.
    """
    from infra.kubernetes.settings import Installation
    from qure.config import validated

    names = {
        "service_account": config.service.service_account,
        "claim": config.workspace.claim if config.workspace is not None else None,
        "secrets": [secret.name for secret in config.secrets],
    }
    return validated(Installation, names | chosen, file="qure-pipelines install")


def apply_manifests(manifests: list[dict[str, Any]], namespace: str) -> None:
    """Hands manifests to kubectl. A claim that is there is left as it is: its size and class cannot be changed.

    Raises:
        BadInput: no such namespace.
        StageFailed: there is no kubectl, or it fails; what it said is in the message.
    """
    from infra.kubernetes.manifests import as_text

    if not _kubectl("get", "namespace", namespace, "--ignore-not-found", "--output", "name"):
        raise BadInput(
            f"there is no namespace {namespace!r}",
            field="--namespace",
            remedy="Runs take place in Kubeflow's own (single-user) or in a profile's (multi-user): it comes first",
        )
    wanted = []
    for one in manifests:
        name = one["metadata"]["name"]
        if one["kind"] == "PersistentVolumeClaim" and _kubectl(
            "get", "persistentvolumeclaim", name, "--namespace", namespace, "--ignore-not-found", "--output", "name"
        ):
            typer.echo(f"persistentvolumeclaim/{name} is there: left as it is")
        else:
            wanted.append(one)
    typer.echo(_kubectl("apply", "--namespace", namespace, "--filename", "-", given=as_text(wanted)))


def _kubectl(*arguments: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StageFailed(
            "there is no kubectl: install it, or apply what `qure-pipelines install` prints without --apply"
        ) from None
    if done.returncode:
        raise StageFailed(f"kubectl {arguments[0]} failed: {' '.join(done.stderr.split())}")
    return done.stdout.strip()
