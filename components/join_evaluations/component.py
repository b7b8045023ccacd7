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
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Make one evaluation of the benchmarks that evaluate tasks have judged side by side, and show it.

    Runs without cache, so that each run shows its report.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data, for the report's pictures.
        training: From train_qure, for the report.
        own: From evaluate, of the training set's own benchmark.
        beside: From evaluate, of the other one.
        evaluation: metrics.json, results per query, report.
        report: Self-contained report with pictures.
        summary: The main number, controls, and the main metrics with their intervals.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.evaluation.stage import join_evaluations as join
    from qure.pages.evaluation import evaluation_page
    from qure.pages.links import links, places, write_framed
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        join(
            settings,
            training_set,
            parts=[content_folder(own.path), content_folder(beside.path)],
            data=content_folder(data.path) / "data",
            training=content_folder(training.path),
            output=Path(evaluation.path),
        )
        found = places(settings.tracking, runs)
        write_framed(Path(evaluation.path) / "report.html", found, report.path)
        page = evaluation_page(training_set, Path(evaluation.path))
        page.write(summary.path, links=links(found, report=True))
