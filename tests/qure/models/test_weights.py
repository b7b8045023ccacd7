"""Import of published files: LAVIS .pth and transformers' BLIP-2, without a network."""

import argparse
import copy
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertTokenizerFast, Blip2Config, Blip2ForImageTextRetrieval

from qure.config import BackboneSettings
from qure.errors import BadInput
from qure.models.config import QureConfig
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.relevance import relevance
from qure.models.text import CaptionTokenizer
from qure.models.weights import import_backbone, import_hub, import_lavis, import_weights, read_tokenizer

WORDS = ["a", "red", "dress", "is", "blue", "##s", "sleeve", ","]


@pytest.fixture
def bert_folder(tmp_path: Path) -> Path:
    """A BERT vocabulary as the Hub publishes it, but short."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return folder


@pytest.mark.parametrize("wrapped", [True, False], ids=["pretrained file", "authors' file"])
def test_lavis_file_becomes_the_same_model(golden, tmp_path, bert_folder, wrapped):
    state = {key: t.half() if "resblocks" in key and "mlp" in key else t for key, t in golden.published.items()}
    torch.save({"model": state} if wrapped else state, tmp_path / "weights.pth")
    manifest = import_lavis(tmp_path / "weights.pth", tmp_path / "out", tokenizer=bert_folder, config=golden.config)
    model = QureModel.load(tmp_path / "out")
    expected = golden.model()
    for name, tensor in model.state_dict().items():
        wanted = expected.state_dict()[name]
        assert torch.equal(tensor, wanted.half().float() if ".mlp." in name else wanted), name
    assert manifest["backbone"] == "golden"
    assert manifest["notes"]["source_sha256"]
    assert not any(parameter.requires_grad for parameter in model.vision.parameters())
    ids, _ = model.tokenizer(["A red dress."])
    assert model.tokenizer.tokens(ids[0, :5]) == ["[CLS]", "a", "red", "dress", "[SEP]"]


class Sneaky:
    """What an attacker would put into a .pth file."""

    def __reduce__(self):
        return (Path.touch, (Path("sneaked-in"),))


def test_file_with_code_is_refused_and_not_run(tmp_path, bert_folder, monkeypatch, golden):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"temp": Sneaky()}}, "weights.pth")
    with pytest.raises(BadInput, match=r"weights\.pth.*more than tensors"):
        import_lavis("weights.pth", tmp_path / "out", tokenizer=bert_folder, config=golden.config)
    assert not Path("sneaked-in").exists()
    assert not (tmp_path / "out").exists()


class Module(torch.nn.Module):
    """What a TorchScript archive is made of."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.parametrize("kind", ["code", "torchscript", "cut off"])
def test_torchs_advice_to_load_unsafely_is_not_passed_on(tmp_path, kind):
    from qure.models.weights import read_pth

    file = tmp_path / "weights.pth"
    if kind == "torchscript":
        torch.jit.script(Module()).save(str(file))
    else:
        torch.save({"model": {"temp": Sneaky()}}, file)
    if kind == "cut off":
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadInput, match=r"weights\.pth") as refusal:
        read_pth(file)
    said = str(refusal.value)
    assert "weights_only" not in said
    assert "add_safe_globals" not in said
    if kind == "code":
        assert "an object of the class" in said


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_file_that_is_no_pytorch_file_is_refused(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(BadInput, match=r"weights\.pth"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "this is a web page"),
        (b"\n  <HTML>404</HTML>", "this is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 2\n", "git-LFS pointer"),
        (b"\x1f\x8b\x08 compressed", "a gzip archive"),
        (b"\x02\0\0\0\0\0\0\0{}", "this is a safetensors file"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "this is a web page"),
        ("<html>Sign in</html>".encode("utf-16"), "this is a web page"),
        (b'<a href="https://elsewhere">Found</a>.\n', "this is a web page"),
        (b"<Error><Code>AccessDenied</Code></Error>", "this is a web page"),
        (b'{"error": "Repository not found"}', "this is a text.*Repository not found"),
        (b"/annex/objects/SHA256E-s12--ab.pth\n", "this is a text.*annex"),
        ("\u00e9".encode() * 256 + b"\xc3", "this is a text"),
        (b"\x28\xb5\x2f\xfd\x04\0", "a Zstandard archive"),
        (b"GGUF\x03\0\0\0\xff\xff", "this is no PyTorch file: it begins with b'GGUF"),
    ],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights.ckpt", "weights.pth.tar"])
