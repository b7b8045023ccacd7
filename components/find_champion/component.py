"""find_champion: which model is champion now, if any."""

from typing import NamedTuple

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def find_champion(params: str, training_set: str) -> NamedTuple("Champion", version=int, fingerprint=str):  # type: ignore[valid-type]
    """Ask the MLflow registry which version is champion now; there may be none.

    Runs without cache: the champion changes. What follows is cached by what this task returns.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.

    Returns:
        version: The champion's version; 0 where there is none.
        fingerprint: Of the champion's model and training data: a registry that was begun anew counts from 1 again.
    """
    import logging

    from components.runtime import stage
    from qure.files import fingerprint
    from qure.registry.monitoring import find_champion as find

    with stage(params) as settings:
        found = find(settings, training_set)
        logging.getLogger("components.find_champion").info("champion: %s", found["version"] or "none yet")
        return found["version"] or 0, fingerprint([found["model_fingerprint"], found["data_fingerprint"]])
