"""The ablation pipeline: which way to choose negatives works, on a revision of the data and a backbone."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.ablate.component import ablate
from components.read_settings.component import read_settings
from pipelines.config import PipelineConfig
from pipelines.outcome import reported
from pipelines.placement import place, workspace_path
from pipelines.release import Release
from pipelines.training import featured, fetched, prepared, validated

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

        1. read settings: the run ends here when they are wrong. resolve data, fetch data: what the revision means now.
        2. validate dataset: annotations and images; the run ends here when they are not in order.
        3. prepare backbone: the model that every training starts from.
        4. list shards, precompute embeddings: the frozen image tower over all images, in parallel shards.
        5. collect embeddings: the shards merged.
        6. ablate: every arm on every seed, with a table and a figure; nothing is registered.
        7. report outcome: success or failure, whatever happened.

        Args:
            training_set: fashioniq or cirr.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set.
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
            settings = place(
                read_settings(
                    params=params,
                    training_set=training_set,
                    epochs=0,
                    seed=-1,
                    backbone=backbone,
                    recipe=recipe,
                    exclude_leaked=exclude_leaked,
                ),
                config,
            ).output
            code_version = release.code_version
            data = fetched(config, params=settings, repository=repository, revision=revision, code_version=code_version)
            validation = validated(
                config, params=settings, training_set=training_set, code_version=code_version, data=data
            )
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
            place(
                ablate(
                    params=settings,
                    training_set=training_set,
                    fingerprints=fingerprints,
                    workspace=workspace,
                    arms=arms,
                    seeds=seeds,
                    epochs=epochs,
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    backbone=base.outputs["backbone"],
                    validation=validation.outputs["validation"],
                ),
                config,
            )

    return qure_ablation
