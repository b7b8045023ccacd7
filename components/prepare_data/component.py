"""prepare_data: the data of a fixed revision, fetched and validated."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def prepare_data(
    params: str,
    training_set: str,
    repository: str,
    commit: str,
    data_hash: str,
    workspace: str,
    code_version: str,
    data: dsl.Output[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Fetch the data of a fixed revision, and check annotations and images before anything is computed from them.

    The data comes from the DVC remote; where no repository is set the catalogue is rendered. The task fails when more
    is wrong than is tolerated. The log and the MLflow run name each bad row: Kubeflow keeps no artifact of a task that
    failed. One that is tried again finds fetched data in the workspace.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr; the benchmarks that belong to it are checked.
        repository: Git URL of the repository that holds data.dvc and .dvc/config; empty for the rendered catalogue.
        commit: The commit, from resolve_inputs.
        data_hash: DVC's hash of the data, from resolve_inputs.
        workspace: Path of the shared volume that big outputs and caches go to; empty for the artifact store.
        code_version: Version of the code; part of the cache key.
        data: Folder that holds `data/`, in the benchmarks' public layouts, and `data.dvc` with its fingerprint.
        validation: result.json, bad_rows.csv, statistics.json and Data Docs.
        summary: What was counted, which rows are bad, with pictures, and what has shifted.
    """
    import logging
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import place_output, scratch
    from qure.catalogue.fetch import Pinned, fetch
    from qure.files import fingerprint
    from qure.pages.links import links, places
    from qure.pages.validation import validation_page
    from qure.tracking import opened_runs
    from qure.validation.stage import validate

    with stage(params) as settings, opened_runs() as runs:
        key = data_hash or fingerprint([settings.catalogue.model_dump(), code_version])[:32]
        cache = Path(workspace) / "dvc-cache" if workspace else None
        output = place_output(data.path, workspace, "data", key)
        found = str(fetch(settings, repository, Pinned(commit, data_hash), output, cache=cache))
        data.metadata |= {"display_name": f"data {found}", "fingerprint": found, "commit": commit}
        logging.getLogger("components.prepare_data").info("data %s of commit %s", found, commit)
        result = validate(
            settings,
            training_set,
            data=output / "data",
            output=Path(validation.path),
            work=scratch(validation.path, workspace, "validation", training_set),
        )
        # All that decides what is computed from this data: its bytes, what was excluded of it, the code.
        validation.metadata["fingerprint"] = f"{found} {result['fingerprint']} {code_version}"
        page = validation_page(Path(validation.path), output / "data")
        page.write(summary.path, links=links(places(settings.tracking, runs)))
