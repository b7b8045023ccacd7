"""validate_dataset: annotations and images of a training set's benchmarks, before anything is computed from them."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def validate_dataset(
    params: str,
    training_set: str,
    data_fingerprint: str,
    workspace: str,
    code_version: str,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> str:
    """Check annotations and images of a training set's benchmarks; fail when more is wrong than is tolerated.

    The log and the MLflow run name each bad row: Kubeflow keeps no artifact of a task that failed.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data_fingerprint: From fetch_data; part of the cache key.
        workspace: Path of the shared volume that caches go to; empty for none.
        code_version: Version of the code; part of the cache key.
        data: From fetch_data.
        validation: result.json, bad_rows.csv, statistics.json and Data Docs.
        summary: What was counted, which rows are bad, with pictures, and what has shifted.

    Returns:
        Fingerprints of the data, of what was checked and how, and of the code.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder, scratch
    from qure.pages.links import links, places
    from qure.pages.validation import validation_page
    from qure.tracking import opened_runs
    from qure.validation.stage import validate

    with stage(params) as settings, opened_runs() as runs:
        result = validate(
            settings,
            training_set,
            data=content_folder(data.path) / "data",
            output=Path(validation.path),
            work=scratch(validation.path, workspace, "validation", training_set),
        )
        page = validation_page(Path(validation.path), content_folder(data.path) / "data")
        page.write(summary.path, links=links(places(settings.tracking, runs)))
        return f"{data_fingerprint} {result['fingerprint']} {code_version}"
