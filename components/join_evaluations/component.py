"""join_evaluations: one evaluation, with its report, of the benchmarks that were judged side by side."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def join_evaluations(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    training: dsl.Input[dsl.Dataset],
    own: dsl.Input[dsl.Dataset],
    beside: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Make one evaluation of the benchmarks that evaluate tasks have judged side by side, and show it.

    Runs without cache, so that each run shows its metrics and its report.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data, for the report's pictures.
        training: From train_qure, for the report.
        own: From evaluate, of the training set's own benchmark.
        beside: From evaluate, of the other one.
        evaluation: metrics.json, results per query, report.
        metrics: Every metric, flat.
        report: Self-contained report with pictures.
        summary: The table of results.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder, show_evaluation
    from qure.evaluation.stage import join_evaluations as join

    with stage(params) as settings:
        join(
            settings,
            training_set,
            parts=[content_folder(own.path), content_folder(beside.path)],
            data=content_folder(data.path) / "data",
            training=content_folder(training.path),
            output=Path(evaluation.path),
        )
        show_evaluation(Path(evaluation.path), metrics, report, summary)
