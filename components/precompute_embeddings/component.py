"""precompute_embeddings: the frozen image tower over one share of an image set."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def precompute_embeddings(
    params: str,
    image_set: str,
    shard: int,
    shards: int,
    workspace: str,
    data: dsl.Input[dsl.Dataset],
    backbone: dsl.Input[dsl.Model],
    validation: dsl.Input[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Run the frozen image tower once over one share of an image set's images.

    A killed task that is tried again goes on behind its last finished block where a workspace is set.

    Args:
        params: Text of params.yaml.
        image_set: fashioniq, cirr or circo.
        shard: Which share, from 0.
        shards: How many shares there are.
        workspace: Path of the shared volume that big outputs go to; empty for the artifact store.
        data: From prepare_data.
        backbone: From prepare_backbone, or a model whose image tower is to be used.
        validation: From prepare_data; images that it excluded are left out.
        features: This share's feature store.
        summary: How many images, how fast, and which were skipped.
    """
    from components.runtime import stage
    from components.shares import features_key
    from components.workspace import content_folder, place_output
    from qure.datasets.validated import ValidatedData
    from qure.features.stage import precompute
    from qure.pages.features import features_page
    from qure.pages.links import links, places
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        key = features_key(settings, validation, backbone)
        output = place_output(features.path, workspace, "features", key, image_set, f"{shard}-of-{shards}")
        features.metadata |= {"image_set": image_set, "key": key}
        found = precompute(
            settings,
            image_set,
            data=content_folder(data.path) / "data",
            backbone=content_folder(backbone.path),
            validation=content_folder(validation.path),
            output=output,
            shard=(shard, shards),
        )
        features.metadata |= found
        passed = ValidatedData(content_folder(data.path) / "data", content_folder(validation.path))
        page = features_page(image_set, shard, shards, found, passed)
        page.write(summary.path, links=links(places(settings.tracking, runs)))
