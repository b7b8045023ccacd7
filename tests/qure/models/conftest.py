"""Golden vectors of the published model, compared in one place; and a model small enough for unit tests."""

import json
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qure.config import BackboneSettings, QFormerDimensions
from qure.models.build import build_catalogue_model
from qure.models.config import QFormerConfig, QureConfig, VisionConfig
from qure.models.lavis import convert_state_dict, target_names
from qure.models.model import QureModel
from qure.models.relevance import relevance

Change = Callable[[QureModel], None]

# Threads that wait for each other cost minutes where tests share the machine.
torch.set_num_threads(1)

FP32, FP64, GRADIENT = 1e-5, 1e-9, 1e-4


class Golden:
    """Inputs, outputs and gradients of the published model; every dimension comes from the JSON beside them."""

    def __init__(self, file: Path) -> None:
        self.tensors = load_file(file)
        self.config = dimensions(json.loads(file.with_suffix(".json").read_text(encoding="utf-8")))
        self.published = {name: tensor for name, tensor in self.tensors.items() if not name.startswith("golden.")}
        self.weights = convert_state_dict(self.published, self.config, file=file)

    def model(self, config: QureConfig | None = None) -> QureModel:
        model = QureModel(config or self.config)
        model.load_state_dict(self.weights)
        return model.eval()

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}

    def failures(self, change: Change | None = None, config: QureConfig | None = None) -> list[str]:
        """Everything that differs from the published model by more than its tolerance."""
        single, double = self.model(config), self.model(config).double()
        for model in (single, double) if change else ():
            change(model)
        return [
            *_beyond(self.output_differences(single, "golden.out."), FP32, "fp32"),
            *_beyond(self.output_differences(double, "golden.out64."), FP64, "fp64"),
            *_beyond(self.gradient_differences(single), GRADIENT, "gradient"),
        ]

    def output_differences(self, model: QureModel, prefix: str) -> dict[str, float]:
        """Largest absolute difference of every output under `prefix`."""
        with torch.no_grad():
            found = self.run(model)
        expected = self.under(prefix)
        assert expected, f"the file holds nothing under {prefix}"
        assert expected.keys() <= found.keys(), f"not computed: {expected.keys() - found.keys()}"
        differences = {}
        for name, values in expected.items():
            difference = (found[name].double() - values.double()).abs()
            if name == "qformer_query_text":  # places behind padding hold values that nothing reads
                difference = difference * self.under("golden.in.")["attention_mask"].unsqueeze(-1)
            differences[name] = difference.max().item()
        return differences

    def gradient_differences(self, model: QureModel) -> dict[str, float]:
        """Largest absolute difference of every gradient in the file."""
        model.zero_grad()
        self.run(model)["loss"].backward()
        parameters = dict(model.named_parameters())
        expected = self.under("golden.grad.")
        assert expected, "the file holds no gradients"
        differences = {}
        for published, values in expected.items():
            (name,) = target_names(published) or ("",)
            gradient = parameters[name].grad
            differences[published] = inf if gradient is None else (gradient - values).abs().max().item()
        return differences

    def run(self, model: QureModel) -> dict[str, torch.Tensor]:
        """Every output that the JSON explains, in the model's own dtype."""
        dtype, inputs = model.query_tokens.dtype, self.under("golden.in.")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        found = {
            f"vit_{name}": model.encode_vision(inputs[f"{name}_images"].to(dtype)) for name in ("ref", "tar", "neg")
        }
        states = model.query_states(found["vit_ref"], ids, mask)
        found["ln_vision_ref"] = model.ln_vision(found["vit_ref"])
        found["qformer_query_tokens"] = states[:, : self.config.query_tokens]
        found["qformer_query_text"] = states[:, self.config.query_tokens :]
        found["qformer_target"] = model.image_states(found["vit_tar"])
        found["qformer_negative"] = model.image_states(found["vit_neg"])
        found["query_feature"] = model.encode_queries(found["vit_ref"], ids, mask)
        found["target_feature"] = model.encode_images(found["vit_tar"])
        found["negative_feature"] = model.encode_images(found["vit_neg"])
        candidates = torch.cat([found["target_feature"], found["negative_feature"]])
        matrix = relevance(found["query_feature"], candidates)
        rows, batch = torch.arange(len(ids)), len(ids)
        found["score_matrix"] = matrix
        found["scores_no_temp"] = torch.stack([matrix[rows, rows], matrix[rows, rows + batch]], dim=1)
        found["scores"] = found["scores_no_temp"] / model.temperature
        found["loss"] = -torch.log_softmax(found["scores"], dim=1)[:, 0].mean()
        return found


def dimensions(description: dict[str, Any]) -> QureConfig:
    """A golden set's JSON as dimensions of a model."""
    sizes, fixed = description["config"], description["fixed"]
    first = description["tensors"]["visual_encoder.transformer.resblocks.0.mlp.c_fc.weight"]["shape"]
    return QureConfig(
        backbone="golden",
        vision=VisionConfig(
            image_size=sizes["image_size"],
            patch_size=sizes["patch_size"],
            width=sizes["vit_width"],
            layers=sizes["vit_layers"],
            heads=sizes["vit_heads"],
            intermediate=first[0],
            layer_norm_eps=fixed["layer_norm_eps_vit"],
        ),
        qformer=QFormerConfig(
            vocabulary=sizes["vocab_size"],
            hidden=sizes["qformer_hidden"],
            layers=sizes["qformer_layers"],
            heads=sizes["qformer_heads"],
            intermediate=sizes["qformer_intermediate"],
            max_positions=sizes["max_position_embeddings"],
            cross_attention_every=sizes["cross_attention_freq"],
            layer_norm_eps=fixed["layer_norm_eps_qformer"],
        ),
        query_tokens=sizes["num_query_token"],
        embedding=sizes["embed_dim"],
        text_tokens=sizes["max_txt_len"],
        ln_vision_eps=fixed["layer_norm_eps_ln_vision"],
    )


def _beyond(differences: dict[str, float], tolerance: float, kind: str) -> list[str]:
    # "not <=" so that NaN counts as a difference
    return [f"{kind} {name}: {value:.2e}" for name, value in differences.items() if not value <= tolerance]


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The set named by QURE_MODEL_GOLDEN (a .safetensors file, its JSON beside it), else the reference one."""
    named = os.environ.get("QURE_MODEL_GOLDEN")
    default = Path(__file__).resolve().parents[4] / "shared" / "reference" / "model-golden.safetensors"
    file = Path(named) if named else default
    if not named and not file.is_file():
        pytest.skip("needs golden vectors: set QURE_MODEL_GOLDEN to their .safetensors file")
    return Golden(file)


@pytest.fixture
def small_model() -> QureModel:
    """An untrained model of the catalogue's dimensions."""
    captions = ["a red dress with long sleeves", "a short blue shirt", "striped top"]
    return build_catalogue_model(BackboneSettings(qformer=QFormerDimensions(dropout=0.1)), captions, seed=3)
