"""Models and tokenizers from the Hugging Face Hub, a local folder or S3, and BLIP-2 in transformers' own format."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from qure.errors import BadInput
from qure.files import refuse_pipe
from qure.models.config import QFormerConfig, QureConfig, VisionConfig
from qure.models.lavis import expected_shapes
from qure.models.model import INITIAL_TEMPERATURE
from qure.models.published import refuse_other_content
from qure.storage import stored_folder

VITG = "Salesforce/blip2-itm-vit-g"
BERT = "google-bert/bert-base-uncased"

_HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?:@[\w./-]+)?")

#: transformers' names -> this package's. `post_layernorm` is what LAVIS calls `ln_vision`.
_RENAMES = (
    ("vision_model.post_layernorm.", "ln_vision."),
    ("vision_model.", "vision."),
    ("embeddings.", "text_embeddings."),
    ("vision_projection.", "vision_proj."),
    ("text_projection.", "text_proj."),
)


@contextmanager
def fetched(source: str, patterns: Sequence[str]) -> Iterator[Path]:
    """A folder with the wanted files of `source`: itself when it is a local folder, else downloaded.

    Args:
        source: local folder, s3:// or file:// address, or Hub name with an optional @revision.
        patterns: file names wanted from the Hub.

    Raises:
        BadInput: no such folder, or the Hub cannot be reached or does not have it; says how to fetch it elsewhere.
        StageFailed: the storage behind an address cannot be reached.
    """
    if "://" in source:
        with stored_folder(source) as folder:
            yield folder
    elif Path(source).is_dir():
        yield Path(source)
    elif Path(source).is_file():
        raise BadInput("this is a file, and the folder that holds it is needed", file=source)
    elif source.startswith((".", "/", "~")) or not _HUB_NAME.fullmatch(source):
        raise BadInput("there is no such folder", file=source)
    else:
        yield _from_hub(source, patterns)


def _from_hub(source: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(patterns)))
    except Exception as error:  # offline, no network, no such name, no permission: each its own class, or httpx's
        wanted = " ".join(f"--include '{pattern}'" for pattern in patterns)
        at = f" --revision {revision}" if revision else ""
        raise BadInput(
            f"cannot be fetched from the Hugging Face Hub: {str(error).splitlines()[0] if str(error) else error!r}",
            file=source,
            remedy=f"On a machine with access run: hf download {name}{at} {wanted} --local-dir FOLDER; "
            "then give FOLDER instead of the name",
        ) from None


def read_vitg(folder: Path) -> tuple[QureConfig, dict[str, torch.Tensor]]:
    """Dimensions and fp32 tensors, under this package's names, of a `Blip2ForImageTextRetrieval` folder.

    Raises:
        BadInput: another kind of model, no safetensors, or keys are unknown, missing or of another shape (named).
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoConfig, Blip2Config, Blip2ForImageTextRetrieval

    for file in sorted(folder.glob("*.safetensors")):
        refuse_pipe(file)
        refuse_other_content(file, safetensors=True)
    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True)
        if not isinstance(found, Blip2Config):
            raise BadInput(f"holds a model of type {found.model_type!r}, expected BLIP-2", file=folder / "config.json")
        model, info = Blip2ForImageTextRetrieval.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are listed in `info` and refused below by name
        )
    except (OSError, ValueError, TypeError, SafetensorError, StrictDataclassError) as error:
        said = " ".join(str(error).split())
        raise BadInput(f"not a model in transformers' format: {said}", file=folder) from None
    _refuse_leftovers(info, folder)
    config = _config(model.config)
    tensors = {_renamed(name): tensor.detach() for name, tensor in model.state_dict().items()}
    tensors["temperature"] = torch.tensor(INITIAL_TEMPERATURE)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = expected_shapes(config)
    if shapes != expected:
        wrong = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        raise BadInput(f"tensors that do not fit the model: {', '.join(wrong[:10])}", file=folder)
    return config, tensors


def _refuse_leftovers(info: dict[str, Any], folder: Path) -> None:
    for kind, keys in (
        ("missing keys", info["missing_keys"]),
        ("unknown keys", info["unexpected_keys"]),
        ("keys of another shape", [entry[0] for entry in info["mismatched_keys"]]),
    ):
        if keys:
            raise BadInput(f"{kind}: {', '.join(sorted(keys)[:10])}", file=folder)


def _renamed(name: str) -> str:
    for old, new in _RENAMES:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _config(found: Any) -> QureConfig:
    vision, qformer = found.vision_config, found.qformer_config
    return QureConfig(
        backbone="blip2-vitg",
        vision=VisionConfig(
            kind="blip2",
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            width=vision.hidden_size,
            layers=vision.num_hidden_layers,
            heads=vision.num_attention_heads,
            intermediate=vision.intermediate_size,
            activation=vision.hidden_act,
            layer_norm_eps=vision.layer_norm_eps,
        ),
        qformer=QFormerConfig(
            vocabulary=qformer.vocab_size,
            hidden=qformer.hidden_size,
            layers=qformer.num_hidden_layers,
            heads=qformer.num_attention_heads,
            intermediate=qformer.intermediate_size,
            max_positions=qformer.max_position_embeddings,
            cross_attention_every=qformer.cross_attention_frequency,
            dropout=qformer.hidden_dropout_prob,
            activation=qformer.hidden_act,
            layer_norm_eps=qformer.layer_norm_eps,
        ),
        query_tokens=found.num_query_tokens,
        embedding=found.image_text_hidden_size,
        ln_vision_eps=vision.layer_norm_eps,
    )
