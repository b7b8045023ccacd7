"""What the sections share: models, sentences, clocks."""

import functools
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qure.models.config import QureConfig


@functools.cache
def model_of(as_it_was: bool, config: QureConfig, device: torch.device) -> Any:
    """One model for several trainings, which load their first weights into it; making one takes seconds."""
    return new_model(config, device, vision=False, as_it_was=as_it_was)


def new_model(config: QureConfig, device: torch.device, *, vision: bool = True, as_it_was: bool = False) -> Any:
    """A model with random weights made on the device, in evaluation mode."""
    from qure.models.model import QureModel

    class AsItWas(QureModel):
        """Hands features and mask to transformers' module, which casts and asks as it sees fit."""

        def _attend_fused(self, sequence: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
            states: Tensor = self.qformer(
                query_embeds=sequence,
                query_length=self.config.query_tokens,
                attention_mask=mask,
                encoder_hidden_states=image,
            ).last_hidden_state
            return states

    with torch.device(device):
        made = (AsItWas if as_it_was else QureModel)(config, vision=vision)
    return made.to(device).eval()


def text(count: int, config: QureConfig) -> tuple[Tensor, Tensor]:
    """Sentences of twelve tokens, padded."""
    ids = torch.zeros(count, config.text_tokens, dtype=torch.int64)
    ids[:, :12] = torch.randint(4, config.qformer.vocabulary, (count, 12), generator=torch.Generator().manual_seed(0))
    return ids, (ids > 0).long()


def distance(got: Tensor, wanted: Tensor) -> float:
    return float(f"{((got - wanted).norm() / wanted.norm()).item():.2e}")


def ratio(found: dict[str, Any], before: str, after: str) -> float:
    return round(found[before]["step_ms"] / found[after]["step_ms"], 2)


def rate(run: Callable[[], Any], images: int, device: torch.device) -> float:
    return round(images / median_seconds(run, device), 1)


def median_seconds(run: Callable[[], Any], device: torch.device, repeats: int = 7) -> float:
    run()
    taken = []
    for _ in range(repeats):
        synchronize(device)
        begun = time.perf_counter()
        run()
        synchronize(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
