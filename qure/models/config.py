"""Dimensions of a QuRe model: all that is needed to build it before its weights are read."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VisionConfig(_Part):
    """The frozen image tower.

    `kind` is "clip" (CLIP ViT, with a LayerNorm before its blocks; the paper's ViT-L) or "blip2" (the EVA ViT-g
    of Salesforce/blip2-itm-vit-g). Neither has a LayerNorm after its blocks: that one is `QureModel.ln_vision`.
    """

    kind: Literal["clip", "blip2"] = "clip"
    image_size: int = Field(ge=1)
    patch_size: int = Field(ge=1)
    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    activation: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Tokens per image: one per patch, and the class token.

        >>> VisionConfig(image_size=224, patch_size=14, width=1024, layers=23, heads=16, intermediate=4096).tokens
        257
        """
        return (self.image_size // self.patch_size) ** 2 + 1


class QFormerConfig(_Part):
    """The BLIP-2 Q-Former; cross-attention to image features in layers 0, n, 2n, ... (n = cross_attention_every)."""

    vocabulary: int = Field(ge=1)
    hidden: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    max_positions: int = Field(512, ge=1)
    cross_attention_every: int = Field(2, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    initializer_range: float = Field(0.02, gt=0)


class QureConfig(_Part):
    """A whole QuRe model; `backbone` names where its weights come from."""

    backbone: str
    vision: VisionConfig
    qformer: QFormerConfig
    query_tokens: int = Field(32, ge=1)
    embedding: int = Field(256, ge=1)
    text_tokens: int = Field(32, ge=2)
    ln_vision_eps: float = 1e-5


#: Paper, section 5.1, and the released code: CLIP ViT-L/14 without its last block, Q-Former of BERT-base size.
BLIP2_VITL = QureConfig(
    backbone="blip2-vitl",
    vision=VisionConfig(image_size=224, patch_size=14, width=1024, layers=23, heads=16, intermediate=4096),
    qformer=QFormerConfig(vocabulary=30523, hidden=768, layers=12, heads=12, intermediate=3072),
)