def test_what_is_no_file_of_weights_is_called_by_its_name(tmp_path, content, problem, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=problem) as caught:
        import_weights(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value), "torch's advice to load unsafely is not passed on"


def test_a_class_in_the_file_is_named(tmp_path):
    torch.save({"model": {"temp": torch.ones(())}, "args": argparse.Namespace(lr=1)}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match=r"more than tensors, an object of the class argparse\.Namespace, .*state dict"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out")


WRAPPED = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "a class's name": lambda state: {"Blip2QformerCir": state, "epoch": 3},
    "an optimizer beside": lambda state: {"net": state, "optimizer": {"state": {}, "param_groups": [1]}},
    "module.": lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
    "_orig_mod.": lambda state: {"model": {f"_orig_mod.{key}": tensor for key, tensor in state.items()}},
    "nested": lambda state: {"model": {"state_dict": state, "epoch": 3}},
    "both": lambda state: {"model_state_dict": {f"module.model.{key}": tensor for key, tensor in state.items()}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_state_dict_is_the_same_model(golden, tmp_path, bert_folder, kind):
    torch.save(golden.published, tmp_path / "plain.pth")
    torch.save(WRAPPED[kind](golden.published), tmp_path / "wrapped.pth")
    plain, wrapped = (
        import_lavis(tmp_path / f"{name}.pth", tmp_path / name, tokenizer=bert_folder, config=golden.config)
        for name in ("plain", "wrapped")
    )
    assert wrapped["fingerprint"] == plain["fingerprint"]


def test_several_state_dicts_are_not_chosen_from(golden, tmp_path):
    torch.save({"student": golden.published, "teacher": golden.published}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="holds several state dicts, 'student', 'teacher'"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out", config=golden.config)


def test_extra_keys_do_not_make_it_another_model(golden, tmp_path):
    torch.save(golden.published | {"extra.weight": torch.ones(2)}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match=r"unknown keys: extra\.weight\. The other \d+ tensors are"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out", config=golden.config)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_number_beside_the_tensors_is_named_and_hides_no_prefix(golden, tmp_path, wrapped):
    state = {f"module.{key}": tensor for key, tensor in golden.published.items()} | {"epoch": 3}
    torch.save({"model": state} if wrapped else state, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match=r"unknown keys: epoch\. The other \d+ tensors are those of a QuRe"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out", config=golden.config)


@pytest.mark.parametrize("name", ["weights.bin", "weights.ckpt", "weights.pth.tar", "weights.PTH"])
def test_the_ending_of_a_file_that_is_not_there_is_no_name_of_the_hub(tmp_path, name):
    for source in (tmp_path / name, (tmp_path / name).as_uri(), name):
        with pytest.raises(BadInput, match=rf"{name}.*(does not exist|Check the path)") as refusal:
            import_weights(source, tmp_path / "out")
        assert "Hub" not in str(refusal.value)


def test_a_file_of_any_ending_is_read_from_an_address(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"<html>404</html>")
    with pytest.raises(BadInput, match="this is a web page"):
        import_weights((tmp_path / "weights.bin").as_uri(), tmp_path / "out")


def test_what_is_no_file_is_not_called_missing(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    for name, kind in (("folder.pth", "a folder, not a file"), ("pipe.pth", "a named pipe, not a file")):
        with pytest.raises(BadInput, match=kind):
            import_lavis(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("address", ["file://", "FILE://"])
def test_a_manifest_tells_no_path_of_this_machine(golden, tmp_path, bert_folder, address):
    torch.save(golden.published, tmp_path / "weights.pth")
    source = (tmp_path / "weights.pth").as_uri().replace("file://", address)
    import_lavis(source, tmp_path / "out", tokenizer=bert_folder, config=golden.config)
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


def test_numbers_that_are_not_finite_are_refused(golden, tmp_path):
    broken = golden.published | {"temp": torch.tensor(float("nan"))}
    torch.save(broken, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="not finite: temp"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out", config=golden.config)


def test_a_pointer_in_a_folder_of_the_hub_is_called_by_its_name(blip2_folder, tmp_path):
    (blip2_folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
    with pytest.raises(BadInput, match=r"model\.safetensors.*git-LFS pointer"):
        import_hub(blip2_folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"\xff\xfe\xfd\0 damaged \0\0\0"),
        ("config.json", b'{"model_type": "blip-2", "vision_config": {"hidden_size": "wide"}}'),
        ("config.json", b'{"model_type": "blip-2", "vision_config": 3}'),
    ],
)
def test_a_damaged_folder_of_the_hub_is_one_line(blip2_folder, tmp_path, name, content):
    (blip2_folder / name).write_bytes(content)
    with pytest.raises(BadInput, match="hub: not a model in transformers' format") as refusal:
        import_hub(blip2_folder, tmp_path / "out")
    assert "\n" not in str(refusal.value)


def test_truncated_file_is_refused(tmp_path, golden):
    torch.save(golden.published, tmp_path / "weights.pth")
    data = (tmp_path / "weights.pth").read_bytes()
    (tmp_path / "weights.pth").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInput, match="cut off"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out", config=golden.config)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out")


def test_file_that_is_no_state_dict_is_refused(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="state dict"):
        import_lavis(tmp_path / "weights.pth", tmp_path / "out")


def test_tokenizer_with_more_tokens_than_the_model_is_refused(golden, bert_folder):
    with (bert_folder / "vocab.txt").open("a") as stream:
        stream.writelines(f"word{number}\n" for number in range(golden.config.qformer.vocabulary))
    with pytest.raises(BadInput, match="tokens, the model"):
        read_tokenizer(bert_folder, golden.config)


# --- transformers' format ---


@pytest.fixture(scope="module")
def blip2() -> Blip2ForImageTextRetrieval:
    """A tiny randomly initialised model of the class that the Hub's ViT-g file is for."""
    config = Blip2Config(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
            "initializer_range": 0.3,
        },
        qformer_config={
            "vocab_size": 5 + len(WORDS) + 1,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 40,
            "encoder_hidden_size": 24,
            "initializer_range": 0.3,
            "use_qformer_text_input": True,
        },
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    torch.manual_seed(5)
    model = Blip2ForImageTextRetrieval(config).eval()
    with torch.no_grad():  # weights that start as 0 or 1 would hide a mix-up
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def blip2_folder(blip2, bert_folder, tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    blip2.save_pretrained(folder)
    shutil.copy(bert_folder / "vocab.txt", folder)
    return folder


def test_hub_model_gives_its_own_forward(blip2, blip2_folder, tmp_path):
    import_hub(blip2_folder, tmp_path / "out")
    model = QureModel.load(tmp_path / "out").double()
    reference = blip2.double()
    pixels = torch.randn(3, 3, 28, 28, dtype=torch.float64)
    ids, mask = model.tokenizer(["a red dress", "is blue, sleeves", ""])
    with torch.no_grad():
        expected = reference(pixel_values=pixels, input_ids=ids, attention_mask=mask)
        features = model.encode_vision(pixels)
        candidates, texts = model.encode_images(features), model.encode_texts(ids, mask)
        composed = model.query_states(features, ids, mask)[:, :4]
        matching = reference(
            pixel_values=pixels, input_ids=ids, attention_mask=mask, use_image_text_matching_head=True
        ).logits_per_image
    torch.testing.assert_close(candidates, expected.image_embeds, atol=1e-9, rtol=0)
    torch.testing.assert_close(texts, expected.text_embeds, atol=1e-9, rtol=0)
    torch.testing.assert_close(relevance(texts, candidates).T, expected.logits_per_image, atol=1e-9, rtol=0)
    torch.testing.assert_close(model.itm_head(composed).mean(dim=1), matching, atol=1e-9, rtol=0)
    assert model.temperature.item() == pytest.approx(0.07)
    blip2.float()


def test_hub_features_are_before_the_last_layernorm(blip2, blip2_folder, tmp_path):
    import_hub(blip2_folder, tmp_path / "out")
    model = QureModel.load(tmp_path / "out")
    pixels = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        expected = blip2.vision_model(pixel_values=pixels).last_hidden_state
        found = model.encode_vision(pixels)
    assert not torch.allclose(found, expected, atol=0.1)
    torch.testing.assert_close(model.ln_vision(found), expected, atol=1e-5, rtol=1e-5)


def test_hub_model_without_safetensors_is_refused(blip2, blip2_folder, tmp_path):
    (blip2_folder / "model.safetensors").unlink()
    torch.save(blip2.state_dict(), blip2_folder / "pytorch_model.bin")
    with pytest.raises(BadInput, match="safetensors"):
        import_hub(blip2_folder, tmp_path / "out")


def test_hub_model_with_a_missing_key_is_refused_by_name(blip2, blip2_folder, tmp_path):
    state = {name: tensor for name, tensor in blip2.state_dict().items() if name != "text_projection.bias"}
    blip2.save_pretrained(blip2_folder, state_dict=state)
    with pytest.raises(BadInput, match=r"missing keys: text_projection.bias"):
        import_hub(blip2_folder, tmp_path / "out")


def test_hub_model_with_an_unknown_key_is_refused_by_name(blip2, blip2_folder, tmp_path):
    blip2.save_pretrained(blip2_folder, state_dict=blip2.state_dict() | {"odd.weight": torch.zeros(2)})
    with pytest.raises(BadInput, match=r"unknown keys: odd\.weight"):
        import_hub(blip2_folder, tmp_path / "out")


def test_hub_model_of_another_shape_is_refused_by_name(blip2, blip2_folder, tmp_path):
    blip2.save_pretrained(blip2_folder, state_dict=blip2.state_dict() | {"itm_head.bias": torch.zeros(5)})
    with pytest.raises(BadInput, match=r"another shape: itm_head\.bias"):
        import_hub(blip2_folder, tmp_path / "out")


def test_hub_model_without_the_biases_of_the_published_one_is_refused_by_name(blip2, blip2_folder, tmp_path):
    config = copy.deepcopy(blip2.config)
    config.vision_config.qkv_bias = False
    Blip2ForImageTextRetrieval(config).save_pretrained(blip2_folder)
    with pytest.raises(BadInput, match=r"tensors that do not fit the model: .*qkv\.bias"):
        import_hub(blip2_folder, tmp_path / "out")


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BadInput, match="expected BLIP-2"):
        import_hub(tmp_path / "other", tmp_path / "out")


def test_offline_says_how_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BadInput, match=r"hf download Salesforce/blip2-itm-vit-g .*--local-dir") as caught:
        import_hub("Salesforce/blip2-itm-vit-g", tmp_path / "out")
    assert caught.value.exit_code == 2
    with pytest.raises(BadInput, match="hf download google-bert/bert-base-uncased --revision main"):
        read_tokenizer("google-bert/bert-base-uncased@main", any_config())


def test_weights_and_tokenizer_from_storage(golden, blip2_folder, bert_folder, tmp_path):
    """Addresses go through qure.storage, whose own tests cover S3; file:// is the same way without a server."""
    torch.save(golden.published, tmp_path / "weights.pth")
    import_lavis(
        (tmp_path / "weights.pth").as_uri(), tmp_path / "one", tokenizer=bert_folder.as_uri(), config=golden.config
    )
    import_lavis(tmp_path / "weights.pth", tmp_path / "two", tokenizer=bert_folder, config=golden.config)
    assert read_manifest(tmp_path / "one")["fingerprint"] == read_manifest(tmp_path / "two")["fingerprint"]
    import_hub(blip2_folder.as_uri(), tmp_path / "three")
    with pytest.raises(BadInput, match="nowhere"):
        read_tokenizer((tmp_path / "nowhere").as_uri(), golden.config)


def test_kind_of_weights_is_told_by_their_name(golden, blip2_folder, bert_folder, tmp_path):
    assert import_weights(blip2_folder, tmp_path / "out")["backbone"] == "blip2-vitg"
    torch.save(golden.published, tmp_path / "model.pth")
    with pytest.raises(BadInput, match=r"model\.pth: missing keys"):  # a tiny model is not a ViT-L
        import_weights(tmp_path / "model.pth", tmp_path / "out", tokenizer=bert_folder)
    with pytest.raises(BadInput, match="leave vision_weights out"):
        import_weights(blip2_folder, tmp_path / "out", vision_weights="clip_vit_L.pth")


def test_a_vision_tower_from_a_file_of_its_own_is_the_same_model(golden, bert_folder, tmp_path):
    prefix = "visual_encoder."
    tower = {key.removeprefix(prefix): one for key, one in golden.published.items() if key.startswith(prefix)}
    torch.save(golden.published, tmp_path / "whole.pth")
    torch.save({k: one for k, one in golden.published.items() if not k.startswith(prefix)}, tmp_path / "frozen.pth")
    torch.save(tower, tmp_path / "clip_vit_L.pth")
    arguments = {"tokenizer": bert_folder, "config": golden.config}
    import_lavis(tmp_path / "whole.pth", tmp_path / "one", **arguments)
    import_lavis(tmp_path / "frozen.pth", tmp_path / "two", vision_weights=tmp_path / "clip_vit_L.pth", **arguments)
    assert read_manifest(tmp_path / "one")["fingerprint"] == read_manifest(tmp_path / "two")["fingerprint"]
    with pytest.raises(BadInput, match=r"clip_vit_L\.pth: the weights hold a vision tower already"):
        import_lavis(tmp_path / "whole.pth", tmp_path / "x", vision_weights=tmp_path / "clip_vit_L.pth", **arguments)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BadInput, match=r"model\.safetensors: this is a file, and the folder that holds it is needed"):
        import_hub(tmp_path / "model.safetensors", tmp_path / "out")


def test_the_catalogues_backbone_is_not_imported(tmp_path):
    with pytest.raises(BadInput, match=r"field 'backbone\.name': backbone 'catalogue' is trained, not imported"):
        import_backbone(BackboneSettings(name="catalogue"), tmp_path / "out")


def test_folder_that_does_not_exist_is_not_taken_for_a_hub_name(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        import_hub(tmp_path / "nowhere", tmp_path / "out")


def test_backbone_by_name(blip2_folder, tmp_path, golden, bert_folder):
    settings = BackboneSettings(name="blip2-vitg", weights=str(blip2_folder))
    assert import_backbone(settings, tmp_path / "vitg")["backbone"] == "blip2-vitg"
    with pytest.raises(BadInput, match=r"blip2_pretrained_vitL.pth"):
        import_backbone(BackboneSettings(name="blip2-vitl"), tmp_path / "vitl")
    torch.save(golden.published, tmp_path / "weights.pth")
    settings = BackboneSettings(name="blip2-vitl", weights=str(tmp_path / "weights.pth"), tokenizer=str(bert_folder))
    with pytest.raises(BadInput, match="missing keys"):  # a tiny model is not a ViT-L
        import_backbone(settings, tmp_path / "vitl")


def test_vocabulary_file_and_fast_tokenizer_agree(bert_folder, tmp_path):
    BertTokenizerFast.from_pretrained(bert_folder).save_pretrained(tmp_path / "fast")
    texts = ["A red dress.", "is blue, sleeves", "unknown words", ""]
    from_text = CaptionTokenizer.from_bert_folder(bert_folder, 12)(texts)
    from_json = CaptionTokenizer.from_bert_folder(tmp_path / "fast", 12)(texts)
    assert torch.equal(from_text[0], from_json[0])
    assert torch.equal(from_text[1], from_json[1])


def any_config() -> QureConfig:
    return QureConfig(
        backbone="any",
        vision={"image_size": 28, "patch_size": 14, "width": 8, "layers": 1, "heads": 1, "intermediate": 8},
        qformer={"vocabulary": 30523, "hidden": 8, "layers": 1, "heads": 1, "intermediate": 8},
    )
