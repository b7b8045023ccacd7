"""register_model: the trained model into the MLflow registry, as challenger."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def register_model(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Dataset],
    evaluation: dsl.Input[dsl.Dataset],
    registration: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Put the trained model into the MLflow registry as challenger.

    Runs without cache: the registry is state outside the inputs.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data: the registered model's gallery, and its fingerprint.
        features: From collect_embeddings.
        validation: From validate_dataset; its statistics are kept, to tell drift by.
        model: From train_qure.
        training: From train_qure.
        evaluation: From evaluate.
        registration: registration.json: the verdict, name, version, fingerprints.
        summary: What was registered, with its main metrics.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of
    from qure.pages.links import links, places
    from qure.pages.registry import registration_page
    from qure.registry.labels import version_label
    from qure.registry.stage import register
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        found = register(
            settings,
            training_set,
            data=content_folder(data.path) / "data",
            features={name: content_folder(features.path) / name for name in image_sets_of(training_set)},
            validation=content_folder(validation.path),
            model=content_folder(model.path),
            training=content_folder(training.path),
            evaluation=content_folder(evaluation.path),
            output=Path(registration.path),
        )
        registration.metadata |= version_label(found)
        told = places(settings.tracking, runs, name=found["name"], version=found["version"])
        registration_page(found).write(summary.path, links=links(told))
