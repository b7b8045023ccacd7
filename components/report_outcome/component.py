"""report_outcome: the exit handler, which says how a pipeline run ended."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def report_outcome(params: str, pipeline: str, training_set: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Say how the run ended, whatever happened: in the log, and to the address in QURE_NOTIFICATION_URL if set.

    Args:
        params: Text of params.yaml.
        pipeline: Name of the pipeline.
        training_set: fashioniq or cirr.
        status: State and error of the run, from Kubeflow.
    """
    from components.runtime import stage
    from qure.notification import Outcome, notify

    with stage(params):
        notify(
            Outcome(
                pipeline=pipeline,
                training_set=training_set,
                state=status.state,
                failed_task=status.pipeline_task_name,
                message=status.error_message or "",
            )
        )
