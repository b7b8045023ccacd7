"""The QuRe model on transformers' CLIP vision tower and BLIP-2 Q-Former."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    CLIPVisionConfig,
    CLIPVisionModel,
)
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings

from qure.models.config import QFormerConfig, QureConfig, VisionConfig
from qure.models.folder import Attention, FolderModel
from qure.models.fused import FusedQFormer
from qure.models.relevance import at_least_fp32
from qure.models.text import CaptionTokenizer

#: Start of the learned temperature (LAVIS, `temp`).
INITIAL_TEMPERATURE = 0.07


class QureModel(FolderModel):
    """Query and candidate embeddings of composed image retrieval (Kwak et al., ICML 2025, section 3).

    Shapes: B batch, T query tokens (32), D embedding (256), tokens x width the vision tower's output (257 x 1024).

    Attributes:
        config: dimensions.
        tokenizer: text -> ids, fixed length.
        vision: the frozen image tower; None when loaded without it to train from precomputed features.
        temperature: scalar parameter that divides relevance in training (published key `temp`).
        vision_fingerprint: what a feature store must have been computed with; set by `load` and `save`.
    """

    def __init__(
        self,
        config: QureConfig,
        tokenizer: CaptionTokenizer | None = None,
        *,
        vision: bool = True,
        attention: Attention = "sdpa",
    ) -> None:
        super().__init__(config, tokenizer)
        self.vision = vision_tower(config.vision, attention) if vision else None
        self.ln_vision = nn.LayerNorm(config.vision.width, eps=config.ln_vision_eps)
        self.query_tokens = nn.Parameter(torch.empty(1, config.query_tokens, config.qformer.hidden))
        qformer_config = _qformer_config(config.qformer, config.vision.width)
        self.text_embeddings = Blip2TextEmbeddings(qformer_config)
        self.qformer = Blip2QFormerModel._from_config(qformer_config, attn_implementation=attention)
        self.vision_proj = nn.Linear(config.qformer.hidden, config.embedding)
        self.text_proj = nn.Linear(config.qformer.hidden, config.embedding)
        self._fused = FusedQFormer(self.qformer)
        # BLIP-2's matching head: QuRe never uses it; it is kept so that published weights pass through whole.
        self.itm_head = nn.Linear(config.qformer.hidden, 2)
        self.temperature = nn.Parameter(torch.tensor(INITIAL_TEMPERATURE))
        self._initialise()
        self.freeze()

    def _initialise(self) -> None:
        spread = self.config.qformer.initializer_range  # nn.Embedding's own start of 1.0 drowns the image
        nn.init.normal_(self.query_tokens, std=spread)
        for embedding in (self.text_embeddings.word_embeddings, self.text_embeddings.position_embeddings):
            nn.init.normal_(embedding.weight, std=spread)

    def freeze(self) -> None:
        """Stops the image tower and the unused matching head from training."""
        for part in (self.vision, self.itm_head):
            if part is not None:
                part.requires_grad_(False)

    @torch.no_grad()
    def encode_vision(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of images: the vision tower's output before `ln_vision`, which is what a feature store holds.

        Args:
            pixels: (B, 3, H, W) normalised as by `qure.images.normalise`.

        Returns:
            (B, tokens, width).
        """
        if self.vision is None:
            raise RuntimeError("this model was loaded without its vision tower; load it with vision=True")
        features: torch.Tensor = self.vision(pixel_values=pixels).last_hidden_state
        return features

    def encode_images(self, features: torch.Tensor) -> torch.Tensor:
        """Candidate embeddings: Q-Former over query tokens alone, `vision_proj`, unit length per token.

        Args:
            features: (B, tokens, width) from `encode_vision` or a feature store, any floating dtype.

        Returns:
            (B, T, D) rows of unit length, fp32 (fp64 in an fp64 model).
        """
        return _unit(self.vision_proj(self.image_states(features)))

    def encode_queries(
        self, features: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Query embeddings: Q-Former over query tokens and text, `text_proj`, mean over the T tokens, unit length.

        Args:
            features: (B, tokens, width) of the reference images.
            input_ids, attention_mask: (B, L) from `CaptionTokenizer`.

        Returns:
            (B, D) of unit length, fp32 (fp64 in an fp64 model).
        """
        hidden = self.query_states(features, input_ids, attention_mask)[:, : self.config.query_tokens]  # (B, T, hidden)
        return _unit(at_least_fp32(self.text_proj(hidden)).mean(dim=1))

    def image_states(self, features: torch.Tensor) -> torch.Tensor:
        """Last hidden states of the image-only pass, (B, T, hidden)."""
        return self._attend(self.query_tokens.expand(features.shape[0], -1, -1), features)

    def query_states(
        self, features: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Last hidden states of the query pass, (B, T + L, hidden): the T query tokens first, then the text."""
        queries = self.query_tokens.expand(features.shape[0], -1, -1)  # (B, T, hidden)
        sequence = self.text_embeddings(input_ids=input_ids, query_embeds=queries)  # (B, T + L, hidden)
        # Every query token may be attended to; the text's own mask hides only its padding.
        mask = torch.cat([attention_mask.new_ones(queries.shape[:2]), attention_mask], dim=1)  # (B, T + L)
        return self._attend(sequence, features, mask)

    def encode_texts(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Text embeddings as BLIP-2's image-text contrast makes them: no image, `text_proj` of `[CLS]`, unit length.

        Args:
            input_ids, attention_mask: (B, L) from `CaptionTokenizer`.

        Returns:
            (B, D) of unit length, fp32 (fp64 in an fp64 model).
        """
        sequence = self.text_embeddings(input_ids=input_ids)
        hidden = self.qformer(query_embeds=sequence, query_length=0, attention_mask=attention_mask).last_hidden_state
        return _unit(self.text_proj(hidden[:, 0]))

    def _attend(self, sequence: torch.Tensor, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """The Q-Former over `sequence`, whose first T positions are query tokens that see the image.

        Without `query_length` transformers takes text positions for query tokens too; an encoder mask breaks its
        shapes when there is text, and all image tokens count anyway.
        """
        image = self.ln_vision(features.to(self.ln_vision.weight.dtype))
        if features.device.type == "cuda" or self._fused.is_sharing:
            return self._attend_fused(sequence, image, mask)
        states: torch.Tensor = self.qformer(
            query_embeds=sequence,
            query_length=self.config.query_tokens,
            attention_mask=mask,
            encoder_hidden_states=image,
        ).last_hidden_state
        return states

    def _attend_fused(
        self, sequence: torch.Tensor, image: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The same in fewer operations, none of which waits for the device (`qure.models.fused`).

        The mask is added to the scores as it is, where the module first asks the device whether it hides anything.
        Layers that are recomputed in the backward pass are the module's own.
        """
        device = sequence.device.type
        hidden = self.qformer.dropout(self.qformer.layernorm(sequence))
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        added = None
        if mask is not None:
            zeros = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
            added = zeros.masked_fill_(mask == 0, float("-inf"))[:, None, None, :]  # (B, 1, 1, T + L)
        if not self.qformer.encoder.layer[0].gradient_checkpointing:
            return self._fused(hidden, image, added, self.config.query_tokens, dtype)
        states: torch.Tensor = self.qformer.encoder(
            hidden,
            attention_mask=added,
            encoder_hidden_states=image.to(dtype),
            query_length=self.config.query_tokens,
        ).last_hidden_state
        return states

    def sharing_weights(self) -> AbstractContextManager[None]:
        """Inside, the weights do not change: what fused passes make of them is made once, and a CPU takes these too."""
        return self._fused.sharing()

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What training changes: Q-Former, `ln_vision`, projections, query tokens and temperature."""
        return [parameter for _, parameter in self.named_trainable_parameters()]

    def named_trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The same with their names, always in the same order."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> "QureModel":
        """As in torch, but the frozen vision tower always stays in evaluation mode."""
        super().train(mode)
        if self.vision is not None:
            self.vision.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.query_tokens.device


def vision_tower(config: VisionConfig, attention: Attention = "sdpa") -> nn.Module:
    """The image tower without a LayerNorm behind its blocks: its output is what `ln_vision` takes."""
    dimensions = {
        "hidden_size": config.width,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_act": config.activation,
        "layer_norm_eps": config.layer_norm_eps,
    }
    tower: nn.Module
    if config.kind == "clip":
        tower = CLIPVisionModel._from_config(CLIPVisionConfig(**dimensions), attn_implementation=attention)
    else:
        # Blip2VisionConfig's initializer_range of 1e-10 stands for "weights are loaded"; 0.02 can also be trained.
        blip2 = Blip2VisionConfig(**dimensions, initializer_range=0.02)
        tower = Blip2VisionModel._from_config(blip2, attn_implementation=attention)
    tower.post_layernorm = nn.Identity()
    return tower.eval()


def _qformer_config(config: QFormerConfig, vision_width: int) -> Blip2QFormerConfig:
    return Blip2QFormerConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate,
        max_position_embeddings=config.max_positions,
        cross_attention_frequency=config.cross_attention_every,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        hidden_act=config.activation,
        layer_norm_eps=config.layer_norm_eps,
        initializer_range=config.initializer_range,
        encoder_hidden_size=vision_width,
        use_qformer_text_input=True,
    )


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return functional.normalize(at_least_fp32(rows), dim=-1)
