"""compare_data: whether the data is like that which the champion was trained on."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def compare_data(
    params: str,
    validation: dsl.Input[dsl.Dataset],
    champion: dsl.Input[dsl.Artifact],
    drift: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Compare the data with what the champion was trained on, and say what has shifted; decide nothing.

    Runs without cache, and apart from validate_dataset: the champion changes, what the data is like does not.

    Args:
        params: Text of params.yaml.
        validation: From validate_dataset.
        champion: From fetch_champion.
        drift: JSON: what has shifted, in sentences, and every measure with its effect size.
        summary: The same as a page.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.pages.validation import drift_page
    from qure.registry.monitoring import compare_data as compare

    with stage(params) as settings:
        found = compare(
            settings,
            validation=content_folder(validation.path),
            champion=content_folder(champion.path),
            output=Path(drift.path),
        )
        drift_page(found).write(summary.path)
