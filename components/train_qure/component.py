"""train_qure: fine-tunes QuRe, in this task's own process or as a Kubeflow TrainJob."""

from kfp import dsl

from components import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE, install_kfp_package=False)
def train_qure(
    params: str,
    training_set: str,
    workspace: str,
    distributed: dict,
    data: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    backbone: dsl.Input[dsl.Model],
    shares: dsl.Input[list[dsl.Dataset]],
    model: dsl.Output[dsl.Model],
    training: dsl.Output[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Train QuRe on a training set; a task that was killed goes on where it was when it has a workspace.

    In this process by default. With `distributed` the same command runs under torchrun as a Kubeflow TrainJob: its
    log is streamed into this task's, its failure is this task's, and it is deleted when this task fails or is stopped.

    The shares of precompute_embeddings are merged first, which takes links where there is a workspace.

    Args:
        params: Text of params.yaml.
        training_set: fashioniq or cirr.
        workspace: Path of the shared volume that checkpoints and features go to; empty for none.
        distributed: Settings of the TrainJob (infra.trainer.job.TrainJobSettings); empty for this process.
        data: From prepare_data.
        validation: From prepare_data; rows that it excluded are left out.
        backbone: From prepare_backbone.
        shares: From precompute_embeddings.
        model: The trained model's folder.
        training: History, minings and plots.
        features: One feature store per image set, in folders named after them.
        summary: Loss, hard negatives, a mined query with pictures, and how many images have features.
    """
    from contextlib import ExitStack
    from typing import Any

    from components.runtime import stage
    from components.shares import carried, merge_shares
    from components.workspace import content_folder, deliver, scratch
    from qure.files import fingerprint
    from qure.pages.features import features_table
    from qure.pages.links import links, places
    from qure.pages.training import training_page
    from qure.registry.labels import model_label
    from qure.tracking import opened_runs
    from qure.training.stage import train

    with stage(params) as settings, opened_runs() as runs, ExitStack() as held:
        key = fingerprint([params, carried(validation), carried(backbone)])[:32]
        work = scratch(model.path, workspace, "train", training_set, key)
        stores, merged = merge_shares(shares, features.path, workspace)
        inputs: dict[str, Any] = {
            "data": content_folder(data.path) / "data",
            "features": stores,
            "backbone": content_folder(backbone.path),
            "validation": content_folder(validation.path),
        }
        if distributed:
            from infra.trainer.launch import trained_as_job

            output = held.enter_context(trained_as_job(distributed, params, training_set, work=work, **inputs))
        else:
            output = work / "output"
            inputs["features"] = inputs["features"] / training_set
            train(settings, training_set, output=output, work=work / "checkpoints", **inputs)
        model.metadata |= model_label(training_set, output / "model", inputs["data"])
        deliver(output / "model", model.path)
        deliver(output / "training", training.path)
        page = training_page(training_set, output / "training", inputs["data"])
        page.section("Features", features_table(merged))
        page.write(summary.path, links=links(places(settings.tracking, runs)))
