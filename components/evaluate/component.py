"""evaluate: judges a trained model on the benchmarks of its training set."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    backbone: dsl.Input[dsl.Model],
    model: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Judge the trained model on the benchmarks of its training set, beside the untrained one and the champion.

    Runs without cache: the champion that it is compared with changes.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data.
        features: From collect_embeddings.
        backbone: From prepare_backbone: the untrained model, as a control.
        model: From train_qure.
        training: From train_qure, for the report.
        validation: From validate_dataset; rows that it excluded are left out.
        evaluation: metrics.json, results per query, report.
        metrics: Every metric, flat.
        report: Self-contained report with pictures.
        summary: The table of results.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import located, shown
    from qure.config import image_sets_of
    from qure.evaluation.stage import evaluate as judge

    with stage(params) as settings:
        stores = {name: located(features.path) / name for name in image_sets_of(training_set)}
        judge(
            settings,
            training_set,
            data=located(data.path) / "data",
            features=stores,
            model=located(model.path),
            backbone=located(backbone.path),
            training=located(training.path),
            validation=located(validation.path),
            output=Path(evaluation.path),
        )
        shown(Path(evaluation.path), metrics, report, summary)
