"""fetch_champion: the champion's model, and what is known of it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def fetch_champion(
    params: str,
    training_set: str,
    version: int,
    fingerprint: str,
    model: dsl.Output[dsl.Model],
    champion: dsl.Output[dsl.Artifact],
) -> None:
    """Bring the champion's model from the MLflow registry, with the statistics of its training data.

    There must be one. The version decides what is brought, so the cache may serve it.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        version: The champion's, from find_champion.
        fingerprint: From find_champion; part of the cache key.
        model: The champion's model folder.
        champion: champion.json: name, version, fingerprints; statistics.json of its training data.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from qure.registry.labels import version_label
    from qure.registry.monitoring import fetch_champion as fetch

    with stage(params) as settings:
        found = fetch(settings, training_set, version=version, model=Path(model.path), facts=Path(champion.path))
        model.metadata |= version_label(found)
        logging.getLogger("components.fetch_champion").info(
            "champion: %s %s, model %s", found["name"], found["version"], found["model_fingerprint"]
        )
