"""promote_model: the challenger becomes champion, if it deserves it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def promote_model(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    registration: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Dataset],
    promotion: dsl.Output[dsl.Artifact],
) -> None:
    """Make the challenger champion if it loads, passes the thresholds and is not worse than the champion.

    A refusal fails the task only where `promotion.required` is set. Runs without cache: the champion changes.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data: the champion is evaluated again on it where it was judged on other data.
        features: From collect_embeddings.
        validation: From validate_dataset.
        registration: From register_model.
        evaluation: From evaluate.
        promotion: promotion.json: the decision and its reasons.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of
    from qure.registry.monitoring import reevaluation
    from qure.registry.stage import promote

    with stage(params) as settings:
        promote(
            settings,
            training_set,
            registration=Path(registration.path),
            evaluation=content_folder(evaluation.path),
            output=Path(promotion.path),
            data=content_folder(data.path) / "data",
            reevaluate=reevaluation(
                settings,
                training_set,
                data=content_folder(data.path) / "data",
                features={name: content_folder(features.path) / name for name in image_sets_of(training_set)},
                validation=content_folder(validation.path),
            ),
        )
