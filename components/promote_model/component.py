"""promote_model: the evaluations joined, the model registered as challenger, and champion if it deserves it."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def promote_model(
    params: str,
    training_set: str,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    own: dsl.Input[dsl.Dataset],
    beside: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Dataset],
    registration: dsl.Output[dsl.Artifact],
    promotion: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
    evaluated: dsl.Output[dsl.Markdown],
    registered: dsl.Output[dsl.Markdown],
) -> None:
    """Join the evaluations, register the model, and make it champion if it loads, passes the thresholds, is not worse.

    Three stages one after the other. Each finds what it has done before, so the task may be tried again: the same
    model keeps its version, and a champion stays champion. A refusal fails the task only where `promotion.required` is
    set; report and evaluation are then in MLflow alone. Runs without cache: the registry is state outside the inputs.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        data: From prepare_data: pictures of the report, the registered model's gallery, and what the champion is
            evaluated on again where it was judged on other data.
        validation: From prepare_data; its statistics are kept with the version, to tell drift by.
        model: From train_qure.
        training: From train_qure.
        features: From train_qure.
        own: From evaluate, of the training set's own benchmark.
        beside: From evaluate, of the other one.
        evaluation: metrics.json, results per query, report.
        registration: registration.json: the verdict, name, version, fingerprints.
        promotion: promotion.json: the verdict, the decision and its reasons.
        metrics: About ten numbers: the model, its interval, the champion, the untrained backbone, chance.
        report: Self-contained report with pictures.
        summary: The verdict of the promotion, then why, and the comparison with the champion.
        evaluated: The main number, controls, and the main metrics with their intervals.
        registered: What was registered, with its main metrics.
    """
    from pathlib import Path
    from typing import Any

    from components.runtime import stage
    from components.workspace import content_folder
    from qure.benchmarks import image_sets_of
    from qure.evaluation.stage import join_evaluations
    from qure.pages.evaluation import evaluation_page
    from qure.pages.links import links, places, write_framed
    from qure.pages.numbers import headline_numbers, show_numbers
    from qure.pages.registry import promotion_page, registration_page
    from qure.registry.labels import version_label
    from qure.registry.monitoring import reevaluation
    from qure.registry.stage import promote, register
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        stores = {name: content_folder(features.path) / name for name in image_sets_of(training_set)}
        judged, passed = Path(evaluation.path), content_folder(validation.path)
        common: dict[str, Any] = {"data": content_folder(data.path) / "data"}
        made: dict[str, Any] = {"model": content_folder(model.path), "training": content_folder(training.path)}
        parts = [content_folder(own.path), content_folder(beside.path)]
        join_evaluations(settings, training_set, parts=parts, training=made["training"], output=judged, **common)
        told = places(settings.tracking, runs)
        write_framed(judged / "report.html", told, report.path)
        evaluation_page(training_set, judged).write(evaluated.path, links=links(told, report=True))

        challenger = Path(registration.path)
        kept: dict[str, Any] = {"features": stores, "validation": passed, **common}
        found = register(settings, training_set, evaluation=judged, output=challenger, **made, **kept)
        registration.metadata |= version_label(found)
        told = places(settings.tracking, runs, name=found["name"], version=found["version"])
        registration_page(found).write(registered.path, links=links(told))

        again = reevaluation(settings, training_set, **kept)
        given: dict[str, Any] = {"evaluation": judged, "output": Path(promotion.path), "reevaluate": again, **common}
        decision = promote(settings, training_set, registration=challenger, **given)
        show_numbers(metrics, headline_numbers(training_set, judged, decision["comparison"]))
        told = places(settings.tracking, runs, name=found["name"], version=found["version"])
        page = promotion_page(training_set, decision, judged)
        page.write(summary.path, links=links(told, report=decision["compared_with"] is not None))
