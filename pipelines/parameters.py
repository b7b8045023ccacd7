"""A pipeline run's arguments: params.yaml made whole, and the data's revision. Nothing secret."""

from pathlib import Path
from typing import Any

from components.settings import one_line
from components.shares import shares_of
from pipelines.config import PipelineConfig
from qure.config import Settings, read_recipe, read_yaml, recipe_names
from qure.errors import BadInput
from qure.tracking.redaction import holds_secret, is_secret


def run_parameters(
    config: PipelineConfig, params: Path, training_set: str, *, revision: str | None = None
) -> dict[str, Any]:
    """Arguments of the training and evaluate_champion pipelines.

    Args:
        config: the pipelines' configuration.
        params: params.yaml.
        training_set: fashioniq or cirr.
        revision: of the data; the configured one when left out.

    Raises:
        BadInput: params.yaml is wrong, or holds credentials; or there are more shards than a run can hold.
    """
    settings = Settings.load(params)
    settings.training_for(training_set)
    shares_of(training_set, config.shards)
    return {
        "params": public_params(settings, params),
        "training_set": training_set,
        "repository": config.data.repository,
        "revision": revision or config.data.revision,
        "shards": config.shards,
    }


def public_params(settings: Settings, file: Path) -> str:
    """params.yaml as a task needs it: files of this machine (recipes, strategies) written out, credentials refused.

    Returns:
        JSON on one line (`components.settings.one_line`).

    Raises:
        BadInput: a value in it is or holds a secret, in an address or by itself: whoever sees the run would see it.
    """
    values = read_yaml(file)
    _refuse_credentials(values, file)
    for name, chosen in settings.training.items():
        recipe = settings.training_for(name)
        if not _comes_with_qure(chosen.recipe) or recipe.negatives.code is not None:
            whole = recipe.model_dump(mode="json")
            values["training"][name] = {"recipe": "catalogue", "overrides": whole}
    return one_line(values)


def _comes_with_qure(recipe: str) -> bool:
    name = Path(recipe).stem
    return recipe == name or (name in recipe_names() and read_recipe(recipe) == read_recipe(name))


def _refuse_credentials(value: Any, file: Path, field: str = "") -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_credentials(item, file, f"{field}.{key}" if field else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_credentials(item, file, f"{field}[{number}]")
    elif (isinstance(value, str) and holds_secret(value)) or is_secret(field.rpartition(".")[2], value):
        raise BadInput(
            "it holds a password or a token, and a pipeline's arguments are public",
            file=file,
            field=field,
            remedy="Put it into the Kubernetes secret qure-tracking (docs/runbook.md, Secrets)",
        )
