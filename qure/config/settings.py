"""All of params.yaml as one object."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from qure.config.base import Frozen, TrainingSetName
from qure.config.evaluation import EvaluationSettings, PromotionSettings
from qure.config.inputs import BackboneSettings, CatalogueSettings, FeatureSettings
from qure.config.reading import merged, read_yaml, stated, validated
from qure.config.recipes import find_recipes_beside, read_code_beside, read_recipe
from qure.config.serving import ServingSettings
from qure.config.tracking import TrackingSettings
from qure.config.training import TrainingSetSettings, TrainingSettings
from qure.config.validation import ValidationSettings
from qure.errors import BadInput


class Settings(Frozen):
    """All of params.yaml."""

    catalogue: CatalogueSettings = CatalogueSettings()
    backbone: BackboneSettings = BackboneSettings()
    features: FeatureSettings = FeatureSettings()
    training: dict[TrainingSetName, TrainingSetSettings]
    evaluation: EvaluationSettings = EvaluationSettings()
    promotion: PromotionSettings = PromotionSettings()
    serving: ServingSettings = ServingSettings()
    validation: ValidationSettings = ValidationSettings()
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)  # of its own: it is told where its file lies

    @model_validator(mode="after")
    def _recipes_hold(self) -> "Settings":
        for name in self.training:
            self.training_for(name)
        return self

    @model_validator(mode="after")
    def _risk_can_be_told(self) -> "Settings":
        least = 0.5 / (self.evaluation.bootstrap_samples + 1)
        if self.promotion.max_risk < least:
            raise ValueError(
                f"promotion.max_risk: {self.promotion.max_risk:g} is less than {least:.2g}, the least that "
                f"{self.evaluation.bootstrap_samples} resamples can tell: nothing would pass. Raise it, or "
                "evaluation.bootstrap_samples"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Reads and checks params.yaml.

        Raises:
            BadInput: no such file, not YAML, an unknown key or a value out of range; names the field. A strategy's
                file that is missing or no Python; names it and the line.
        """
        values = read_yaml(path)
        find_recipes_beside(path, values.get("training"))
        read_code_beside(path, values.get("training"))
        try:
            settings = validated(cls, values, file=path)
        except BadInput as error:
            if error.file is not None:
                raise
            raise BadInput(error.problem, file=path, row=error.row, field=error.field, remedy=error.remedy) from None
        folder = Path(path).resolve().parent
        if folder != Path.cwd():
            settings.tracking._folder = folder
        return settings

    def training_for(self, training_set: str) -> TrainingSettings:
        """The recipe of a training set with its overrides applied."""
        if training_set not in self.training:
            raise BadInput(f"no training set {training_set!r}; there are {', '.join(sorted(self.training))}")
        chosen = self.training[training_set]
        recipe = read_recipe(chosen.recipe)
        whole = merged(recipe, stated(TrainingSettings, chosen.overrides))
        changed = f" with training.{training_set}.overrides" if chosen.overrides else ""
        return validated(TrainingSettings, whole, file=f"recipe {chosen.recipe!r}{changed}")

    def resolved(self) -> dict[str, Any]:
        """All settings as JSON-able values, with the recipes' own: two of one name may differ in content."""
        recipes = {name: self.training_for(name).model_dump(mode="json") for name in self.training}
        return self.model_dump(mode="json") | {"recipes": recipes}
