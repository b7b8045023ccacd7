"""compare_data: whether the data is like that which the champion was trained on."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def compare_data(
    params: str,
    training_set: str,
    version: int,
    fingerprint: str,
    validation: dsl.Input[dsl.Dataset],
    drift: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Compare the data with what the champion was trained on, and say what has shifted; decide nothing.

    Apart from prepare_data: the champion changes, what the data is like does not.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        version: The champion's, from find_champion; 0 where there is none.
        fingerprint: From find_champion; part of the cache key.
        validation: From prepare_data.
        drift: JSON: what has shifted, in sentences, and every measure with its effect size.
        summary: The same as a page.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.pages.validation import drift_page
    from qure.registry.monitoring import compare_data as compare
    from qure.registry.monitoring import fetch_champion

    with stage(params) as settings:
        champion = Path(f"{drift.path}.champion")
        fetch_champion(settings, training_set, version=version, model=None, facts=champion, required=False)
        found = compare(
            settings, validation=content_folder(validation.path), champion=champion, output=Path(drift.path)
        )
        drift_page(found).write(summary.path)
