"""The GPU's forward pass, run here on the CPU, against transformers' module: outputs and gradients."""

import pytest
import torch

from qure.models.model import QureModel


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("sharing", "recomputed"), [(False, False), (True, False), (False, True)])
def test_is_the_modules_forward_and_backward_pass(
    small_model: QureModel, precision: str, sharing: bool, recomputed: bool
) -> None:
    model, config = small_model.eval(), small_model.config
    features = torch.randn(3, config.vision.tokens, config.vision.width, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0], [2, 3, 0, 0]])
    mask = torch.cat([torch.ones(3, config.query_tokens, dtype=torch.int64), (ids > 0).long()], dim=1)
    found = []
    for fused in (False, True):
        model.zero_grad()
        if fused and recomputed:
            model.qformer.gradient_checkpointing_enable({"use_reentrant": False})
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            queries = model.query_tokens.expand(3, -1, -1)
            texts = model.text_embeddings(input_ids=ids, query_embeds=queries)
            if fused:
                context = model.sharing_weights() if sharing else torch.enable_grad()
                with context:
                    image = model.ln_vision(features)
                    states = model._attend_fused(texts, image, mask), model._attend_fused(queries, image)
            else:
                states = model._attend(texts, features, mask), model._attend(queries, features)
        torch.stack([(one.float() ** 3).mean() for one in states]).sum().backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        found.append((states, gradients))
    (module_states, module_gradients), (states, gradients) = found
    tolerance = 1e-6 if precision == "fp32" else 2e-2
    for one, other in zip(states, module_states, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    assert gradients.keys() == module_gradients.keys()
    # All at once: the gradient of a key's bias is nothing but rounding.
    one, other = (torch.cat([part.flatten() for part in found.values()]) for found in (gradients, module_gradients))
    assert (one - other).norm() <= tolerance * other.norm()


def test_shared_weights_are_made_once_and_forgotten(small_model: QureModel) -> None:
    made = small_model._fused
    with small_model.sharing_weights():
        first = made._weights(torch.float32)
        assert made._weights(torch.float32) is first
        assert made._weights(torch.bfloat16) is not first
    assert made._weights(torch.float32) is not first
