"""resolve_inputs: what a run is about, fixed at its start: its settings, its data, its shares of work."""

from typing import NamedTuple

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def resolve_inputs(
    params: str,
    training_set: str,
    repository: str,
    revision: str,
    shards: int,
    epochs: int = 0,
    seed: int = -1,
    backbone: str = "",
    recipe: str = "",
    exclude_leaked: bool = False,
) -> NamedTuple("Inputs", settings=str, commit=str, data_hash=str, Output=list):  # type: ignore[valid-type]
    """Fix what a run is about: its settings, which data a revision means now, and the shares of feature computation.

    The first task: settings that are broken end the run here, with line and key. Runs without cache: a branch moves.
    What follows is cached by what this task returns.

    Args:
        params: Settings as JSON on one line, or YAML; the single values below win over it.
        training_set: fashioniq or cirr.
        repository: Git URL of the repository that holds data.dvc and .dvc/config; empty for the rendered catalogue.
        revision: Branch, tag or commit, or DVC's hash of the data.
        shards: Shares per image set; all image sets together have at most 128.
        epochs: Epochs of the training; 0 for those of the settings.
        seed: Seed of the training; -1 for that of the settings.
        backbone: Name of the backbone; empty for that of the settings.
        recipe: Name of a recipe that comes with qure, in place of the settings' recipe and its single values.
        exclude_leaked: Leave out training triplets that show images of the splits that judge.

    Returns:
        settings: The settings, as JSON on one line.
        commit: The commit that the revision points to; "catalogue" where the data is rendered.
        data_hash: DVC's hash of the data at that commit; empty where the data is rendered.
        Output: The shares that precompute_embeddings fans out over: items {image_set, shard, shards}. kfp 2.17.0's
            local runner loops over no output that is called otherwise.
    """
    import logging

    from components.runtime import stage
    from components.settings import changed
    from components.shares import shares_of
    from qure.catalogue.fetch import pin

    with stage(params):
        logger = logging.getLogger("components.resolve_inputs")
        settings = changed(
            params,
            training_set,
            epochs=epochs or None,
            seed=seed if seed >= 0 else None,
            backbone=backbone or None,
            recipe=recipe or None,
            exclude_leaked=exclude_leaked or None,
        )
        logger.info("settings of %s: %s", training_set, settings)
        shares = shares_of(training_set, shards)
        logger.info("features are computed in %d shares, %d of each image set", len(shares), shards)
        pinned = pin(repository, revision)
        logger.info("revision %s of %s", revision, repository or "the rendered catalogue")
        logger.info("commit %s, data %s", pinned.commit, pinned.data_hash or "is rendered from the settings")
        return settings, pinned.commit, pinned.data_hash, shares
