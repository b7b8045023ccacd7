"""Puts the configuration on a task: image, resources, retries, secrets, storage, cache."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.runtime import SECRET_PREFIX
from infra.argo.report import NAMESPACE_VARIABLE, WORKFLOW_VARIABLE
from infra.kubernetes.settings import PRODUCT, PRODUCT_LABEL
from pipelines.config import PipelineConfig, TaskSettings
from qure.notification import URL_VARIABLE
from qure.tracking.identity import IMAGE_VARIABLE
from qure.tracking.kubeflow import NEST_VARIABLE
from qure.tracking.retrying import PATIENCE_VARIABLE
from qure.webhook import SECRET_VARIABLE

#: The label that Kubeflow Pipelines puts on every pod of a run. As a variable it reaches the component without being
#: part of the cache key; as an argument the run's id would make every cache entry useless.
RUN_LABEL = "metadata.labels['pipeline/runid']"
RUN_VARIABLE = "QURE_PIPELINE_RUN"

#: Argo puts its Workflow's name on every pod of it.
WORKFLOW_LABEL = "metadata.labels['workflows.argoproj.io/workflow']"
HANDLER = "report_outcome"

#: The user of the image (infra/images/Containerfile).
USER = 10001


def place(task: PipelineTask, config: PipelineConfig, *, display_name: str | None = None) -> PipelineTask:
    """Configures a task after its component's settings; returns it for chaining."""
    name = task.component_spec.name.replace("-", "_")
    settings = config.pod(name)
    image = config.images.cuda if settings.image == "cuda" else config.images.cpu
    task.set_container_image(image)
    task.set_env_variable(IMAGE_VARIABLE, image)
    task.set_display_name(display_name or name.replace("_", " "))
    task.set_caching_options(settings.cache)
    _resources(task, settings)
    _retries(task, settings)
    _pod(task, settings)
    _secrets(task, name, config)
    if config.service.nest_in_kubeflow:
        task.set_env_variable(NEST_VARIABLE, "true")
    if name == HANDLER:
        # It must run where the claim or a secret is what is missing.
        kubernetes.use_field_path_as_env(task, env_name=WORKFLOW_VARIABLE, field_path=WORKFLOW_LABEL)
        kubernetes.use_field_path_as_env(task, env_name=NAMESPACE_VARIABLE, field_path="metadata.namespace")
        return task
    if config.workspace is not None:
        kubernetes.mount_pvc(task, pvc_name=config.workspace.claim, mount_path=config.workspace.path)
    return task


def workspace_path(config: PipelineConfig) -> str:
    """Where tasks find the shared volume; empty when there is none."""
    return config.workspace.path if config.workspace is not None else ""


def _secrets(task: PipelineTask, name: str, config: PipelineConfig) -> None:
    """Variables from secrets, under names of our own: `components.runtime.put_secrets_in_place`."""
    for secret in config.secrets_of(name):
        keys = {key: f"{SECRET_PREFIX}{variable}" for key, variable in secret.keys.items()}
        if name == HANDLER:
            keys = {
                key: keys[key] for key, variable in secret.keys.items() if variable in (URL_VARIABLE, SECRET_VARIABLE)
            }
        if keys:
            kubernetes.use_secret_as_env(
                task,
                secret_name=secret.name,
                secret_key_to_env=keys,
                optional=secret.optional or name == HANDLER,
            )


def _resources(task: PipelineTask, settings: TaskSettings) -> None:
    task.set_cpu_request(settings.cpu.request).set_cpu_limit(settings.cpu.limit)
    task.set_memory_request(settings.memory.request).set_memory_limit(settings.memory.limit)
    if settings.accelerator is not None:
        task.set_accelerator_type(settings.accelerator.type)
        task.set_accelerator_limit(settings.accelerator.count)


def _retries(task: PipelineTask, settings: TaskSettings) -> None:
    kubernetes.set_timeout(task, settings.timeout_seconds)
    retry = settings.retry
    task.set_env_variable(PATIENCE_VARIABLE, str(retry.patience_seconds))
    if retry.attempts:
        task.set_retry(
            num_retries=retry.attempts,
            backoff_duration=f"{retry.backoff_seconds}s",
            backoff_factor=retry.backoff_factor,
            backoff_max_duration=f"{retry.span_seconds(settings.timeout_seconds)}s",
        )


def _pod(task: PipelineTask, settings: TaskSettings) -> None:
    kubernetes.add_pod_label(task, PRODUCT_LABEL, PRODUCT)
    kubernetes.use_field_path_as_env(task, env_name=RUN_VARIABLE, field_path=RUN_LABEL)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    for key, value in settings.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in settings.tolerations:
        kubernetes.add_toleration(
            task,
            key=toleration.key,
            operator=toleration.operator,
            value=toleration.value,
            effect=toleration.effect,
        )
    if settings.shared_memory:
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=settings.shared_memory
        )
