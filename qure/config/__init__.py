"""params.yaml -> frozen, validated settings.

Every number a run depends on is a field of a section here; `Settings.load` names the file and the field of any mistake.
"""

from qure.config.base import Frozen, Precision, TrainingSetName
from qure.config.evaluation import EvaluationSettings, PromotionSettings
from qure.config.inputs import (
    BackboneSettings,
    CatalogueSettings,
    FeatureSettings,
    PretrainingSettings,
    QFormerDimensions,
    VisionDimensions,
)
from qure.config.reading import merged, parsed_yaml, read_yaml, stated, validated
from qure.config.recipes import read_recipe, recipe_names, with_code
from qure.config.serving import IndexSettings, ServingSettings
from qure.config.settings import Settings
from qure.config.tracking import TrackingSettings
from qure.config.training import Engine, NegativeSettings, TrainingSetSettings, TrainingSettings
from qure.config.validation import ValidationSettings

__all__ = [
    "BackboneSettings",
    "CatalogueSettings",
    "Engine",
    "EvaluationSettings",
    "FeatureSettings",
    "Frozen",
    "IndexSettings",
    "NegativeSettings",
    "Precision",
    "PretrainingSettings",
    "PromotionSettings",
    "QFormerDimensions",
    "ServingSettings",
    "Settings",
    "TrackingSettings",
    "TrainingSetName",
    "TrainingSetSettings",
    "TrainingSettings",
    "ValidationSettings",
    "VisionDimensions",
    "merged",
    "parsed_yaml",
    "read_recipe",
    "read_yaml",
    "recipe_names",
    "stated",
    "validated",
    "with_code",
]
