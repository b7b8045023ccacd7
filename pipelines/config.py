"""The one configuration of everything that a pipeline needs beside params.yaml.

params.yaml says WHAT is trained; this file's YAML says WHERE: images, resources, retries, secrets by reference,
storage, schedules. It holds no secret: only names of Kubernetes secrets and the variables they become.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from qure.config import Frozen, read_yaml, validated
from qure.errors import BadInput

DEFAULT_CONFIG = Path(__file__).parent / "config.yaml"

#: Images of this domain exist nowhere: configurations that name it compile, and are refused at submission.
EXAMPLE_REGISTRY = "registry.example.com/"

TaskName = Literal[
    "read_settings",
    "resolve_data",
    "fetch_data",
    "validate_dataset",
    "compare_data",
    "prepare_backbone",
    "list_shards",
    "precompute_embeddings",
    "collect_embeddings",
    "train_qure",
    "evaluate",
    "join_evaluations",
    "register_model",
    "promote_model",
    "find_champion",
    "fetch_champion",
    "evaluate_champion",
    "ablate",
    "report_outcome",
]

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _six_cron_fields(value: str) -> str:
    """Kubeflow's cron has six fields, seconds first: a five-field one would run at other times than meant.

    >>> _six_cron_fields("0 0 3 * * 1")
    '0 0 3 * * 1'
    """
    if len(value.split()) != 6 or not re.fullmatch(r"[0-9A-Za-z*/,?\- ]+", value):
        raise ValueError(f"{value!r} is not a cron expression of six fields (second minute hour day month weekday)")
    return value


def _without_credentials(value: str) -> str:
    """A URL in a pipeline is public: whoever sees the run sees it.

    >>> _without_credentials("https://git.example.com/qure.git")
    'https://git.example.com/qure.git'
    """
    if urlsplit(value).password or (urlsplit(value).username and value.startswith("http")):
        raise ValueError("the URL holds credentials; pipelines are public: give them as a Kubernetes secret")
    return value


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
    """How often, and after how long, a failed task is tried again."""

    attempts: int = Field(2, ge=0)
    backoff_seconds: int = Field(60, ge=0)
    backoff_factor: float = Field(2.0, ge=1)
    longest_seconds: int = Field(1800, ge=1)


class Toleration(Frozen):
    """A Kubernetes toleration."""

    key: str
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class TaskSettings(Frozen):
    """Where and how one component runs.

    `cache` may be on only where the inputs decide the output: those components take the fingerprints of what they
    read as arguments, because Kubeflow's cache looks at an artifact's name, never at its content.
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
    """Keys of a Kubernetes secret and the environment variables that they become."""

    name: KubernetesName
    keys: dict[str, VariableName]
    optional: bool = False


class Workspace(Frozen):
    """A persistent volume claim (ReadWriteMany) for what is too big to travel through the artifact store."""

    claim: KubernetesName
    path: str = "/workspace"


class Distributed(Frozen):
    """Training as a Kubeflow TrainJob instead of inside the train task's own process; needs a workspace."""

    nodes: int = Field(1, ge=1)
    processes_per_node: int = Field(1, ge=1)
    runtime: KubernetesName = "torch-distributed"
    timeout_seconds: int = Field(86400, ge=60)
    namespace: KubernetesName = "qure"


class DataSource(Frozen):
    """Where `fetch_data` finds the data; without a repository the catalogue is rendered."""

    repository: Annotated[str, AfterValidator(_without_credentials)] = ""
    revision: str = "main"


class Schedule(Frozen):
    """A recurring run."""

    pipeline: Literal["training", "evaluate_champion"]
    training_set: Literal["fashioniq", "cirr"]
    cron: Annotated[str, AfterValidator(_six_cron_fields)]
    enabled: bool = True
    max_concurrency: int = Field(1, ge=1, le=10)
    catch_up: bool = False


class Service(Frozen):
    """The Kubeflow Pipelines installation; its address and token come from the environment (see the runbook)."""

    namespace: KubernetesName | None = None
    experiment: str = "qure"
    service_account: KubernetesName | None = None


class PipelineConfig(Frozen):
    """Everything that the pipelines, their client and the train job are built from."""

    images: Images
    defaults: dict[str, Any] = {}
    tasks: dict[TaskName, dict[str, Any]] = {}
    shards: int = Field(4, ge=1, le=256)
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

    def image(self, name: str) -> str:
        """The image that a component runs in."""
        return self.images.cuda if self.task(name).image == "cuda" else self.images.cpu

    def require_real_images(self, file: Path) -> None:
        """Refuses the example images of the configuration that comes with the project.

        Raises:
            BadInput: an image of the example registry.
        """
        for name in ("cpu", "cuda"):
            if getattr(self.images, name).startswith(EXAMPLE_REGISTRY):
                raise BadInput(
                    f"{getattr(self.images, name)!r} is an example, not an image",
                    file=file,
                    field=f"images.{name}",
                    remedy="Build and push infra/images/Containerfile, put the digest here (docs/runbook.md, Install)",
                )
