"""The scheduled check of the champion: fresh data, the same measures, and whether the data has drifted."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.evaluate_champion.component import evaluate_champion as evaluate_champion_task
from components.fetch_champion.component import fetch_champion
from components.find_champion.component import find_champion
from components.resolve_inputs.component import resolve_inputs
from pipelines.config import PipelineConfig
from pipelines.outcome import reported
from pipelines.placement import place, workspace_path
from pipelines.release import Release
from pipelines.training import compared, data_of, featured

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

        1. resolve inputs: what the revision means now. find champion: which version that is now.
        2. fetch and validate data: annotations and images; the run ends here when they are not in order. fetch
           champion: from the registry, with the statistics of the data that it was trained on.
        3. compare data: drift against the champion's training data.
        4. precompute embeddings: features by the champion's image tower, in parallel shards.
        5. evaluate champion: metrics with intervals; red where a threshold of promotion.thresholds is missed.
        6. report outcome: success or failure, whatever happened.

        Where champion, data, settings and code are those of an earlier run, all but the first step is served from the
        cache.

        Args:
            training_set: fashioniq or cirr.
            repository: Git URL of the repository that holds data.dvc; empty for the rendered catalogue.
            revision: Branch, tag or commit, or DVC hash of the data.
            shards: Precompute tasks per image set; at most 128 of all image sets together.
            params: All settings, as JSON on one line or YAML.
        """
        outcome = reported(config, pipeline=NAME, training_set=training_set)
        with dsl.ExitHandler(outcome, name="check the champion"):
            inputs = place(
                resolve_inputs(
                    params=params, training_set=training_set, repository=repository, revision=revision, shards=shards
                ),
                config,
            )
            settings = inputs.outputs["settings"]
            found = place(find_champion(params=params, training_set=training_set), config)
            prepared = data_of(config, release, inputs, training_set=training_set, repository=repository)
            data, validation = prepared.outputs["data"], prepared.outputs["validation"]
            champion = place(
                fetch_champion(
                    params=params,
                    training_set=training_set,
                    version=found.outputs["version"],
                    fingerprint=found.outputs["fingerprint"],
                ),
                config,
            )
            drift = compared(config, params=settings, training_set=training_set, validation=validation, champion=found)
            shares = featured(
                config, inputs, stated=params, data=data, validation=validation, backbone=champion.outputs["model"]
            )
            place(
                evaluate_champion_task(
                    params=settings,
                    training_set=training_set,
                    workspace=workspace_path(config),
                    data=data,
                    validation=validation,
                    model=champion.outputs["model"],
                    champion=champion.outputs["champion"],
                    shares=shares,
                    drift=drift.outputs["drift"],
                ),
                config,
            )

    return qure_evaluate_champion
