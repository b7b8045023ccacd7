"""ablate: which way to choose negatives works, on these data and this backbone."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def ablate(
    params: str,
    training_set: str,
    workspace: str,
    arms: list,
    seeds: int,
    epochs: int,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    backbone: dsl.Input[dsl.Model],
    shares: dsl.Input[list[dsl.Dataset]],
    ablation: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Train every arm on every seed under one budget and compare; a task that was killed goes on where it was.

    Finished runs are kept in the workspace. Without one they lie beside the artifact, and a new pod starts afresh.

    Args:
        params: Text of params.yaml; its recipe of the training set is what the arms change.
        training_set: fashioniq or cirr.
        workspace: Path of the shared volume that finished runs, checkpoints and features go to; empty for none.
        arms: Names of arms of qure/ablation/arms.yaml; empty for all.
        seeds: How many seeds, 0, 1, ...; intervals are over them.
        epochs: Budget of every arm; 0 for the recipe's.
        data: From prepare_data.
        validation: From prepare_data; rows that it excluded are left out.
        backbone: From prepare_backbone.
        shares: From precompute_embeddings.
        ablation: results.json, results.csv, report.html, table.md, figure.png.
        metrics: The main metric of the best arms and of the baseline.
        summary: The arms, best first, and the figure.
    """
    from pathlib import Path

    from components.runtime import stage
    from components.shares import carried, merge_shares
    from components.workspace import content_folder, scratch
    from qure.ablation.stage import ablate as compare
    from qure.files import fingerprint
    from qure.pages.ablation import ablation_page
    from qure.pages.links import links, places
    from qure.pages.numbers import ablation_numbers, show_numbers
    from qure.tracking import opened_runs

    with stage(params) as settings, opened_runs() as runs:
        output = Path(ablation.path)
        stores, _ = merge_shares(shares, f"{ablation.path}.features", workspace)
        key = fingerprint([params, carried(validation), carried(backbone)])[:32]
        results = compare(
            settings,
            training_set,
            data=content_folder(data.path) / "data",
            features=stores / training_set,
            backbone=content_folder(backbone.path),
            validation=content_folder(validation.path),
            output=output,
            work=scratch(ablation.path, workspace, "ablate", training_set, key),
            arms=arms or None,
            seeds=range(seeds),
            epochs=epochs or None,
        )
        show_numbers(metrics, ablation_numbers(results))
        ablation_page(results, output).write(summary.path, links=links(places(settings.tracking, runs)))
