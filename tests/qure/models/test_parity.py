"""Equality with the published model, and proof that the comparison sees the mistakes that are easy to make.

QURE_MODEL_GOLDEN names another golden set (of other dimensions) to check with the same tests.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers.activations import ACT2FN

from qure.models.config import QureConfig
from qure.models.model import QureModel


def test_outputs_and_gradients_equal_the_published_model(golden):
    assert golden.failures() == []


def test_eager_attention_gives_the_same(golden):
    model = QureModel(golden.config, attention="eager")
    model.load_state_dict(golden.weights)
    differences = golden.output_differences(model.eval(), "golden.out.")
    # not in fp64: transformers' eager CLIP attention always takes its softmax in fp32
    assert max(differences.values()) <= 1e-5


def test_gradient_checkpointing_gives_the_same_gradients(golden):
    def use_checkpointing(model: QureModel) -> None:
        model.qformer.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        for module in model.modules():  # training mode is what switches it on; dropout would blur the comparison
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0

    assert golden.failures(use_checkpointing) == []


#: Epsilons that other libraries use: the likely slips.
@pytest.mark.parametrize(
    ("part", "eps"),
    [
        ("vision", 1e-6),
        ("vision", 1e-12),
        ("ln_vision", 1e-6),
        ("ln_vision", 1e-12),
        ("qformer", 1e-5),
        ("qformer", 1e-6),
    ],
)
def test_a_wrong_layernorm_eps_is_seen(golden, part, eps):
    assert golden.failures(config=with_eps(golden.config, part, eps))


def with_eps(config: QureConfig, part: str, eps: float) -> QureConfig:
    if part == "ln_vision":
        return config.model_copy(update={"ln_vision_eps": eps})
    return config.model_copy(update={part: getattr(config, part).model_copy(update={"layer_norm_eps": eps})})


def added_layernorm_before_ln_vision(model: QureModel) -> None:
    def normalise(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return functional.layer_norm(inputs[0], module.normalized_shape)

    model.ln_vision.register_forward_pre_hook(normalise)


def added_layernorm_on_query_tokens(model: QureModel) -> None:
    def normalise(_, __, output):
        output.last_hidden_state = functional.layer_norm(output.last_hidden_state, output.last_hidden_state.shape[-1:])
        return output

    model.qformer.register_forward_hook(normalise)


def shifted_text_positions(model: QureModel) -> None:
    model.text_embeddings.position_ids = model.text_embeddings.position_ids.roll(-1, dims=-1)


def dropped_query_length(model: QureModel) -> None:
    def drop(_, args, kwargs):
        return args, {key: value for key, value in kwargs.items() if key != "query_length"}

    model.qformer.register_forward_pre_hook(drop, with_kwargs=True)


def dropped_text_mask(model: QureModel) -> None:
    def drop(_, args, kwargs):
        return args, kwargs | {"attention_mask": None}

    model.qformer.register_forward_pre_hook(drop, with_kwargs=True)


def layernorm_on_text_only(model: QureModel) -> None:
    whole = model.qformer.layernorm.forward
    queries = model.config.query_tokens

    def text_only(sequence: torch.Tensor) -> torch.Tensor:
        return torch.cat([sequence[:, :queries], whole(sequence[:, queries:])], dim=1)

    model.qformer.layernorm.forward = text_only


def erf_gelu_in_the_vision_tower(model: QureModel) -> None:
    for layer in model.vision.encoder.layers:
        layer.mlp.activation_fn = nn.GELU()


def quick_gelu_in_the_qformer(model: QureModel) -> None:
    for layer in model.qformer.encoder.layer:
        layer.intermediate_query.intermediate_act_fn = ACT2FN["quick_gelu"]


def swapped_projections(model: QureModel) -> None:
    model.text_proj, model.vision_proj = model.vision_proj, model.text_proj


@pytest.mark.parametrize(
    "mistake",
    [
        added_layernorm_before_ln_vision,
        added_layernorm_on_query_tokens,
        shifted_text_positions,
        dropped_query_length,
        dropped_text_mask,
        layernorm_on_text_only,
        erf_gelu_in_the_vision_tower,
        quick_gelu_in_the_qformer,
        swapped_projections,
    ],
)
def test_a_mistake_in_the_model_is_seen(golden, mistake):
    assert golden.failures(mistake)
