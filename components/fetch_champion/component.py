"""fetch_champion: the model that is champion now, and what is known of the data it was trained on."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def fetch_champion(
    params: str,
    training_set: str,
    model: dsl.Output[dsl.Model],
    champion: dsl.Output[dsl.Artifact],
) -> str:
    """Bring the champion from the MLflow registry, with the statistics of its training data.

    There must be one. Runs without cache: the champion changes.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        model: The champion's model folder.
        champion: champion.json: name, version, fingerprints; statistics.json of its training data.

    Returns:
        Name and version.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from qure.registry.labels import version_label
    from qure.registry.monitoring import fetch_champion as fetch

    with stage(params) as settings:
        found = fetch(settings, training_set, model=Path(model.path), facts=Path(champion.path))
        model.metadata |= version_label(found)
        told = f"{found['name']} {found['version']}"
        logging.getLogger("components.fetch_champion").info("champion: %s, model %s", told, found["model_fingerprint"])
        return told
