"""What a training starts from: the rendered catalogue, the backbone, and the features that are computed with it."""

from typing import Literal

from pydantic import Field, model_validator

from qure.config.base import Frozen, Precision, Seed


class CatalogueSettings(Frozen):
    """The rendered data set (owner: `qure.catalogue`)."""

    seed: Seed = 7
    image_size: int = Field(64, ge=16, le=512)
    scale: float = Field(1.0, gt=0, le=100)  # share of the default counts of images and queries


class VisionDimensions(Frozen):
    """CLIP vision tower of the `catalogue` backbone."""

    image_size: int = Field(64, ge=1)
    patch_size: int = Field(8, ge=1)
    width: int = Field(64, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _fit_together(self) -> "VisionDimensions":
        if self.patch_size > self.image_size:
            raise ValueError(f"patch_size {self.patch_size} exceeds image_size {self.image_size}: no patch is left")
        _require_heads(self.heads, "width", self.width)
        return self


class QFormerDimensions(Frozen):
    """BLIP-2 Q-Former of the `catalogue` backbone."""

    hidden: int = Field(64, ge=1)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    intermediate: int = Field(256, ge=1)
    query_tokens: int = Field(8, ge=1)
    cross_attention_every: int = Field(2, ge=1)
    embedding: int = Field(64, ge=1)
    text_tokens: int = Field(32, ge=2)  # one is [CLS], one is [SEP]
    dropout: float = Field(0.0, ge=0, lt=1)  # BLIP-2 has 0.1; so small a model underfits and learns less with it

    @model_validator(mode="after")
    def _fit_together(self) -> "QFormerDimensions":
        _require_heads(self.heads, "hidden", self.hidden)
        return self


def _require_heads(heads: int, name: str, width: int) -> None:
    if width % heads:
        raise ValueError(f"{name} {width} is not a multiple of {heads} heads")


class PretrainingSettings(Frozen):
    """Image-text contrast on catalogue images and full captions: stands in for BLIP-2's pre-training.

    Attributes:
        least_recall_at_5: share of held-out captions that must find their image among the first five; with less the
            backbone stage fails, because nothing good can follow. 0 takes everything.
    """

    seed: Seed = 0
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
