"""report_outcome: the exit handler, which says how a pipeline run ended."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def report_outcome(pipeline: str, training_set: str, pages: dict, status: dsl.PipelineTaskFinalStatus) -> None:
    """Say how the run ended, whatever happened: in the log, and to the address in QURE_NOTIFICATION_URL if set.

    The run's own Workflow is read: Kubeflow's final status says RUNNING of runs that were stopped, that ran out of time
    or memory, or that the cache served, and names no task. Needs no volume and no secret but the notification's.

    Args:
        pipeline: Name of the pipeline.
        training_set: fashioniq or cirr.
        pages: Addresses for people to link to: kubeflow, mlflow; either may be missing.
        status: State of the run, from Kubeflow; told where the Workflow cannot be read.
    """
    from components.runtime import guarded
    from infra.argo.report import outcome
    from qure.notification import notify

    with guarded():
        notify(outcome(pipeline, training_set, status.state, status.error_message or "", pages))
