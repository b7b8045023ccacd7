"""The Q-Former's forward pass in fewer, larger operations, with transformers' weights and modules.

The module as it stands computes queries, keys and values of a layer in three products, casts their input three times,
and reads the image features twelve times over. Here a layer's three products are one, the keys and values of all
layers that see the image are one, and what a product needs in half precision is cast once. Weights keep their names
and places: they are put side by side anew in every step, which costs less than one of the products saved. A GPU always
takes this path. A CPU takes it where several passes share the weights: a small model's step is shorter by 6 to 9 %.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class FusedWeights:
    """Weights of several linear layers side by side, in the dtype of the products.

    Args:
        qformer: transformers' `Blip2QFormerModel`.
        dtype: of the products.
    """

    def __init__(self, qformer: Any, dtype: torch.dtype) -> None:
        self.dtype = dtype
        layers = list(qformer.encoder.layer)
        own = [layer.attention.attention for layer in layers]
        crossing = [layer.crossattention.attention for layer in layers if layer.has_cross_attention]
        #: Per layer: queries, keys and values of the tokens.
        self.tokens = [self._side_by_side([part.query, part.key, part.value]) for part in own]
        #: Keys and values of the image for every layer that sees it, one after the other.
        self.image = self._side_by_side([one for part in crossing for one in (part.key, part.value)])

    def _side_by_side(self, parts: list[nn.Linear]) -> tuple[Tensor, Tensor]:
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        return weight.to(self.dtype), bias.to(self.dtype)


class FusedQFormer:
    """Runs a Q-Former's layers from `FusedWeights`; several passes of one step may share them.

    Args:
        qformer: transformers' `Blip2QFormerModel`.
    """

    def __init__(self, qformer: Any) -> None:
        self._qformer = qformer
        self._shared: FusedWeights | None = None
        self._sharing = False

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Weights are put side by side once for all passes inside; they must not change meanwhile."""
        self._sharing = True
        try:
            yield
        finally:
            self._sharing, self._shared = False, None

    @property
    def is_sharing(self) -> bool:
        """Whether passes share their weights now."""
        return self._sharing

    def __call__(
        self, hidden: Tensor, image: Tensor, mask: Tensor | None, query_tokens: int, dtype: torch.dtype
    ) -> Tensor:
        """Last hidden states.

        Args:
            hidden: (B, T + L, hidden) embedded tokens, the T query tokens first.
            image: (B, tokens, width) features after `ln_vision`.
            mask: (B, 1, 1, T + L) added to the scores of tokens with tokens, in `dtype`; None adds nothing.
            query_tokens: T, the tokens that see the image.
            dtype: of the products.
        """
        weights = self._weights(dtype)
        seen = self._image_keys_and_values(image, weights)
        for number, layer in enumerate(self._qformer.encoder.layer):
            tokens = self._attend_to_tokens(layer, hidden, weights.tokens[number], mask, dtype)
            query = tokens[:, :query_tokens]
            if layer.has_cross_attention:
                query = self._attend_to_image(layer, query, next(seen), next(seen))
            hidden = layer.feed_forward_chunk_query(query)
            if tokens.shape[1] > query_tokens:
                hidden = torch.cat([hidden, layer.feed_forward_chunk(tokens[:, query_tokens:])], dim=1)
        return hidden

    def _weights(self, dtype: torch.dtype) -> FusedWeights:
        if self._shared is not None and self._shared.dtype == dtype:
            return self._shared
        weights = FusedWeights(self._qformer, dtype)
        if self._sharing:
            self._shared = weights
        return weights

    def _image_keys_and_values(self, image: Tensor, weights: FusedWeights) -> Iterator[Tensor]:
        heads = self._qformer.config.num_attention_heads
        joint = functional.linear(image.to(weights.dtype), *weights.image)  # (B, tokens, crossing * 2 * hidden)
        width = self._qformer.config.hidden_size
        parts = joint.unflatten(-1, (-1, heads, width // heads)).unbind(dim=2)  # each (B, tokens, heads, size)
        return (part.transpose(1, 2) for part in parts)  # each (B, heads, tokens, size)

    def _attend_to_tokens(
        self, layer: Any, hidden: Tensor, weights: tuple[Tensor, Tensor], mask: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        attention = layer.attention.attention
        joint = functional.linear(hidden.to(dtype), *weights)  # (B, T + L, 3 * hidden)
        parts = joint.unflatten(-1, (3, attention.num_attention_heads, attention.attention_head_size)).unbind(dim=2)
        query, key, value = (part.transpose(1, 2) for part in parts)  # each (B, heads, T + L, size)
        attended: Tensor = layer.attention.output(_attended(attention, query, key, value, mask), hidden)
        return attended

    def _attend_to_image(self, layer: Any, hidden: Tensor, key: Tensor, value: Tensor) -> Tensor:
        attention = layer.crossattention.attention
        heads = (attention.num_attention_heads, attention.attention_head_size)
        query = attention.query(hidden).unflatten(-1, heads).transpose(1, 2)  # (B, heads, T, size)
        attended: Tensor = layer.crossattention.output(_attended(attention, query, key, value, None), hidden)
        return attended


def _attended(attention: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Heads' results side by side, (B, tokens, hidden)."""
    result = functional.scaled_dot_product_attention(  # (B, heads, tokens, size)
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=attention.attention_dropout if attention.training else 0.0,
        scale=attention.scaling,
    )
    return result.transpose(1, 2).flatten(2)
