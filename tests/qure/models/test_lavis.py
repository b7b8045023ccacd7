"""Published key names, and the real-size model against the published list of keys."""

from pathlib import Path

import pytest
import torch

from qure.errors import BadInput
from qure.models.config import BLIP2_VITL
from qure.models.lavis import convert_state_dict, expected_shapes, published_name, target_names, with_vision
from qure.models.model import QureModel


def key_list(folder: Path) -> dict[str, torch.Tensor]:
    """The published state dict without its values."""
    tensors = {}
    for line in (folder / "lavis-vitl-state-dict.tsv").read_text().splitlines():
        key, shape, dtype = line.split("\t")
        size = [] if shape == "scalar" else [int(edge) for edge in shape.split(",")]
        tensors[key] = torch.empty(size, dtype=getattr(torch, dtype), device="meta")
    return tensors


def test_published_key_list_loads_without_remainder_at_full_size(reference_folder):
    published = key_list(reference_folder)
    with torch.device("meta"):
        model = QureModel(BLIP2_VITL)
    tensors = convert_state_dict(published, BLIP2_VITL, file="model.pth")
    assert len(published) == 627
    assert {name: tuple(t.shape) for name, t in tensors.items()} == expected_shapes(BLIP2_VITL)
    model.load_state_dict(tensors, assign=True)
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values())


def test_full_size_has_the_published_number_of_parameters(reference_folder):
    published = key_list(reference_folder)
    floats = {key: tensor for key, tensor in published.items() if tensor.dtype.is_floating_point}
    unused = {key for key in floats if target_names(key) == ()}
    with torch.device("meta"):
        model = QureModel(BLIP2_VITL)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(tensor.numel() for key, tensor in floats.items() if key not in unused)
    frozen = sum(parameter.numel() for parameter in model.vision.parameters())
    assert frozen == sum(t.numel() for key, t in floats.items() if key.startswith("visual_encoder."))
    head = sum(parameter.numel() for parameter in model.itm_head.parameters())
    assert sum(parameter.numel() for parameter in model.trainable_parameters()) == count - frozen - head


def test_every_key_goes_to_one_place_and_back(reference_folder):
    published = key_list(reference_folder)
    names = [name for key in published for name in target_names(key)]
    assert len(names) == len(set(names))
    for key in published:
        assert {published_name(name) for name in target_names(key)} in ({key}, set())


def test_half_precision_values_are_kept_exactly(golden):
    published = {key: t.half() if key.startswith("visual_encoder.") else t for key, t in golden.published.items()}
    tensors = convert_state_dict(published, golden.config, file="model.pth")
    key = "visual_encoder.transformer.resblocks.0.attn.in_proj_weight"
    width = golden.config.vision.width
    assert torch.equal(
        tensors["vision.encoder.layers.0.self_attn.k_proj.weight"].half(), published[key][width : 2 * width]
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_in_half_precision_loads_whole_and_exactly(golden, dtype):
    published = {key: t.to(dtype) if t.is_floating_point() else t for key, t in golden.published.items()}
    tensors = convert_state_dict(published, golden.config, file="model.pth")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(torch.equal(tensor, golden.weights[name].to(dtype).float()) for name, tensor in tensors.items())


@pytest.mark.parametrize("ending", ["position_ids", "cls."])
def test_each_of_the_optional_keys_may_be_absent(golden, ending):
    rest = {key: tensor for key, tensor in golden.published.items() if ending not in key}
    assert rest.keys() < golden.published.keys()
    assert convert_state_dict(rest, golden.config, file="model.pth").keys() == golden.weights.keys()


def test_the_head_that_relevance_does_without_may_be_absent(golden):
    rest = {key: tensor for key, tensor in golden.published.items() if not key.startswith("itm_head.")}
    tensors = convert_state_dict(rest, golden.config, file="model.pth")
    assert tensors.keys() == golden.weights.keys()
    model = QureModel(golden.config)
    model.load_state_dict(tensors)
    differences = golden.output_differences(model.eval(), "golden.out.")
    assert max(differences.values()) <= 1e-5


def _longer(tensor, rows):
    """A tensor with some rows more, or fewer."""
    return torch.cat([tensor, tensor[:rows]]) if rows > 0 else tensor[:rows]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("visual_encoder.positional_embedding", 7),  # made for images of another resolution
        ("Qformer.bert.embeddings.word_embeddings.weight", 1),  # 30,524 words instead of 30,523
        ("Qformer.bert.embeddings.word_embeddings.weight", -1),  # 30,522, without the added token
    ],
)
def test_a_model_of_other_dimensions_is_refused_by_name(golden, key, rows):
    published = golden.published | {key: _longer(golden.published[key], rows)}
    with pytest.raises(BadInput, match=f"key '{key}' has shape"):
        convert_state_dict(published, golden.config, file="model.pth")


