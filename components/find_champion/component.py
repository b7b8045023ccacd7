"""find_champion: which model is champion now, if any, and what is known of the data it was trained on."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def find_champion(params: str, training_set: str, champion: dsl.Output[dsl.Artifact]) -> str:
    """Ask the MLflow registry for the champion, with the statistics of its training data; there may be none.

    The model itself stays there. Runs without cache: the champion changes.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        champion: champion.json: name, version, fingerprints; statistics.json of its training data.

    Returns:
        Name and version; the name alone where there is no champion.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from qure.registry.monitoring import fetch_champion

    with stage(params) as settings:
        found = fetch_champion(settings, training_set, model=None, facts=Path(champion.path), required=False)
        told = f"{found['name']} {found['version'] or ''}".strip()
        logging.getLogger("components.find_champion").info("champion: %s", found["version"] or "none yet")
        return told
