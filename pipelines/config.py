"""The one configuration of everything that a pipeline needs beside params.yaml.

params.yaml says WHAT is trained; this file's YAML says WHERE: images, resources, retries, secrets by reference,
storage, schedules. It holds no secret: only names of Kubernetes secrets and the variables they become.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.shares import MOST_SHARES
from pipelines.cron import check_cron
from qure.config import Frozen, read_yaml, validated
from qure.errors import BadInput
from qure.tracking.redaction import holds_secret

DEFAULT_CONFIG = Path(__file__).parent / "config.yaml"

#: Images of this domain exist nowhere: configurations that name it compile, and are refused at submission.
EXAMPLE_REGISTRY = "registry.example.com/"

#: What an attempt of a task may spend before its own time begins: a node, the image, the volume.
WAITING_SECONDS = 600

TaskName = Literal[
    "resolve_inputs",
    "prepare_data",
    "compare_data",
    "prepare_backbone",
    "precompute_embeddings",
    "train_qure",
    "evaluate",
    "promote_model",
    "find_champion",
    "fetch_champion",
    "evaluate_champion",
    "ablate",
    "report_outcome",
]

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
#: Kubeflow calls a task's volume as its claim: a name that is right for a claim need not be one for a volume.
VolumeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _cron(value: str) -> str:
    """A cron expression as Kubeflow Pipelines reads it: six fields, seconds first, or one like @daily.

    The server takes five fields too, as second to month without a weekday: what people write with five fields would
    run at other times than meant.

    >>> _cron("0 0 3 ? * MON-FRI"), _cron("@daily")
    ('0 0 3 ? * MON-FRI', '@daily')
    """
    if not value.startswith("@") and len(value.split()) == 5:
        raise ValueError(f"{value!r} has five fields; Kubeflow's six are: second minute hour day month weekday")
    try:
        check_cron(value)
    except ValueError as error:
        raise ValueError(
            f"{value!r} is not a cron expression (second minute hour day month weekday): {error}"
        ) from None
    return value


def _without_credentials(value: str) -> str:
    """A URL in a pipeline is public: whoever sees the run sees it.

    >>> _without_credentials("https://git.example.com/qure.git")
    'https://git.example.com/qure.git'
    """
    if holds_secret(value):
        raise ValueError("the URL holds credentials; pipelines are public: give them as a Kubernetes secret")
    return value


Page = Annotated[str, StringConstraints(pattern=r"^https?://\S+$"), AfterValidator(_without_credentials)]


class Images(Frozen):
    """Container images by digest; a tag may come to mean another image, also for the cache."""

    cpu: str
    cuda: str
    allow_tags: bool = Field(False, description="Only for a container engine on one's own machine.")

    @model_validator(mode="after")
    def _by_digest(self) -> "Images":
        for name in ("cpu", "cuda"):
            image = getattr(self, name)
            if not self.allow_tags and not re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", image):
                raise ValueError(f"{name}: {image!r} is not an image by digest (name@sha256:...)")
        return self


class Range(Frozen):
    """Request and limit of one resource, in Kubernetes' units."""

    request: Quantity
    limit: Quantity


class Accelerator(Frozen):
    """GPUs of one task."""

    type: str = "nvidia.com/gpu"
    count: int = Field(1, ge=1)


class Retry(Frozen):
    """How a task is tried again, inside itself and by the platform.

    What passes by nature (a tracking server, a store or a git server that does not answer) a task tries again itself,
    with growing pauses, for `patience_seconds`. Everything else is the platform's: as Kubeflow Pipelines ships it, a
    task is started again when its pod is lost, and not when its command fails; the runbook (Retries) has the
    administrator's setting for that.

    Attributes:
        patience_seconds: how long a task goes on asking what does not answer.
        attempts: how often the platform starts the task again.
        backoff_seconds: its first pause.
        backoff_factor: what each further pause is multiplied by; Argo takes whole numbers only.
    """

    patience_seconds: int = Field(300, ge=0)
    attempts: int = Field(2, ge=0, le=10)
    backoff_seconds: int = Field(60, ge=0)
    backoff_factor: int = Field(2, ge=1, le=10)

    def span_seconds(self, timeout_seconds: int) -> int:
        """Time from the first attempt's start in which every attempt may wait for a node and use its whole timeout.

        Argo gives up, and ends an attempt under way, when this has passed since the first attempt began.

        >>> Retry(attempts=2, backoff_seconds=60, backoff_factor=2).span_seconds(3600)
        12780
        """
        pauses = sum(self.backoff_seconds * self.backoff_factor**number for number in range(self.attempts))
        return (self.attempts + 1) * (timeout_seconds + WAITING_SECONDS) + pauses


class Toleration(Frozen):
    """A Kubernetes toleration."""

    key: str
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class TaskSettings(Frozen):
    """Where and how one component runs.

    `cache` may be on only where the inputs decide the output. Kubeflow's key is made of image, command, arguments and
    the ids of input artifacts: a task that runs makes artifacts with new ids, one that the cache serves hands on the
    old ones. So behind a task without cache only what takes nothing but its texts and numbers can be served.
    """

    image: Literal["cpu", "cuda"] = "cpu"
    cpu: Range = Range(request="1", limit="2")
    memory: Range = Range(request="2Gi", limit="4Gi")
    accelerator: Accelerator | None = None
    retry: Retry = Retry()
    timeout_seconds: int = Field(3600, ge=1)
    cache: bool = False
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    shared_memory: Quantity | None = None


