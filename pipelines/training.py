"""The training pipeline: from a revision of the data to a registered, perhaps promoted, model."""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.collect_embeddings.component import collect_embeddings
from components.compare_data.component import compare_data
from components.evaluate.component import evaluate
from components.fetch_data.component import fetch_data
from components.find_champion.component import find_champion
from components.join_evaluations.component import join_evaluations
from components.list_shards.component import list_shards
from components.precompute_embeddings.component import precompute_embeddings
from components.prepare_backbone.component import prepare_backbone
from components.promote_model.component import promote_model
from components.read_settings.component import read_settings
from components.register_model.component import register_model
from components.resolve_data.component import resolve_data
from components.train_qure.component import train_qure
from components.validate_dataset.component import validate_dataset
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

        1. read settings: the run ends here when they are wrong. resolve data: what the revision means now.
        2. fetch data: that data from the DVC remote; the rendered catalogue where no repository is set.
        3. validate dataset: annotations and images; the run ends here when they are not in order. find champion,
           compare data: whether the data is like that which the champion was trained on.
        4. prepare backbone: the model that training starts from.
        5. list shards, precompute embeddings: the frozen image tower over all images, in parallel shards.
        6. collect embeddings: the shards merged.
        7. train QuRe: in the task's process, or as a TrainJob on several GPUs.
        8. evaluate: the benchmarks that belong to the training set side by side (FashionIQ and HP-FashionIQ; CIRR and
           CIRCO). join evaluations: one evaluation of both, with metrics and report.
        9. register model: into the MLflow registry, as challenger.
        10. promote model: champion, if it is better.
        11. report outcome: success or failure, whatever happened.

        Args:
            training_set: fashioniq or cirr.
            epochs: Epochs of the training; 0 for those of params.
            seed: Seed of the training; -1 for that of params.
            backbone: Name of the backbone; empty for that of params.
            recipe: Name of a recipe that comes with qure; empty for that of params.
            exclude_leaked: Leave out training triplets that show images of the splits that judge.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set.
            params: All settings, as JSON on one line or YAML; the values above win over it.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="train, judge, promote"):
            settings = place(
                read_settings(
                    params=params,
                    training_set=training_set,
                    epochs=epochs,
                    seed=seed,
                    backbone=backbone,
                    recipe=recipe,
                    exclude_leaked=exclude_leaked,
                ),
                config,
            ).output
            code_version = release.code_version
            data = fetched(config, params=settings, repository=repository, revision=revision, code_version=code_version)
            champion = place(find_champion(params=settings, training_set=training_set), config)
            validation = validated(
                config, params=settings, training_set=training_set, code_version=code_version, data=data
            )
            compared(config, params=settings, validation=validation, champion=champion)
            base = prepared(config, params=settings, data=data, validation=validation)
            fingerprints = base.outputs["Output"]
            features = featured(
                config,
                params=settings,
                stated=params,
                training_set=training_set,
                shards=shards,
                fingerprints=fingerprints,
                data=data.outputs["data"],
                backbone=base.outputs["backbone"],
                validation=validation.outputs["validation"],
            )
            trained = place(
                train_qure(
                    params=settings,
                    training_set=training_set,
                    fingerprints=fingerprints,
                    workspace=workspace,
                    distributed=train_job_settings(config),
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    backbone=base.outputs["backbone"],
                    validation=validation.outputs["validation"],
                ),
                config,
                display_name="train QuRe",
            )
            evaluated = judged(
                config,
                params=settings,
                training_set=training_set,
                fingerprints=fingerprints,
                data=data.outputs["data"],
                features=features.outputs["features"],
                backbone=base.outputs["backbone"],
                trained=trained,
                validation=validation.outputs["validation"],
            )
            registered = place(
                register_model(
                    params=settings,
                    training_set=training_set,
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    validation=validation.outputs["validation"],
                    model=trained.outputs["model"],
                    training=trained.outputs["training"],
                    evaluation=evaluated.outputs["evaluation"],
                ),
                config,
            )
            place(
                promote_model(
                    params=settings,
                    training_set=training_set,
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    validation=validation.outputs["validation"],
                    registration=registered.outputs["registration"],
                    evaluation=evaluated.outputs["evaluation"],
                ),
                config,
            )

    return qure_training


