"""Settings of an installation into one namespace."""

from typing import Annotated, Literal

from pydantic import Field, IPvAnyAddress, StringConstraints, model_validator

from qure.config import Frozen

#: On every pod of this product's tasks and train jobs: network policies select by it.
PRODUCT_LABEL = "app.kubernetes.io/part-of"
PRODUCT = "qure"


Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
#: Of secrets, classes and stores, as Kubernetes takes it.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(\.[0-9]+)?([kMGTP]|[KMGTP]i)?$")]


class Ports(Frozen):
    """TCP ports to which tasks may connect, outside the cluster and in it."""

    mlflow: int = Field(5000, ge=1, le=65535)
    s3: int = Field(9000, ge=1, le=65535)
    webhook: int = Field(443, ge=1, le=65535)
    api_server: tuple[int, ...] = (443, 6443, 8443)
    further: tuple[int, ...] = Field((), description="A git server over SSH, a proxy.")


class Installation(Frozen):
    """What `infra.kubernetes.manifests.render` needs to know.

    `service_account` null uses the one that Kubeflow gives to runs; then none is made, and it gets the rights.
    `dedicated` says that the namespace is this product's alone: only then are quota and default limits rendered.
    """

    namespace: Namespace
    profile: Literal["small", "production"] = "production"
    multi_user: bool = False
    service_account: str | None = "qure-runner"
    claim: str | None = "qure-workspace"
    storage_size: Size | None = None
    storage_class: Name | None = None
    pull_secrets: tuple[Name, ...] = ()
    secrets: tuple[str, ...] = ()
    secret_store: Name | None = None
    kubeflow_namespace: Namespace = "kubeflow"
    ports: Ports = Ports()
    node_local_dns: IPvAnyAddress | None = Field("169.254.20.10", validate_default=True)
    dedicated: bool = False

    @model_validator(mode="after")
    def _where_runs_take_place(self) -> "Installation":
        if self.multi_user and self.namespace == self.kubeflow_namespace:
            raise ValueError(
                f"namespace: {self.namespace!r} is Kubeflow's own; with several users runs take place in a profile's"
            )
        if not self.multi_user and self.namespace != self.kubeflow_namespace:
            raise ValueError(
                f"namespace: a single-user Kubeflow runs everything in its own namespace, here "
                f"{self.kubeflow_namespace!r}: install into that, say where Kubeflow is with --kubeflow-namespace, or "
                "--multi-user"
            )
        if self.dedicated and self.namespace == self.kubeflow_namespace:
            raise ValueError("dedicated: Kubeflow's own namespace is shared: a quota there would stop its services")
        if self.pull_secrets and self.service_account is None:
            raise ValueError(
                f"pull_secrets: service account {self.account!r} is Kubeflow's, and is left as it is: name one in "
                "service.service_account, or add the secrets to that one"
            )
        return self

    @property
    def account(self) -> str:
        """The service account that runs use."""
        return self.service_account or ("default-editor" if self.multi_user else "pipeline-runner")
