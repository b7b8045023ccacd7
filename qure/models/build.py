"""The small model of the `catalogue` backbone: the published architecture, small numbers, fresh weights."""

from collections.abc import Iterable

import torch

from qure.config import BackboneSettings
from qure.models.config import QFormerConfig, QureConfig, VisionConfig
from qure.models.model import QureModel
from qure.models.text import CaptionTokenizer


def build_catalogue_model(settings: BackboneSettings, captions: Iterable[str], seed: int) -> QureModel:
    """An untrained model with the dimensions of `settings` and a word-level vocabulary of `captions`.

    The weights are a function of the settings, the vocabulary and `seed`; torch's own random state is left alone.
    """
    tokenizer = CaptionTokenizer.build_word_level(captions, settings.qformer.text_tokens)
    config = catalogue_config(settings, tokenizer.vocabulary_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return QureModel(config, tokenizer).eval()


def catalogue_config(settings: BackboneSettings, vocabulary: int) -> QureConfig:
    """`settings` as dimensions of a model."""
    vision, qformer = settings.vision, settings.qformer
    return QureConfig(
        backbone="catalogue",
        vision=VisionConfig(
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            width=vision.width,
            layers=vision.layers,
            heads=vision.heads,
            intermediate=4 * vision.width,
        ),
        qformer=QFormerConfig(
            vocabulary=vocabulary,
            hidden=qformer.hidden,
            layers=qformer.layers,
            heads=qformer.heads,
            intermediate=qformer.intermediate,
            max_positions=max(64, qformer.text_tokens),
            cross_attention_every=qformer.cross_attention_every,
            dropout=qformer.dropout,
            # BERT's 0.02 is meant for 768 inputs; with 64 the same weights would hardly move anything.
            initializer_range=0.02 * (768 / qformer.hidden) ** 0.5,
        ),
        query_tokens=qformer.query_tokens,
        embedding=qformer.embedding,
        text_tokens=qformer.text_tokens,
    )
