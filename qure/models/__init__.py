"""The QuRe model: CLIP vision tower and BLIP-2 Q-Former from transformers, weights, tokenizer and precision.

Names are imported when first used, because transformers takes seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qure.models.config import QFormerConfig, QureConfig, VisionConfig
    from qure.models.model import QureModel
    from qure.models.text import CaptionTokenizer, clean_caption

_HOMES = {
    "QureModel": "qure.models.model",
    "QureConfig": "qure.models.config",
    "VisionConfig": "qure.models.config",
    "QFormerConfig": "qure.models.config",
    "CaptionTokenizer": "qure.models.text",
    "clean_caption": "qure.models.text",
}

__all__ = ["CaptionTokenizer", "QFormerConfig", "QureConfig", "QureModel", "VisionConfig", "clean_caption"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
