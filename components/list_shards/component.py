"""list_shards: the shares of work that precompute_embeddings fans out over."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def list_shards(params: str, training_set: str, shards: int, fingerprints: str, model: str) -> list:
    """List the shares of feature computation, one item for each image set and shard.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        shards: Shares per image set.
        fingerprints: Fingerprints of everything that decides the features: data, validation, code, backbone.
        model: Name and version of the model whose image tower is used; empty where `fingerprints` names it.

    Returns:
        Items {image_set, shard, shards, inputs}; `inputs` is one fingerprint of `fingerprints` and the settings.
    """
    import logging

    from components.runtime import stage
    from qure.benchmarks import image_sets_of
    from qure.files import fingerprint

    with stage(params) as settings:
        inputs = fingerprint([fingerprints, model, settings.features.model_dump()])
        listed = [
            {"image_set": image_set, "shard": shard, "shards": shards, "inputs": inputs}
            for image_set in image_sets_of(training_set)
            for shard in range(shards)
        ]
        told = ", ".join(image_sets_of(training_set))
        logging.getLogger("components.list_shards").info("%d shares of %s, inputs %s", len(listed), told, inputs[:16])
        return listed
