"""Model folders: whole, verified, and complete again after training without the vision tower."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qure.config import BackboneSettings
from qure.errors import BadInput
from qure.models.build import build_catalogue_model
from qure.models.manifest import read_manifest
from qure.models.model import QureModel

CAPTIONS = ["a red dress with long sleeves", "a short blue shirt", "striped top"]


@pytest.fixture
def folder(small_model, tmp_path) -> Path:
    small_model.save(tmp_path / "model", notes={"accuracy": 0.5})
    return tmp_path / "model"


def embeddings(model: QureModel) -> list[torch.Tensor]:
    pixels = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    with torch.no_grad():
        features = model.encode_vision(pixels)
        return [features, model.encode_images(features), model.encode_queries(features, *model.tokenizer(["red", ""]))]


def test_loaded_model_is_the_saved_one(small_model, folder):
    loaded = QureModel.load(folder)
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(embeddings(small_model), embeddings(loaded), strict=True))
    assert loaded.vision_fingerprint == small_model.vision_fingerprint == read_manifest(folder)["vision_fingerprint"]
    assert [name for name, _ in loaded.named_trainable_parameters()] == [
        name for name, _ in small_model.named_trainable_parameters()
    ]
    assert read_manifest(folder)["notes"] == {"accuracy": 0.5}
    assert read_manifest(folder)["parameters"] == sum(tensor.numel() for tensor in small_model.state_dict().values())


def test_same_model_gives_the_same_bytes(small_model, folder, tmp_path):
    QureModel.load(folder).save(tmp_path / "again", notes={"accuracy": 0.5})
    files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    assert [str(file) for file in files] == [
        "config.json", "manifest.json", "model.safetensors", "tokenizer/tokenizer.json",
    ]  # fmt: skip
    for file in files:
        assert (folder / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_every_part_moves_the_fingerprint(small_model, folder):
    before = read_manifest(folder)
    other_words = build_catalogue_model(BackboneSettings(), [*CAPTIONS[:2], "spotted top"], seed=3)
    changed_weight = QureModel.load(folder)
    with torch.no_grad():
        changed_weight.text_proj.bias[0] += 1e-6
    other_dimensions = QureModel.load(folder)
    other_dimensions.config = small_model.config.model_copy(update={"ln_vision_eps": 1e-6})
    for model in (other_words, changed_weight, other_dimensions):
        model.save(folder.parent / "other")
        after = read_manifest(folder.parent / "other")
        assert after["fingerprint"] != before["fingerprint"]
        assert after["vision_fingerprint"] == before["vision_fingerprint"]


def test_vision_and_preparation_move_the_vision_fingerprint(folder, monkeypatch):
    before = read_manifest(folder)["vision_fingerprint"]
    model = QureModel.load(folder)
    with torch.no_grad():
        model.vision.encoder.layers[0].mlp.fc1.bias[0] += 1e-6
    model.save(folder.parent / "other")
    assert read_manifest(folder.parent / "other")["vision_fingerprint"] != before
    monkeypatch.setattr("qure.images.TARGET_RATIO", 1.3)
    with pytest.raises(BadInput, match="vision_fingerprint"):
        QureModel.load(folder)


def test_flipped_bit_in_the_weights_is_refused(folder):
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"model\.safetensors.*fingerprint is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        QureModel.load(folder)
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        QureModel.load(folder, vision=False)


@pytest.mark.parametrize("keep", [0, 5, 5000, -1])
def test_cut_off_weights_are_refused(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"model\.safetensors: not a readable safetensors file"):
        QureModel.load(folder)


def test_a_pointer_in_place_of_the_tensors_is_called_by_its_name(folder):
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
    with pytest.raises(BadInput, match=r"model\.safetensors: this is a git-LFS pointer"):
        QureModel.load(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "manifest.json", "tokenizer/tokenizer.json"])
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BadInput, match=name):
        QureModel.load(folder)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere.*no such model folder"):
        QureModel.load(tmp_path / "nowhere")


def test_changed_tokenizer_or_configuration_is_refused(folder):
    for name, old, new in (
        ("tokenizer/tokenizer.json", '"striped"', '"spotted"'),
        ("config.json", '"dropout": 0.1', '"dropout": 0.2'),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        with pytest.raises(BadInput, match="fingerprint"):
            QureModel.load(folder)
        (folder / name).write_text(text)
    QureModel.load(folder)


def test_configuration_of_another_version_is_refused_by_field(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"surprise": 1}))
    with pytest.raises(BadInput, match=r"config\.json, field 'surprise'"):
        QureModel.load(folder)


def test_weights_that_do_not_fit_the_dimensions_are_refused_by_name(small_model, folder):
    """A folder whose manifest agrees with its files, but whose files do not belong together."""
    tensors = load_file(folder / "model.safetensors")
    tensors["text_proj.bias"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    from qure.models.folder import make_manifest

    manifest = make_manifest(small_model.config, tensors, small_model.tokenizer)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"text_proj\.bias"):
        QureModel.load(folder)


def test_a_model_that_could_not_be_read_again_is_not_saved(small_model, tmp_path):
    small_model.tokenizer = None
    with pytest.raises(ValueError, match="without a tokenizer cannot be saved"):
        small_model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_buffer_that_is_neither_saved_nor_counted_out_is_named(folder, monkeypatch):
    made = QureModel.__init__

    def with_buffer(self, *arguments, **named):
        made(self, *arguments, **named)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    monkeypatch.setattr(QureModel, "__init__", with_buffer)
    with pytest.raises(RuntimeError, match="buffer scale is neither saved nor known how to restore"):
        QureModel.load(folder)


# --- without the vision tower ---


def test_model_without_vision_encodes_features_and_is_saved_whole(folder, tmp_path):
    model = QureModel.load(folder, vision=False)
    whole = QureModel.load(folder)
    assert model.vision is None
    assert not any(name.startswith("vision.") for name in model.state_dict())
    features, images, queries = embeddings(whole)
    assert torch.equal(model.encode_images(features), images)
    assert torch.equal(model.encode_queries(features, *model.tokenizer(["red", ""])), queries)
    with pytest.raises(RuntimeError, match="vision=True"):
        model.encode_vision(torch.zeros(1, 3, 64, 64))
    with torch.no_grad():
        model.text_proj.weight.mul_(2)
    model.save(tmp_path / "trained", vision_from=folder)
    trained = QureModel.load(tmp_path / "trained")
    assert torch.equal(embeddings(trained)[0], features)
    assert torch.equal(trained.text_proj.weight, 2 * whole.text_proj.weight)
    assert trained.vision_fingerprint == whole.vision_fingerprint


def test_model_without_vision_needs_the_tower_it_was_trained_with(folder, tmp_path):
    model = QureModel.load(folder, vision=False)
    with pytest.raises(ValueError, match="vision_from"):
        model.save(tmp_path / "trained")
    build_catalogue_model(BackboneSettings(), CAPTIONS, seed=4).save(tmp_path / "other")
    with pytest.raises(BadInput, match=model.vision_fingerprint):
        model.save(tmp_path / "trained", vision_from=tmp_path / "other")
    assert not (tmp_path / "trained").exists()


def test_interrupted_save_leaves_the_old_folder(folder, small_model, monkeypatch):
    before = read_manifest(folder)
    with torch.no_grad():
        small_model.text_proj.bias.add_(1)
    monkeypatch.setattr("qure.models.folder.write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        small_model.save(folder)
    monkeypatch.undo()
    assert read_manifest(folder) == before
    QureModel.load(folder)


@pytest.mark.parametrize("modules", ["qure.models, qure.images", "qure.registry.stage, qure.registry.monitoring"])
def test_importing_what_may_never_compute_does_not_import_torch(modules: str):
    check = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_folder_can_be_moved(folder, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    QureModel.load(tmp_path / "elsewhere")
