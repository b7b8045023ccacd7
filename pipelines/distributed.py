"""The train job's settings, out of the pipelines' configuration."""

from typing import Any

from infra.trainer.job import SecretVariable, TrainJobSettings
from pipelines.config import PipelineConfig


def train_job_settings(config: PipelineConfig) -> dict[str, Any]:
    """`TrainJobSettings` as the train component's argument; empty where training stays in the task's process.

    What is not set is left out: a constant in a pipeline cannot hold null.
    """
    if config.distributed is None or config.workspace is None:
        return {}
    task = config.task("train_qure")
    accelerator = task.accelerator.type if task.accelerator is not None else None
    settings = TrainJobSettings(
        namespace=config.distributed.namespace,
        image=config.image("train_qure"),
        runtime=config.distributed.runtime,
        nodes=config.distributed.nodes,
        processes_per_node=config.distributed.processes_per_node,
        cpu=task.cpu.limit,
        memory=task.memory.limit,
        accelerator=accelerator,
        shared_memory=task.shared_memory,
        workspace_claim=config.workspace.claim,
        workspace_path=config.workspace.path,
        service_account=config.service.service_account,
        node_selector=task.node_selector,
        tolerations=tuple(toleration.model_dump(exclude_none=True) for toleration in task.tolerations),
        secrets=tuple(
            SecretVariable(variable=variable, secret=secret.name, key=key, optional=secret.optional)
            for secret in config.secrets_of("train_qure")
            for key, variable in secret.keys.items()
        ),
        timeout_seconds=config.distributed.timeout_seconds,
    )
    return settings.model_dump(mode="json", exclude_none=True)
