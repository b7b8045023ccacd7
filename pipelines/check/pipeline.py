"""The pipeline of `qure-pipelines check`: a task for each thing that may keep a task from starting.

What can be told inside a task is told by the first one, which mounts nothing and takes every secret as optional: so it
starts on an installation that lacks them. It never fails: a failure would keep the others from being scheduled.
"""

from typing import Any, get_args

from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent

from components import BASE_IMAGE
from infra.kubernetes.manifests import rules
from infra.kubernetes.settings import PRODUCT, PRODUCT_LABEL
from infra.probing.platform import NODE_VARIABLE
from pipelines.config import PipelineConfig, TaskName, TaskSettings
from pipelines.distributed import train_job_settings
from pipelines.explaining import SINGLE_USER
from pipelines.installing import installation_of
from pipelines.placement import RUN_LABEL, RUN_VARIABLE, USER

NAME = "qure-check"
TASK_SECONDS = 240
NODE_ANNOTATION = "metadata.annotations['workflows.argoproj.io/node-name']"


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def probe_surroundings(secrets: list, storage_needed: bool, rules: list, claim: str, train_job: dict) -> None:
    """Look at secrets, MLflow, S3, notification, rights, claim and train jobs."""
    from components.runtime import SECRET_PREFIX, put_secrets_in_place
    from infra.probing.findings import say
    from infra.probing.platform import probe_platform
    from infra.probing.services import probe_services

    taken: dict = {"prefix": SECRET_PREFIX, "put_in_place": put_secrets_in_place}
    say(probe_services(secrets, storage_needed=storage_needed, **taken))
    say(probe_platform(rules, claim, train_job))


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def probe_mounted(folder: str) -> None:
    """Look at the workspace."""
    from infra.probing.findings import say
    from infra.probing.platform import probe_workspace

    say([probe_workspace(folder)])


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def probe_accelerator() -> None:
    """Look at the GPU."""
    from infra.probing.findings import say
    from infra.probing.platform import probe_gpu

    say([probe_gpu()])


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def probe_attempts() -> None:
    """Fail once, and see whether there is a second attempt."""
    from infra.probing.findings import say
    from infra.probing.platform import probe_retries

    finding = probe_retries()
    if finding is None:
        raise SystemExit("the first attempt fails on purpose")
    say([finding])


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def probe_end() -> None:
    """Say that the exit handler runs."""
    from infra.probing.findings import Finding, say

    say([Finding("exit handler", "ok", "runs")])


def check(config: PipelineConfig) -> BaseComponent:
    """The pipeline for a configuration."""
    secrets = stated_secrets(config)
    claim = config.workspace.claim if config.workspace is not None else ""
    namespace = config.service.namespace or SINGLE_USER
    wanted = rules(installation_of(config, namespace=namespace, kubeflow_namespace=namespace))
    accelerated = next(iter(accelerated_tasks(config)), None)

    @dsl.pipeline(name=NAME, display_name="QuRe check", pipeline_config=dsl.PipelineConfig(active_deadline_seconds=600))
    def qure_check() -> None:
        """Look whether everything is there that the pipelines need."""
        end = _placed(probe_end(), config.images.cpu)
        with dsl.ExitHandler(end, name="check"):
            around = _placed(
                probe_surroundings(
                    secrets=secrets,
                    storage_needed=bool(config.data.repository),
                    rules=wanted,
                    claim=claim,
                    train_job=train_job_settings(config),
                ),
                config.images.cpu,
            )
            kubernetes.use_field_path_as_env(around, env_name=RUN_VARIABLE, field_path=RUN_LABEL)
            for secret in secrets:
                keys = {key: given for key, (_, given) in secret["keys"].items()}
                kubernetes.use_secret_as_env(around, secret["name"], keys, optional=True)
            before = [around]
            if config.workspace is not None:
                mounted = _placed(probe_mounted(folder=config.workspace.path), config.images.cpu)
                kubernetes.mount_pvc(mounted, pvc_name=claim, mount_path=config.workspace.path)
                before.append(mounted)
            if accelerated is not None and accelerated.accelerator is not None:
                gpu = _placed(probe_accelerator(), config.images.cuda, memory="8Gi")
                gpu.set_accelerator_type(accelerated.accelerator.type).set_accelerator_limit(1)
                for key, value in accelerated.node_selector.items():
                    kubernetes.add_node_selector(gpu, key, value)
                for one in accelerated.tolerations:
                    kubernetes.add_toleration(gpu, one.key, one.operator, one.value, one.effect)
                before.append(gpu)
            attempts = _placed(probe_attempts(), config.images.cpu).after(*before)
            attempts.set_retry(1, backoff_duration="1s", backoff_factor=1, backoff_max_duration="240s")
            kubernetes.use_field_path_as_env(attempts, env_name=NODE_VARIABLE, field_path=NODE_ANNOTATION)

    return qure_check


def accelerated_tasks(config: PipelineConfig) -> list[TaskSettings]:
    """Settings of the components that ask for a GPU."""
    every = (config.task(name) for name in get_args(TaskName))
    return [settings for settings in every if settings.accelerator is not None]


def stated_secrets(config: PipelineConfig) -> list[dict[str, Any]]:
    """The secrets as `infra.probing.services` takes them: the probe has each key under a name of its own."""
    return [
        {
            "name": secret.name,
            "optional": secret.optional,
            "keys": {
                key: [variable, f"QURE_CHECK_{number}_{place}"]
                for place, (key, variable) in enumerate(secret.keys.items())
            },
        }
        for number, secret in enumerate(config.secrets)
    ]


def _placed(task: dsl.PipelineTask, image: str, *, memory: str = "2Gi") -> dsl.PipelineTask:
    task.set_container_image(image).set_caching_options(False)
    task.set_cpu_request("100m").set_cpu_limit("1").set_memory_request("512Mi").set_memory_limit(memory)
    kubernetes.set_timeout(task, TASK_SECONDS)
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.add_pod_label(task, PRODUCT_LABEL, PRODUCT)
    return task
