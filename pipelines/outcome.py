"""The exit handler of every pipeline."""

from typing import Any

from kfp.dsl import PipelineTask

from components.report_outcome.component import report_outcome
from pipelines.config import PipelineConfig
from pipelines.placement import place


def reported(config: PipelineConfig, *, pipeline: str, training_set: Any) -> PipelineTask:
    """Adds the task that says how the run ended."""
    jobs = config.distributed
    task = report_outcome(
        pipeline=pipeline,
        training_set=training_set,
        pages=config.service.pages,
        distributed=jobs is not None,
        jobs_namespace=(jobs.namespace or "") if jobs is not None else "",
    )
    return place(task, config)
