"""What a training starts from: the rendered catalogue, the backbone, and the features that are computed with it."""

from typing import Literal

from pydantic import Field

from qure.config.base import Frozen, Precision


class CatalogueSettings(Frozen):
    """The rendered data set (owner: `qure.catalogue`)."""

    seed: int = 7
    image_size: int = Field(64, ge=16, le=512)
    scale: float = Field(1.0, gt=0, le=100)  # share of the default counts of images and queries


class VisionDimensions(Frozen):
    """CLIP vision tower of the `catalogue` backbone."""

    image_size: int = 64
    patch_size: int = 8
    width: int = 64
    layers: int = 2
    heads: int = 4


class QFormerDimensions(Frozen):
    """BLIP-2 Q-Former of the `catalogue` backbone."""

    hidden: int = 64
    layers: int = 4
    heads: int = 4
    intermediate: int = 256
    query_tokens: int = 8
    cross_attention_every: int = 2
    embedding: int = 64
    text_tokens: int = 32
    dropout: float = Field(0.0, ge=0, lt=1)  # BLIP-2 has 0.1; so small a model underfits and learns less with it


class PretrainingSettings(Frozen):
    """Image-text contrast on catalogue images and full captions: stands in for BLIP-2's pre-training.

    Attributes:
        least_recall_at_5: share of held-out captions that must find their image among the first five; with less the
            backbone stage fails, because nothing good can follow. 0 takes everything.
    """

    seed: int = Field(0, ge=0)
    steps: int = Field(1000, ge=1)  # with 800 the slowest seed ends a third lower
    batch_size: int = Field(32, ge=2)  # more, smaller steps learn faster here: 500 of 64 find half as many images
    learning_rate: float = Field(1e-3, gt=0)  # with 2e-3 some seeds never leave the plateau, 4e-3 diverges
    least_recall_at_5: float = Field(0.3, ge=0, le=1)


class BackboneSettings(Frozen):
    """The frozen image tower and the Q-Former's starting point (owner: `qure.backbone`)."""

    name: Literal["catalogue", "blip2-vitl", "blip2-vitg"] = "catalogue"
    weights: str | None = None
    vision_weights: str | None = None
    tokenizer: str | None = None
    vision: VisionDimensions = VisionDimensions()
    qformer: QFormerDimensions = QFormerDimensions()
    pretraining: PretrainingSettings = PretrainingSettings()


class FeatureSettings(Frozen):
    """Precomputed ViT features (owner: `qure.features`)."""

    dtype: Precision = "fp16"
    batch_size: int = Field(64, ge=1)
    shard_images: int = Field(1024, ge=1)
    hold: Literal["auto", "device", "memory", "disk"] = "auto"
