"""evaluate_champion: whether the champion still holds on fresh data, and whether the data has drifted."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def evaluate_champion(
    params: str,
    training_set: str,
    workspace: str,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    champion: dsl.Input[dsl.Artifact],
    shares: dsl.Input[list[dsl.Dataset]],
    drift: dsl.Input[dsl.Artifact],
    check: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Evaluate the champion on fresh data; fail where it misses a threshold of `promotion.thresholds`.

    The cache serves it where champion, data, settings and code are the same; never after a threshold was missed,
    because a task that failed leaves nothing in the cache.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        workspace: Path of the shared volume that features go to; empty for none.
        data: From prepare_data.
        validation: From prepare_data; rows that it excluded are left out.
        model: From fetch_champion.
        champion: From fetch_champion.
        shares: From precompute_embeddings, computed with the champion's image tower.
        drift: From compare_data.
        check: JSON: the verdict, version, metrics, missed thresholds, drift.
        metrics: About ten numbers: the champion, its interval, chance.
        report: Self-contained report with pictures.
        summary: The verdict, thresholds, drift and the main metrics.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.shares import merge_shares
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of
    from qure.evaluation.stage import evaluate
    from qure.pages.links import links, places, write_framed
    from qure.pages.numbers import headline_numbers, show_numbers
    from qure.pages.registry import check_page
    from qure.registry.monitoring import check_champion
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        evaluation = Path(f"{check.path}.evaluation")
        stores, _ = merge_shares(shares, f"{check.path}.features", workspace)
        evaluate(
            settings,
            training_set,
            data=content_folder(data.path) / "data",
            features={name: stores / name for name in image_sets_of(training_set)},
            model=content_folder(model.path),
            validation=content_folder(validation.path),
            output=evaluation,
        )
        show_numbers(metrics, headline_numbers(training_set, evaluation))
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
