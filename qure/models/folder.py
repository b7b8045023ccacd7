"""A model as a folder: config.json, model.safetensors, tokenizer/tokenizer.json, manifest.json.

Two fingerprints are computed from what the files hold and compared with the manifest when a model is read:
`fingerprint` covers every tensor, the configuration and the tokenizer; `vision_fingerprint` covers what precomputed
features depend on: the vision tower's tensors and dimensions, and how images are prepared for it.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from qure.errors import BadInput
from qure.files import atomic_folder, fingerprint, read_json, refuse_pipe, write_json
from qure.images import preparation
from qure.models.config import QureConfig
from qure.models.manifest import MANIFEST, RESTORE, read_manifest
from qure.models.published import refuse_other_content
from qure.models.text import CaptionTokenizer

CONFIG, TENSORS, TOKENIZER = "config.json", "model.safetensors", "tokenizer"
VISION_PREFIX = "vision."

Attention = Literal["sdpa", "eager"]


class FolderModel(nn.Module):
    """A module that is kept as such a folder (`qure.models.model.QureModel` is the one there is).

    Attributes:
        config: dimensions.
        tokenizer: text -> ids, fixed length.
        vision: the image tower; None when it is left out.
        vision_fingerprint: of the image tower; set by `load` and `save`.
    """

    config: QureConfig
    tokenizer: CaptionTokenizer | None
    vision: nn.Module | None
    vision_fingerprint: str | None

    def __init__(
        self,
        config: QureConfig,
        tokenizer: CaptionTokenizer | None = None,
        *,
        vision: bool = True,
        attention: Attention = "sdpa",
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.vision_fingerprint = None

    def save(self, folder: Path, *, vision_from: Path | None = None, notes: dict[str, Any] | None = None) -> None:
        """Writes the model folder, whole or not at all; see `save_model`."""
        save_model(self, folder, vision_from=vision_from, notes=notes)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device | str = "cpu",
        *,
        vision: bool = True,
        attention: Attention = "sdpa",
    ) -> Self:
        """Reads a model folder in evaluation mode, after comparing its content with its manifest.

        Args:
            folder: what `save` wrote.
            device: where the parameters go.
            vision: False leaves the vision tower out (training and evaluation from precomputed features).
            attention: "sdpa" (PyTorch's fused attention) or "eager".

        Raises:
            BadInput: a file is missing, damaged, or is not the one that the manifest describes; names it.
        """
        folder = Path(folder)
        manifest, config, tokenizer = read_manifest(folder), read_config(folder), CaptionTokenizer.load(folder)
        tensors = _read_tensors(folder / TENSORS)
        _verify(folder, manifest, make_manifest(config, tensors, tokenizer))
        if not vision:
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(VISION_PREFIX)}
        with torch.device("meta"):
            model = cls(config, tokenizer, vision=vision, attention=attention)
        _fill(model, tensors, folder / TENSORS, device)
        model.vision_fingerprint = manifest["vision_fingerprint"]
        return model.eval()


def save_model(
    model: FolderModel, folder: Path, *, vision_from: Path | None = None, notes: dict[str, Any] | None = None
) -> None:
    """Writes a whole model folder, atomically; the same model always gives the same bytes.

    Args:
        model: with its tokenizer.
        folder: replaced when it exists.
        vision_from: model folder that the vision tower is copied from when `model` was loaded without one.
        notes: further JSON-able facts for the manifest (where weights came from, metrics of a pre-training).

    Raises:
        BadInput: `vision_from` holds another vision tower than the one the model was trained with.
    """
    if model.tokenizer is None:
        raise ValueError("a model without a tokenizer cannot be saved")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.vision is None:
        tensors |= _vision_tensors(model, vision_from)
    manifest = make_manifest(model.config, tensors, model.tokenizer) | {"notes": notes or {}}
    with atomic_folder(folder) as temporary:
        # One fixed metadata entry: with several, the safetensors header's order changes from run to run.
        save_file(tensors, temporary / TENSORS, metadata={"format": "pt"})
        write_json(temporary / CONFIG, model.config.model_dump(mode="json"))
        model.tokenizer.save(temporary / TOKENIZER)
        write_json(temporary / MANIFEST, manifest)
    model.vision_fingerprint = manifest["vision_fingerprint"]


def read_config(folder: Path) -> QureConfig:
    """A model folder's dimensions."""
    file = Path(folder) / CONFIG
    try:
        return QureConfig.model_validate(read_json(file, remedy=RESTORE))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(first["msg"], file=file, field=".".join(map(str, first["loc"]))) from None


def make_manifest(config: QureConfig, tensors: dict[str, torch.Tensor], tokenizer: CaptionTokenizer) -> dict[str, Any]:
    """Fingerprints and size of a model with these parts."""
    digests = {name: _tensor_digest(tensor) for name, tensor in sorted(tensors.items())}
    vision = {name: digest for name, digest in digests.items() if name.startswith(VISION_PREFIX)}
    return {
        "fingerprint": fingerprint(
            {"config": config.model_dump(mode="json"), "tensors": digests, "tokenizer": tokenizer.to_json()}
        ),
        "vision_fingerprint": fingerprint(
            {
                "config": config.vision.model_dump(mode="json"),
                "preparation": preparation(config.vision.image_size),
                "tensors": vision,
            }
        ),
        "backbone": config.backbone,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }


def _tensor_digest(tensor: torch.Tensor) -> str:
    values = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return f"{tensor.dtype} {list(tensor.shape)} {hashlib.sha256(values.data).hexdigest()}"


def _vision_tensors(model: FolderModel, vision_from: Path | None) -> dict[str, torch.Tensor]:
    if vision_from is None:
        raise ValueError("the model was loaded without its vision tower: say which folder holds it (vision_from)")
    found = read_manifest(vision_from)["vision_fingerprint"]
    if found != model.vision_fingerprint:
        raise BadInput(
            f"its vision tower has fingerprint {found}, the model was trained with {model.vision_fingerprint}",
            file=vision_from,
            remedy="Give the backbone folder that the training started from",
        )
    tensors = _read_tensors(Path(vision_from) / TENSORS)
    return {name: tensor for name, tensor in tensors.items() if name.startswith(VISION_PREFIX)}


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    refuse_pipe(file, remedy=RESTORE)
    try:
        if file.stat().st_size:
            refuse_other_content(file, safetensors=True)
        with safe_open(file, framework="pt", device="cpu") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=file, remedy=RESTORE) from None
    except (SafetensorError, OSError) as error:
        raise BadInput(f"not a readable safetensors file: {error}", file=file, remedy=RESTORE) from None


def _verify(folder: Path, manifest: dict[str, Any], found: dict[str, Any]) -> None:
    for field in ("vision_fingerprint", "fingerprint"):
        if manifest[field] != found[field]:
            names = f"{TENSORS}, {CONFIG} or {TOKENIZER}/ is not what {MANIFEST} describes"
            raise BadInput(
                f"{names}: {field} is {found[field]}, expected {manifest[field]}",
                file=Path(folder) / TENSORS,
                field=field,
                remedy=RESTORE,
            )


def _fill(model: FolderModel, tensors: dict[str, torch.Tensor], file: Path, device: torch.device | str) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise BadInput(f"tensors do not fit config.json: {', '.join(wrong[:5])}", file=file, remedy=RESTORE)
    model.to_empty(device=device)
    _restore_buffers(model)
    model.load_state_dict(tensors)


def _restore_buffers(model: FolderModel) -> None:
    """Position ids are not saved: on the meta device they had no values, so they are counted out again."""
    for name, buffer in model.named_buffers():
        if not name.endswith("position_ids"):
            raise RuntimeError(f"buffer {name} is neither saved nor known how to restore")
        buffer.copy_(torch.arange(buffer.shape[-1], device=buffer.device).expand_as(buffer))
