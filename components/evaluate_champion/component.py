"""evaluate_champion: whether the champion still holds on fresh data, and whether the data has drifted."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate_champion(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Artifact],
    validation: dsl.Input[dsl.Dataset],
    drift: dsl.Input[dsl.Artifact],
    check: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Evaluate the champion on fresh data; fail where it misses a threshold of `promotion.thresholds`.

    Runs without cache: a scheduled check is there to be made.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From fetch_data.
        features: From collect_embeddings, computed with the champion's image tower.
        model: From fetch_champion.
        champion: From fetch_champion.
        validation: From validate_dataset; rows that it excluded are left out.
        drift: From compare_data.
        check: JSON: the verdict, version, metrics, missed thresholds, drift.
        metrics: About ten numbers: the champion, its interval, chance.
        report: Self-contained report with pictures.
        summary: The verdict, thresholds, drift and the main metrics.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of
    from qure.evaluation.stage import evaluate
    from qure.pages.links import links, places, write_framed
    from qure.pages.numbers import headline_numbers
    from qure.pages.registry import check_page
    from qure.registry.monitoring import check_champion
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        evaluation = Path(f"{check.path}.evaluation")
        evaluate(
            settings,
            training_set,
            data=content_folder(data.path) / "data",
            features={name: content_folder(features.path) / name for name in image_sets_of(training_set)},
            model=content_folder(model.path),
            validation=content_folder(validation.path),
            output=evaluation,
        )
        metrics.metadata |= headline_numbers(training_set, evaluation)
        found = check_champion(
            settings,
            training_set,
            champion=content_folder(champion.path),
            evaluation=evaluation,
            drift=Path(drift.path),
            output=Path(check.path),
        )
        told = places(settings.tracking, runs, name=found["name"], version=found["version"])
        write_framed(evaluation / "report.html", told, report.path)
        check_page(found).write(summary.path, links=links(told, report=True))
