"""What the golden vectors do not say: initial state, modes, precision, memory options."""

import pytest
import torch

from qure.config import BackboneSettings
from qure.errors import BadInput
from qure.models.build import build_catalogue_model
from qure.models.config import QFormerConfig, QureConfig, VisionConfig
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.models.relevance import relevance

CAPTIONS = ["a red dress with long sleeves", "a short blue shirt", "striped top"]


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(4, 65, 64, generator=torch.Generator().manual_seed(0))


def test_shapes_and_unit_length(small_model, features):
    tokens = small_model.tokenizer(["red", "blue", "", "short top"])
    with torch.no_grad():
        images, queries = small_model.encode_images(features), small_model.encode_queries(features, *tokens)
        texts = small_model.encode_texts(*tokens)
    assert images.shape == (4, 8, 64)
    assert queries.shape == texts.shape == (4, 64)
    for rows in (images, queries, texts):
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(rows.shape[:-1]))


def test_vision_tower_gives_one_feature_a_patch_and_the_class_token(small_model):
    features = small_model.encode_vision(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, small_model.config.vision.tokens, 64)
    assert not features.requires_grad


def test_padding_does_not_change_a_query(small_model, features):
    ids, mask = small_model.tokenizer(["red", "blue", "", "short top"])
    with torch.no_grad():
        whole = small_model.encode_queries(features, ids, mask)
        cut = small_model.encode_queries(features, ids[:, :6], mask[:, :6])
        texts = small_model.encode_texts(ids, mask), small_model.encode_texts(ids[:, :6], mask[:, :6])
    torch.testing.assert_close(whole, cut, atol=1e-6, rtol=0)
    torch.testing.assert_close(*texts, atol=1e-6, rtol=0)


def test_query_depends_on_image_and_text(small_model, features):
    with torch.no_grad():
        red = small_model.encode_queries(features, *small_model.tokenizer(["red"] * 4))
        blue = small_model.encode_queries(features, *small_model.tokenizer(["blue"] * 4))
    assert (red - blue).norm(dim=-1).min() > 1e-3
    assert (red[0] - red[1:]).norm(dim=-1).min() > 1e-3


def test_relevance_is_the_best_token_of_each_candidate():
    generator = torch.Generator().manual_seed(1)
    queries, candidates = torch.randn(5, 16, generator=generator), torch.randn(7, 3, 16, generator=generator)
    expected = torch.stack([(candidates @ query).max(dim=1).values for query in queries])
    torch.testing.assert_close(relevance(queries, candidates), expected)


def test_relevance_stays_fp32_under_autocast_and_for_half_precision():
    generator = torch.Generator().manual_seed(1)
    queries, candidates = torch.randn(5, 16, generator=generator), torch.randn(7, 3, 16, generator=generator)
    expected = relevance(queries, candidates)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relevance(queries, candidates), expected)
    assert relevance(queries.half(), candidates.half()).dtype == torch.float32


def test_only_what_the_paper_trains_is_trained(small_model, features):
    trained = {name.split(".")[0] for name, _ in small_model.named_trainable_parameters()}
    assert trained == {
        "query_tokens", "temperature", "ln_vision", "text_embeddings", "qformer", "vision_proj", "text_proj",
    }  # fmt: skip
    ids, mask = small_model.tokenizer(["red", "blue", "", "short top"])
    scores = relevance(small_model.encode_queries(features, ids, mask), small_model.encode_images(features))
    (scores / small_model.temperature).sum().backward()
    assert all(parameter.grad is not None for parameter in small_model.trainable_parameters())
    frozen = [*small_model.vision.parameters(), *small_model.itm_head.parameters()]
    assert all(parameter.grad is None for parameter in frozen)


def test_training_mode_leaves_the_vision_tower_in_evaluation_mode(small_model):
    small_model.train()
    assert small_model.training
    assert small_model.qformer.training
    assert not small_model.vision.training
    small_model.eval()
    assert not small_model.qformer.training


