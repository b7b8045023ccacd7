"""resolve_data: what a revision of the data means now."""

from typing import NamedTuple

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def resolve_data(params: str, repository: str, revision: str) -> NamedTuple("Pinned", commit=str, data_hash=str):  # type: ignore[valid-type]
    """Find out which data a revision means now, so that everything after it is about fixed data.

    Runs without cache: a branch moves. What follows is cached by what this task returns.

    Args:
        params: Text of params.yaml.
        repository: Git URL of the repository that holds data.dvc and .dvc/config; empty for the rendered catalogue.
        revision: Branch, tag or commit, or DVC's hash of the data.

    Returns:
        commit: The commit that the revision points to; "catalogue" where the data is rendered.
        data_hash: DVC's hash of the data at that commit; empty where the data is rendered.
    """
    import logging

    from components.runtime import stage
    from qure.catalogue.fetch import pin

    with stage(params):
        pinned = pin(repository, revision)
        logger = logging.getLogger("components.resolve_data")
        logger.info("revision %s of %s", revision, repository or "the rendered catalogue")
        logger.info("commit %s, data %s", pinned.commit, pinned.data_hash or "is rendered from the settings")
        return pinned