class SecretReference(Frozen):
    """Keys of a Kubernetes secret, the environment variables that they become, and in which tasks (all when empty)."""

    name: KubernetesName
    keys: dict[str, VariableName]
    optional: bool = False
    tasks: tuple[TaskName, ...] = ()


class Workspace(Frozen):
    """A persistent volume claim (ReadWriteMany) for what is too big to travel through the artifact store."""

    claim: VolumeName
    path: str = "/workspace"


class Distributed(Frozen):
    """Training as a Kubeflow TrainJob instead of inside the train task's own process; needs a workspace.

    The job's pods get what `tasks.train_qure` asks for, per node; the task itself then only starts the job and waits.
    """

    nodes: int = Field(1, ge=1)
    processes_per_node: int = Field(1, ge=1)
    runtime: KubernetesName = "torch-distributed"
    timeout_seconds: int = Field(86400, ge=60)
    namespace: KubernetesName | None = None
    launcher_cpu: Range = Range(request="250m", limit="2")
    launcher_memory: Range = Range(request="1Gi", limit="4Gi")


class DataSource(Frozen):
    """Where `prepare_data` finds the data; without a repository the catalogue is rendered."""

    repository: Annotated[str, AfterValidator(_without_credentials)] = ""
    revision: str = "main"


class Schedule(Frozen):
    """A recurring run."""

    pipeline: Literal["training", "evaluate_champion"]
    training_set: Literal["fashioniq", "cirr"]
    cron: Annotated[str, AfterValidator(_cron)]
    enabled: bool = True
    max_concurrency: int = Field(1, ge=1, le=10)
    catch_up: bool = False


class Service(Frozen):
    """The Kubeflow Pipelines installation; its address and token come from the environment (see the runbook)."""

    namespace: KubernetesName | None = None
    experiment: str = "qure"
    service_account: KubernetesName | None = None
    kubeflow_page: Page | None = Field(None, description="Kubeflow Pipelines' pages, for links in notifications.")
    mlflow_page: Page | None = Field(None, description="MLflow's pages, for the same.")
    nest_in_kubeflow: bool = Field(False, description="Our MLflow runs in those of Kubeflow's MLflow plugin.")

    @property
    def pages(self) -> dict[str, str]:
        """Addresses for people that are known, by what they lead to: "kubeflow", "mlflow"."""
        stated = {"kubeflow": self.kubeflow_page, "mlflow": self.mlflow_page}
        return {name: address for name, address in stated.items() if address}


class PipelineConfig(Frozen):
    """Everything that the pipelines, their client and the train job are built from."""

    images: Images
    defaults: dict[str, Any] = {}
    tasks: dict[TaskName, dict[str, Any]] = {}
    shards: int = Field(4, ge=1, le=MOST_SHARES)
    parallelism: int = Field(4, ge=1, le=64)
    timeout_seconds: int = Field(172800, ge=60)
    data: DataSource = DataSource()
    secrets: tuple[SecretReference, ...] = ()
    workspace: Workspace | None = None
    distributed: Distributed | None = None
    schedules: dict[str, Schedule] = {}
    service: Service = Service()

    @model_validator(mode="after")
    def _holds_together(self) -> "PipelineConfig":
        for name in self.tasks:
            TaskSettings.model_validate(self.defaults | self.tasks[name])
        TaskSettings.model_validate(self.defaults)
        if self.distributed is not None and self.workspace is None:
            raise ValueError("distributed: a train job's pods share their files through a workspace; none is set")
        return self

    @classmethod
    def load(cls, path: Path = DEFAULT_CONFIG) -> "PipelineConfig":
        """Reads and checks a configuration.

        Raises:
            BadInput: no such file, not YAML, an unknown key or a bad value; names the field.
        """
        return validated(cls, read_yaml(path), file=path)

    def task(self, name: str) -> TaskSettings:
        """Settings of one component: the defaults with the component's own laid over them."""
        return TaskSettings.model_validate(self.defaults | self.tasks.get(name, {}))  # type: ignore[call-overload]

    def pod(self, name: str) -> TaskSettings:
        """Settings of the pod that Kubeflow makes for a component.

        Those of `task`, but where training runs as a TrainJob: the task that starts it needs no GPU, nothing of what
        belongs to a GPU's node, and a little more time than the job.
        """
        settings = self.task(name)
        if name != "train_qure" or self.distributed is None:
            return settings
        return settings.model_copy(
            update={
                "image": "cpu",
                "cpu": self.distributed.launcher_cpu,
                "memory": self.distributed.launcher_memory,
                "accelerator": None,
                "shared_memory": None,
                "node_selector": {},
                "tolerations": (),
                "timeout_seconds": max(settings.timeout_seconds, self.distributed.timeout_seconds + 1800),
            }
        )

    def secrets_of(self, name: str) -> tuple[SecretReference, ...]:
        """The secrets of which a component gets variables."""
        return tuple(secret for secret in self.secrets if not secret.tasks or name in secret.tasks)

    def image(self, name: str) -> str:
        """The image that a component's work runs in."""
        return self.images.cuda if self.task(name).image == "cuda" else self.images.cpu

    def require_real_images(self, file: Path) -> None:
        """Refuses the example images of the configurations that come with the project, where a task uses them.

        Raises:
            BadInput: an image of the example registry.
        """
        for name in sorted({self.task(task).image for task in get_args(TaskName)}):
            if getattr(self.images, name).startswith(EXAMPLE_REGISTRY):
                raise BadInput(
                    f"{getattr(self.images, name)!r} is an example, not an image",
                    file=file,
                    field=f"images.{name}",
                    remedy="Build and push infra/images/Containerfile, put the digest here (docs/runbook.md, Install)",
                )
