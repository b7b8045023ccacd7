"""fetch_data: the data of a fixed revision, from the DVC remote; the catalogue where there is no repository."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def fetch_data(
    params: str,
    repository: str,
    commit: str,
    data_hash: str,
    workspace: str,
    code_version: str,
    data: dsl.Output[dsl.Dataset],
) -> str:
    """Bring the data of a fixed revision from the DVC remote, or render the catalogue where no repository is set.

    The artifact holds `data/`, in the benchmarks' public layouts, and `data.dvc` with its fingerprint.

    Args:
        params: Text of params.yaml.
        repository: Git URL of the repository that holds data.dvc and .dvc/config; empty for the rendered catalogue.
        commit: The commit, from resolve_data.
        data_hash: DVC's hash of the data, from resolve_data.
        workspace: Path of the shared volume that big outputs go to; empty for the artifact store.
        code_version: Version of the code; part of the cache key.
        data: The data root's parent folder.

    Returns:
        The data's fingerprint.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import place_output
    from qure.catalogue.fetch import Pinned, fetch
    from qure.files import fingerprint

    with stage(params) as settings:
        key = data_hash or fingerprint([settings.catalogue.model_dump(), code_version])[:32]
        cache = Path(workspace) / "dvc-cache" if workspace else None
        output = place_output(data.path, workspace, "data", key)
        found = str(fetch(settings, repository, Pinned(commit, data_hash), output, cache=cache))
        data.metadata |= {"display_name": f"data {found}", "fingerprint": found, "commit": commit}
        logging.getLogger("components.fetch_data").info("data %s of commit %s", found, commit)
        return found
