"""prepare_backbone: the model that training starts from."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def prepare_backbone(
    params: str,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    backbone: dsl.Output[dsl.Model],
) -> None:
    """Make (catalogue) or import (BLIP-2) the model that training starts from.

    What validation excluded of its training set is left out of the catalogue's pre-training.

    Args:
        params: Text of params.yaml.
        data: From prepare_data.
        validation: From prepare_data; images and rows that it excluded are left out.
        backbone: Model folder: config.json, model.safetensors, tokenizer, manifest.json.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.backbone.stage import prepare_backbone as prepare
    from qure.files import read_json

    with stage(params) as settings:
        prepare(
            settings,
            content_folder(data.path) / "data",
            Path(backbone.path),
            validation=[content_folder(validation.path)],
        )
        backbone.metadata["backbone"] = settings.backbone.name
        made = str(read_json(Path(backbone.path) / "manifest.json")["fingerprint"])
        backbone.metadata |= {"display_name": f"{settings.backbone.name} {made[:12]}", "fingerprint": made}
        logging.getLogger("components.prepare_backbone").info("backbone %s: %s", settings.backbone.name, made)
