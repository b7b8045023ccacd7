"""report_outcome: the exit handler, which says how a pipeline run ended."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def report_outcome(
    pipeline: str,
    training_set: str,
    pages: dict,
    distributed: bool,
    jobs_namespace: str,
    status: dsl.PipelineTaskFinalStatus,
) -> None:
    """Say how the run ended, whatever happened: in the log, and to the address in QURE_NOTIFICATION_URL if set.

    Then the train jobs that the run has left are deleted: a task that is stopped or killed has no time for it.

    The run's own Workflow is read: Kubeflow's final status says RUNNING of runs that were stopped, that ran out of time
    or memory, or that the cache served, and names no task. Needs no volume and no secret but the notification's.

    Args:
        pipeline: Name of the pipeline.
        training_set: fashioniq or cirr.
        pages: Addresses for people to link to: kubeflow, mlflow; either may be missing.
        distributed: Whether the pipeline trains as TrainJobs.
        jobs_namespace: Where these are; empty for the run's own namespace.
        status: State of the run, from Kubeflow; told where the Workflow cannot be read.
    """
    import os

    from components.runtime import guarded
    from infra.argo.report import RUN_VARIABLE, WORKFLOW_VARIABLE, outcome
    from infra.trainer.cleanup import delete_jobs_of
    from qure.notification import notify

    with guarded():
        try:
            notify(outcome(pipeline, training_set, status.state, status.error_message or "", pages))
        finally:
            if distributed and os.environ.get(WORKFLOW_VARIABLE):  # in a cluster
                delete_jobs_of(os.environ[RUN_VARIABLE], namespace=jobs_namespace or None)