def fetched(
    config: PipelineConfig, *, params: Any, repository: Any, revision: Any, code_version: Any
) -> dsl.PipelineTask:
    """Adds the tasks that pin a revision and fetch its data; returns the latter."""
    pinned = place(resolve_data(params=params, repository=repository, revision=revision), config)
    return place(
        fetch_data(
            params=params,
            repository=repository,
            commit=pinned.outputs["commit"],
            data_hash=pinned.outputs["data_hash"],
            workspace=workspace_path(config),
            code_version=code_version,
        ),
        config,
    )


def validated(
    config: PipelineConfig,
    *,
    params: Any,
    training_set: Any,
    code_version: Any,
    data: dsl.PipelineTask,
) -> dsl.PipelineTask:
    """Adds the task that checks fetched data."""
    return place(
        validate_dataset(
            params=params,
            training_set=training_set,
            data_fingerprint=data.outputs["Output"],
            workspace=workspace_path(config),
            code_version=code_version,
            data=data.outputs["data"],
        ),
        config,
    )


def prepared(
    config: PipelineConfig, *, params: Any, data: dsl.PipelineTask, validation: dsl.PipelineTask
) -> dsl.PipelineTask:
    """Adds the task that makes the model that training starts from."""
    return place(
        prepare_backbone(
            params=params,
            fingerprints=validation.outputs["Output"],
            data=data.outputs["data"],
            validation=validation.outputs["validation"],
        ),
        config,
    )


def compared(
    config: PipelineConfig, *, params: Any, validation: dsl.PipelineTask, champion: dsl.PipelineTask
) -> dsl.PipelineTask:
    """Adds the task that compares data with what the champion was trained on."""
    return place(
        compare_data(
            params=params,
            validation=validation.outputs["validation"],
            champion=champion.outputs["champion"],
        ),
        config,
    )


def featured(
    config: PipelineConfig,
    *,
    params: Any,
    stated: Any,
    training_set: Any,
    shards: Any,
    fingerprints: Any,
    data: Any,
    backbone: Any,
    validation: Any,
    model: Any = "",
) -> dsl.PipelineTask:
    """Adds the tasks that compute features in parallel shards and merge them; returns the merging one.

    The shards take the pipeline's own argument (`stated`): features depend on nothing that single values change, and
    kfp 2.17.0's local runner gives a loop's tasks the loop's item in place of another task's output.
    """
    listed = place(
        list_shards(params=params, training_set=training_set, shards=shards, fingerprints=fingerprints, model=model),
        config,
    )
    with dsl.ParallelFor(items=listed.output, name="features, shard by shard", parallelism=config.parallelism) as item:
        share = place(
            precompute_embeddings(
                params=stated,
                image_set=item.image_set,
                shard=item.shard,
                shards=item.shards,
                inputs=item.inputs,
                workspace=workspace_path(config),
                data=data,
                backbone=backbone,
                validation=validation,
            ),
            config,
        )
    return place(
        collect_embeddings(
            params=params,
            listed=listed.output,
            workspace=workspace_path(config),
            shards=dsl.Collected(share.outputs["features"]),
        ),
        config,
    )


def judged(
    config: PipelineConfig,
    *,
    params: Any,
    training_set: Any,
    fingerprints: Any,
    data: Any,
    features: Any,
    backbone: Any,
    trained: dsl.PipelineTask,
    validation: Any,
) -> dsl.PipelineTask:
    """Adds a task per benchmark of the training set, side by side, and the one that joins them; returns the latter."""
    own, beside = (
        place(
            evaluate(
                params=params,
                training_set=training_set,
                number=number,
                fingerprints=fingerprints,
                data=data,
                features=features,
                backbone=backbone,
                model=trained.outputs["model"],
                validation=validation,
            ),
            config,
            display_name=f"evaluate: {which} benchmark",
        )
        for number, which in enumerate(("own", "other"))
    )
    return place(
        join_evaluations(
            params=params,
            training_set=training_set,
            data=data,
            training=trained.outputs["training"],
            own=own.outputs["part"],
            beside=beside.outputs["part"],
        ),
        config,
    )
