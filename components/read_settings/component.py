"""read_settings: the settings of a run, of the text that a form holds and of the values beside it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def read_settings(
    params: str,
    training_set: str,
    epochs: int,
    seed: int,
    backbone: str,
    recipe: str,
    exclude_leaked: bool,
) -> str:
    """Check the settings of a run, and lay what people vary over them: single values win over the text.

    The first task: a text that is broken ends the run here, with line and key.

    Args:
        params: Settings as JSON on one line, or YAML.
        training_set: fashioniq or cirr.
        epochs: Epochs of the training; 0 for those of the settings.
        seed: Seed of the training; -1 for that of the settings.
        backbone: Name of the backbone; empty for that of the settings.
        recipe: Name of a recipe that comes with qure, in place of the settings' recipe and its single values.
        exclude_leaked: Leave out training triplets that show images of the splits that judge.

    Returns:
        The settings, as JSON on one line.
    """
    import logging

    from components.runtime import stage
    from components.settings import changed

    with stage(params):
        text = changed(
            params,
            training_set,
            epochs=epochs or None,
            seed=seed if seed >= 0 else None,
            backbone=backbone or None,
            recipe=recipe or None,
            exclude_leaked=exclude_leaked or None,
        )
        logging.getLogger("components.read_settings").info("settings of %s: %s", training_set, text)
        return text