def test_dropout_acts_in_training_only(small_model, features):
    with torch.no_grad():
        assert torch.equal(small_model.encode_images(features), small_model.encode_images(features))
        small_model.train()
        assert not torch.equal(small_model.encode_images(features), small_model.encode_images(features))


def test_gradient_checkpointing_recomputes_every_layer(small_model, features):
    def calls_per_layer() -> list[int]:
        counts = [0] * len(small_model.qformer.encoder.layer)
        hooks = [
            layer.attention.register_forward_pre_hook(
                lambda *_, number=number: counts.__setitem__(number, counts[number] + 1)
            )
            for number, layer in enumerate(small_model.qformer.encoder.layer)
        ]
        small_model.encode_images(features).sum().backward()
        for hook in hooks:
            hook.remove()
        return counts

    small_model.train()
    assert calls_per_layer() == [1, 1, 1, 1]
    small_model.qformer.gradient_checkpointing_enable({"use_reentrant": False})
    assert calls_per_layer() == [2, 2, 2, 2]


def test_building_is_a_function_of_the_seed_and_leaves_torch_alone():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    models = [build_catalogue_model(BackboneSettings(), CAPTIONS, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected)
    first, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["query_tokens"], other["query_tokens"])
    assert models[0].temperature.item() == pytest.approx(0.07)


def test_sdpa_is_what_runs(small_model, features, monkeypatch):
    calls = []
    real = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or real(*a, **k)
    )
    small_model.encode_images(features)
    assert len(calls) == 4 + 2  # four self-attentions, two cross-attentions


def test_vitg_dimensions_build():
    config = QureConfig(
        backbone="blip2-vitg",
        vision=VisionConfig(
            kind="blip2", image_size=224, patch_size=14, width=1408, layers=39, heads=16, intermediate=6144,
            activation="gelu", layer_norm_eps=1e-6,
        ),
        qformer=QFormerConfig(vocabulary=30523, hidden=768, layers=12, heads=12, intermediate=3072),
        ln_vision_eps=1e-6,
    )  # fmt: skip
    with torch.device("meta"):
        model = QureModel(config)
    assert model.vision.encoder.layers[38].self_attn.qkv.weight.shape == (3 * 1408, 1408)
    assert model.qformer.encoder.layer[0].crossattention.attention.key.weight.shape == (768, 1408)


# --- precision ---


def test_fp32_policy_changes_nothing(small_model, features):
    policy = PrecisionPolicy.of("fp32", "cpu")
    expected = small_model.encode_images(features)
    with policy.autocast():
        assert torch.equal(small_model.encode_images(features), expected)
    assert not policy.scaler().is_enabled()
    assert policy.dtype == torch.float32


def test_bf16_policy_computes_in_bf16_and_gives_fp32_embeddings(small_model, features):
    policy = PrecisionPolicy.of("bf16", "cpu")
    tokens = small_model.tokenizer(["red", "blue", "", "short top"])
    with policy.autocast():
        assert small_model.text_proj(features).dtype == torch.bfloat16
        images, queries = small_model.encode_images(features), small_model.encode_queries(features, *tokens)
    assert images.dtype == queries.dtype == torch.float32
    torch.testing.assert_close(queries, small_model.encode_queries(features, *tokens), atol=0.05, rtol=0)
    torch.testing.assert_close(queries.norm(dim=-1), torch.ones(4))
    assert not policy.scaler().is_enabled()


def test_fp16_on_a_cpu_is_refused_with_a_way_out():
    with pytest.raises(BadInput, match="bf16 or fp32"):
        PrecisionPolicy.of("fp16", "cpu")


def test_fp16_on_a_gpu_scales_the_loss():
    policy = PrecisionPolicy(precision="fp16", device=torch.device("cuda"))
    assert policy.dtype == torch.float16
    if torch.cuda.is_available():
        assert policy.scaler().is_enabled()


def test_half_precision_features_are_taken_as_they_are_stored(small_model, features):
    expected = small_model.encode_images(features.half().float())
    assert torch.equal(small_model.encode_images(features.half()), expected)
