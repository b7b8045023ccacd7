"""The ablation pipeline: which way to choose negatives works, on a revision of the data and a backbone."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.ablate.component import ablate
from components.prepare_backbone.component import prepare_backbone
from components.resolve_inputs.component import resolve_inputs
from pipelines.config import PipelineConfig
from pipelines.outcome import reported
from pipelines.placement import place, workspace_path
from pipelines.release import Release
from pipelines.training import data_of, featured

NAME = "qure-ablation"


def ablation(config: PipelineConfig, release: Release) -> BaseComponent:
    """The pipeline for a configuration and a release; call it to run it locally, or hand it to the compiler."""
    workspace = workspace_path(config)

    @dsl.pipeline(
        name=NAME,
        display_name="QuRe: which negatives?",
        pipeline_config=dsl.PipelineConfig(active_deadline_seconds=config.timeout_seconds),
    )
    def qure_ablation(
        training_set: str = "fashioniq",
        arms: list = [],  # noqa: B006  (kfp takes no None for a list; the default is never changed)
        seeds: int = 3,
        epochs: int = 0,
        backbone: str = "",
        recipe: str = "",
        exclude_leaked: bool = False,
        repository: str = config.data.repository,
        revision: str = config.data.revision,
        shards: int = config.shards,
        params: str = release.params,
    ) -> None:
        """Compare the strategies of negatives, their options and the contrastive baseline under one budget.

        1. resolve inputs: the run ends here when its settings are wrong; what the revision means now.
        2. fetch and validate data: the run ends here when annotations or images are not in order.
        3. prepare backbone: the model that every training starts from.
        4. precompute embeddings: the frozen image tower over all images, in parallel shards.
        5. ablate: every arm on every seed, with a table and a figure; nothing is registered.
        6. report outcome: success or failure, whatever happened.

        Args:
            training_set: fashioniq or cirr.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set; at most 128 of all image sets together.
            params: All settings, as JSON on one line or YAML; the values above win over it.
            arms: Names of arms of qure/ablation/arms.yaml; empty for all.
            seeds: How many seeds.
            epochs: Budget of every arm; 0 for the recipe's.
            backbone: Name of the backbone; empty for that of params.
            recipe: Name of a recipe that comes with qure; empty for that of params.
            exclude_leaked: Leave out training triplets that show images of the splits that judge.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="compare negatives"):
            inputs = place(
                resolve_inputs(
                    params=params,
                    training_set=training_set,
                    repository=repository,
                    revision=revision,
                    shards=shards,
                    backbone=backbone,
                    recipe=recipe,
                    exclude_leaked=exclude_leaked,
                ),
                config,
            )
            settings = inputs.outputs["settings"]
            prepared = data_of(config, release, inputs, training_set=training_set, repository=repository)
            data, validation = prepared.outputs["data"], prepared.outputs["validation"]
            base = place(prepare_backbone(params=settings, data=data, validation=validation), config)
            shares = featured(
                config,
                inputs,
                stated=params,
                data=data,
                validation=validation,
                backbone=base.outputs["backbone"],
            )
            place(
                ablate(
                    params=settings,
                    training_set=training_set,
                    workspace=workspace,
                    arms=arms,
                    seeds=seeds,
                    epochs=epochs,
                    data=data,
                    validation=validation,
                    backbone=base.outputs["backbone"],
                    shares=shares,
                ),
                config,
            )

    return qure_ablation
