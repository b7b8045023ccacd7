"""The scheduled check of the champion: fresh data, the same measures, and whether the data has drifted."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.evaluate_champion.component import evaluate_champion as evaluate_champion_task
from components.fetch_champion.component import fetch_champion
from pipelines.config import PipelineConfig
from pipelines.outcome import reported
from pipelines.placement import place
from pipelines.release import Release
from pipelines.training import compared, featured, fetched, validated

NAME = "qure-evaluate-champion"


def evaluate_champion(config: PipelineConfig, release: Release) -> BaseComponent:
    """The pipeline for a configuration and a release; call it to run it locally, or hand it to the compiler."""

    @dsl.pipeline(
        name=NAME,
        display_name="QuRe: is the champion still good?",
        pipeline_config=dsl.PipelineConfig(active_deadline_seconds=config.timeout_seconds),
    )
    def qure_evaluate_champion(
        training_set: str = "fashioniq",
        repository: str = config.data.repository,
        revision: str = config.data.revision,
        shards: int = config.shards,
        params: str = release.params,
    ) -> None:
        """Evaluate the champion on fresh data and tell whether the data has drifted.

        1. resolve data, fetch data: what the revision means now.
        2. fetch champion: from the registry, with the statistics of the data that it was trained on.
        3. validate dataset: annotations and images. compare data: drift against the champion's training data.
        4. list shards, precompute embeddings, collect embeddings: features by the champion's image tower.
        5. evaluate champion: metrics with intervals; red where a threshold of promotion.thresholds is missed.
        6. report outcome: success or failure, whatever happened.

        Args:
            training_set: fashioniq or cirr.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set.
            params: All settings, as JSON on one line or YAML.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="check the champion"):
            code_version = release.code_version
            data = fetched(config, params=params, repository=repository, revision=revision, code_version=code_version)
            champion = place(fetch_champion(params=params, training_set=training_set), config)
            validation = validated(
                config, params=params, training_set=training_set, code_version=code_version, data=data
            )
            drift = compared(config, params=params, validation=validation, champion=champion)
            features = featured(
                config,
                params=params,
                stated=params,
                training_set=training_set,
                shards=shards,
                fingerprints=validation.outputs["Output"],
                model=champion.outputs["Output"],
                data=data.outputs["data"],
                backbone=champion.outputs["model"],
                validation=validation.outputs["validation"],
            )
            place(
                evaluate_champion_task(
                    params=params,
                    training_set=training_set,
                    data=data.outputs["data"],
                    features=features.outputs["features"],
                    model=champion.outputs["model"],
                    champion=champion.outputs["champion"],
                    validation=validation.outputs["validation"],
                    drift=drift.outputs["drift"],
                ),
                config,
            )

    return qure_evaluate_champion
