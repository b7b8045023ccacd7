"""collect_embeddings: the shares of all image sets, merged to one feature store per image set."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def collect_embeddings(
    params: str,
    listed: list,
    workspace: str,
    shards: dsl.Input[list[dsl.Dataset]],
    features: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Merge the shares of parallel precompute_embeddings tasks: one folder per image set, equal to a single run's.

    Args:
        params: Text of params.yaml.
        listed: The shares that there must be, from list_shards; part of the cache key.
        workspace: Path of the shared volume that big outputs go to; empty for the artifact store.
        shards: The shares, from precompute_embeddings.
        features: One feature store per image set, in folders named after them.
        summary: How many images there are of each image set.
    """
    from components.runtime import stage
    from components.workspace import content_folder, place_output
    from qure.features.stage import collect
    from qure.pages.features import collected_page

    with stage(params):
        output = place_output(features.path, workspace, "features", listed[0]["inputs"], "collected")
        found = {}
        for image_set in sorted({item["image_set"] for item in listed}):
            shares = [content_folder(shard.path) for shard in shards if shard.metadata["image_set"] == image_set]
            found[image_set] = collect(shares, output / image_set)
            features.metadata[image_set] = found[image_set]["fingerprint"]
        collected_page(found).write(summary.path)
