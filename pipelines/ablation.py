"""The ablation pipeline: which way to choose negatives works, on a revision of the data and a backbone."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.ablate.component import ablate
from components.prepare_backbone.component import prepare_backbone
from pipelines.config import PipelineConfig
from pipelines.outcome import reported
from pipelines.placement import place, workspace_path
from pipelines.training import featured, fetched, validated

NAME = "qure-ablation"


def ablation(config: PipelineConfig) -> BaseComponent:
    """The pipeline for a configuration; call it to run it locally, or hand it to the compiler."""
    workspace = workspace_path(config)

    @dsl.pipeline(
        name=NAME,
        display_name="QuRe: which negatives?",
        pipeline_config=dsl.PipelineConfig(active_deadline_seconds=config.timeout_seconds),
    )
    def qure_ablation(
        params: str,
        training_set: str = "fashioniq",
        repository: str = config.data.repository,
        revision: str = config.data.revision,
        code_version: str = "unknown",
        shards: int = config.shards,
        arms: list = [],  # noqa: B006  (kfp takes no None for a list; the default is never changed)
        seeds: int = 3,
        epochs: int = 0,
    ) -> None:
        """Compare the strategies of negatives, their options and the contrastive baseline under one budget.

        1. resolve data, fetch data: what the revision means now.
        2. validate dataset: annotations and images; the run ends here when they are not in order.
        3. prepare backbone: the model that every training starts from.
        4. list shards, precompute embeddings: the frozen image tower over all images, in parallel shards.
        5. collect embeddings: the shards merged.
        6. ablate: every arm on every seed, with a table and a figure; nothing is registered.
        7. report outcome: success or failure, whatever happened.

        Args:
            params: Text of params.yaml (qure-pipelines submit fills it in).
            training_set: fashioniq or cirr.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            code_version: Version of the code, part of every cache key.
            shards: Precompute tasks per image set.
            arms: Names of arms of qure/ablation/arms.yaml; empty for all.
            seeds: How many seeds.
            epochs: Budget of every arm; 0 for the recipe's.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="run"):
            data = fetched(config, params=params, repository=repository, revision=revision, code_version=code_version)
            validation = validated(
                config, params=params, training_set=training_set, code_version=code_version, data=data
            )
            backbone = place(
                prepare_backbone(
                    params=params,
                    data_fingerprint=f"{data.outputs['Output']} {validation.outputs['Output']}",
                    code_version=code_version,
                    data=data.outputs["data"],
                    validation=validation.outputs["validation"],
                ),
                config,
            )
            fingerprints = (
                f"{data.outputs['Output']} {validation.outputs['Output']} {backbone.outputs['Output']} {code_version}"
            )
            features = featured(
                config,
                params=params,
                training_set=training_set,
                shards=shards,
                fingerprints=fingerprints,
                data=data.outputs["data"],
                backbone=backbone.outputs["backbone"],
                validation=validation.outputs["validation"],
            )
            place(
                ablate(
                    params=params,
                    training_set=training_set,
                    fingerprints=fingerprints,
                    workspace=workspace,
                    arms=arms,
                    seeds=seeds,
                    epochs=epochs,
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    backbone=backbone.outputs["backbone"],
                    validation=validation.outputs["validation"],
                ),
                config,
            )

    return qure_ablation
