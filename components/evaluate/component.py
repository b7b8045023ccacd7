"""evaluate: judges a trained model on one of the benchmarks of its training set."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate(
    params: str,
    training_set: str,
    number: int,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    backbone: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    features: dsl.Input[dsl.Dataset],
    part: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Judge the trained model on one benchmark of its training set, beside the untrained one and other controls.

    One task per benchmark, side by side: FashionIQ and HP-FashionIQ, CIRR and CIRCO. What belongs to all of them
    (report, metrics) is made by promote_model.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        number: Which of its benchmarks (qure.benchmarks.judged_on): 0 for its own, 1 for the one beside it.
        data: From prepare_data.
        validation: From prepare_data; rows that it excluded are left out.
        backbone: From prepare_backbone: the untrained model, as a control.
        model: From train_qure.
        features: From train_qure.
        part: Metrics, results per query, submissions of this benchmark.
        summary: The main metrics with their intervals.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of, judged_on
    from qure.evaluation.stage import evaluate_benchmark
    from qure.pages.evaluation import part_page
    from qure.pages.links import links, places
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        benchmark = judged_on(training_set)[number]
        part.metadata["benchmark"] = benchmark
        evaluate_benchmark(
            settings,
            training_set,
            benchmark,
            data=content_folder(data.path) / "data",
            features={name: content_folder(features.path) / name for name in image_sets_of(training_set)},
            model=content_folder(model.path),
            backbone=content_folder(backbone.path),
            validation=content_folder(validation.path),
            output=Path(part.path),
        )
        part_page(Path(part.path)).write(summary.path, links=links(places(settings.tracking, runs)))
