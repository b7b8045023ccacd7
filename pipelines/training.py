"""The training pipeline: from a revision of the data to a registered, perhaps promoted, model."""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.compare_data.component import compare_data
from components.evaluate.component import evaluate
from components.find_champion.component import find_champion
from components.precompute_embeddings.component import precompute_embeddings
from components.prepare_backbone.component import prepare_backbone
from components.prepare_data.component import prepare_data
from components.promote_model.component import promote_model
from components.resolve_inputs.component import resolve_inputs
from components.train_qure.component import train_qure
from pipelines.config import PipelineConfig
from pipelines.distributed import train_job_settings
from pipelines.outcome import reported
from pipelines.placement import place, workspace_path
from pipelines.release import Release

NAME = "qure-training"


def training(config: PipelineConfig, release: Release) -> BaseComponent:
    """The pipeline for a configuration and a release; call it to run it locally, or hand it to the compiler."""
    workspace = workspace_path(config)

    @dsl.pipeline(
        name=NAME,
        display_name="QuRe training",
        pipeline_config=dsl.PipelineConfig(active_deadline_seconds=config.timeout_seconds),
    )
    def qure_training(
        training_set: str = "fashioniq",
        epochs: int = 0,
        seed: int = -1,
        backbone: str = "",
        recipe: str = "",
        exclude_leaked: bool = False,
        repository: str = config.data.repository,
        revision: str = config.data.revision,
        shards: int = config.shards,
        params: str = release.params,
    ) -> None:
        """Retrain QuRe for one training set and promote the model if it is better.

        1. resolve inputs: the run ends here when its settings are wrong; what the revision means now. find champion:
           which version that is now.
        2. fetch and validate data: that data from the DVC remote, or the rendered catalogue where no repository is set;
           the run ends here when annotations or images are not in order.
        3. prepare backbone: the model that training starts from. compare data: whether the data is like that which the
           champion was trained on.
        4. precompute embeddings: the frozen image tower over all images, in parallel shards.
        5. train QuRe: on the shards merged; in the task's process, or as a TrainJob on several GPUs.
        6. evaluate: the benchmarks that belong to the training set side by side (FashionIQ and HP-FashionIQ; CIRR and
           CIRCO).
        7. promote model: one evaluation of both, with metrics and report; into the MLflow registry as challenger;
           champion, if it is better.
        8. report outcome: success or failure, whatever happened.

        Args:
            training_set: fashioniq or cirr.
            epochs: Epochs of the training; 0 for those of params.
            seed: Seed of the training; -1 for that of params.
            backbone: Name of the backbone; empty for that of params.
            recipe: Name of a recipe that comes with qure; empty for that of params.
            exclude_leaked: Leave out training triplets that show images of the splits that judge.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set; at most 128 of all image sets together.
            params: All settings, as JSON on one line or YAML; the values above win over it.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="train, judge, promote"):
            inputs = place(
                resolve_inputs(
                    params=params,
                    training_set=training_set,
                    repository=repository,
                    revision=revision,
                    shards=shards,
                    epochs=epochs,
                    seed=seed,
                    backbone=backbone,
                    recipe=recipe,
                    exclude_leaked=exclude_leaked,
                ),
                config,
            )
            settings = inputs.outputs["settings"]
            champion = place(find_champion(params=params, training_set=training_set), config)
            prepared = data_of(config, release, inputs, training_set=training_set, repository=repository)
            data, validation = prepared.outputs["data"], prepared.outputs["validation"]
            compared(config, params=settings, training_set=training_set, validation=validation, champion=champion)
            base = place(prepare_backbone(params=settings, data=data, validation=validation), config)
            shares = featured(
                config,
                inputs,
                stated=params,
                data=data,
                validation=validation,
                backbone=base.outputs["backbone"],
            )
            trained = place(
                train_qure(
                    params=settings,
                    training_set=training_set,
                    workspace=workspace,
                    distributed=train_job_settings(config),
                    data=data,
                    validation=validation,
                    backbone=base.outputs["backbone"],
                    shares=shares,
                ),
                config,
                display_name="train QuRe",
            )
            own, beside = (
                place(
                    evaluate(
                        params=settings,
                        training_set=training_set,
                        number=number,
                        data=data,
                        validation=validation,
                        backbone=base.outputs["backbone"],
                        model=trained.outputs["model"],
                        features=trained.outputs["features"],
                    ),
                    config,
                    display_name=f"evaluate: {which} benchmark",
                )
                for number, which in enumerate(("own", "other"))
            )
            place(
                promote_model(
                    params=settings,
                    training_set=training_set,
                    data=data,
                    validation=validation,
                    model=trained.outputs["model"],
                    training=trained.outputs["training"],
                    features=trained.outputs["features"],
                    own=own.outputs["part"],
                    beside=beside.outputs["part"],
                ),
                config,
            )

    return qure_training


def data_of(
    config: PipelineConfig, release: Release, inputs: dsl.PipelineTask, *, training_set: Any, repository: Any
) -> dsl.PipelineTask:
    """Adds the task that fetches and validates the data that `inputs` has fixed."""
    return place(
        prepare_data(
            params=inputs.outputs["settings"],
            training_set=training_set,
            repository=repository,
            commit=inputs.outputs["commit"],
            data_hash=inputs.outputs["data_hash"],
            workspace=workspace_path(config),
            code_version=release.code_version,
        ),
        config,
        display_name="fetch and validate data",
    )


def compared(
    config: PipelineConfig, *, params: Any, training_set: Any, validation: Any, champion: dsl.PipelineTask
) -> dsl.PipelineTask:
    """Adds the task that compares data with what the champion was trained on."""
    return place(
        compare_data(
            params=params,
            training_set=training_set,
            version=champion.outputs["version"],
            fingerprint=champion.outputs["fingerprint"],
            validation=validation,
        ),
        config,
    )


def featured(
    config: PipelineConfig, inputs: dsl.PipelineTask, *, stated: Any, data: Any, validation: Any, backbone: Any
) -> dsl.Collected:
    """Adds the tasks that compute features in parallel shares; returns the shares, for a task that merges them.

    They take the pipeline's own argument (`stated`): features depend on nothing that single values change, and
    kfp 2.17.0's local runner gives a loop's tasks the loop's item in place of another task's output.
    """
    shares = inputs.outputs["Output"]
    with dsl.ParallelFor(items=shares, name="features, shard by shard", parallelism=config.parallelism) as item:
        share = place(
            precompute_embeddings(
                params=stated,
                image_set=item.image_set,
                shard=item.shard,
                shards=item.shards,
                workspace=workspace_path(config),
                data=data,
                backbone=backbone,
                validation=validation,
            ),
            config,
        )
    return dsl.Collected(share.outputs["features"])