@pytest.mark.parametrize("key", ["visual_encoder.transformer.resblocks.{}.ln_1.bias", "vision_head.weight"])
def test_a_further_block_or_head_is_refused_by_name(golden, key):
    further = key.format(golden.config.vision.layers)
    with pytest.raises(BadInput, match=f"unknown keys: {further}"):
        convert_state_dict(golden.published | {further: torch.zeros(1)}, golden.config, file="model.pth")


def test_optional_keys_may_be_absent(golden):
    needed = {key: tensor for key, tensor in golden.published.items() if target_names(key) != ()}
    assert convert_state_dict(needed, golden.config, file="model.pth").keys() == golden.weights.keys()


@pytest.mark.parametrize(
    "key", ["ln_vision.weigth", "module.temp", "visual_encoder.transformer.resblocks.99.ln_1.bias"]
)
def test_unknown_keys_are_refused_by_name(golden, key):
    with pytest.raises(BadInput, match="unknown keys: " + key):
        convert_state_dict(golden.published | {key: torch.zeros(1)}, golden.config, file="model.pth")


def test_a_file_of_another_model_is_called_what_it_is(golden):
    with pytest.raises(
        BadInput, match=r"model\.pth: unknown keys: fc\.weight\. This is not a QuRe or BLIP-2 ViT-L file"
    ):
        convert_state_dict({"fc.weight": torch.zeros(1)}, golden.config, file="model.pth")


@pytest.mark.parametrize(
    "key", ["temp", "query_tokens", "visual_encoder.transformer.resblocks.1.attn.in_proj_bias", "text_proj.weight"]
)
def test_missing_keys_are_refused_by_published_name(golden, key):
    rest = {name: tensor for name, tensor in golden.published.items() if name != key}
    with pytest.raises(BadInput, match="missing keys: " + key + r"\b"):
        convert_state_dict(rest, golden.config, file="model.pth")


def test_tensor_of_another_shape_is_refused_by_name(golden):
    published = golden.published | {"text_proj.bias": torch.zeros(3)}
    with pytest.raises(BadInput, match=r"text_proj\.bias.*\[3\]"):
        convert_state_dict(published, golden.config, file="model.pth")


def test_vision_tower_from_its_own_file(golden):
    prefix = "visual_encoder."
    rest = {key: tensor for key, tensor in golden.published.items() if not key.startswith(prefix)}
    tower = {key.removeprefix(prefix): t for key, t in golden.published.items() if key.startswith(prefix)}
    # what CLIP's file holds beyond the published tower: one more block, the last LayerNorm, the projection
    extra = {
        "ln_post.weight": torch.ones(1),
        "proj": torch.ones(1),
        "transformer.resblocks.99.ln_1.bias": torch.ones(1),
    }
    with pytest.raises(BadInput, match=r"clip_vit_L.pth"):
        convert_state_dict(rest, golden.config, file="model.pth")
    whole = with_vision(rest, tower | extra, golden.config, file=Path("clip_vit_L.pth"))
    found = convert_state_dict(whole, golden.config, file="model.pth")
    assert all(torch.equal(found[name], golden.weights[name]) for name in golden.weights)


def test_two_vision_towers_are_refused(golden):
    with pytest.raises(BadInput, match="already"):
        with_vision(golden.published, {"proj": torch.ones(1)}, golden.config, file=Path("clip_vit_L.pth"))


def test_a_file_without_a_tower_is_no_tower(golden):
    with pytest.raises(BadInput, match="no tensors of a CLIP vision tower"):
        with_vision({}, {"weight": torch.ones(1)}, golden.config, file=Path("clip_vit_L.pth"))
