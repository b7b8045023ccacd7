"""Published weights -> model folders. LAVIS's .pth files are read once, here, and never as arbitrary pickles."""

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from qure.config import BackboneSettings
from qure.errors import BadInput
from qure.files import file_digest, refuse_pipe
from qure.models.config import BLIP2_VITL, QureConfig
from qure.models.hub import BERT, VITG, fetched, read_vitg
from qure.models.lavis import convert_state_dict, with_vision
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.published import forbidden, refuse_other_content, state_dict_in
from qure.models.text import CaptionTokenizer
from qure.storage import stored_file

logger = logging.getLogger(__name__)

#: What people call PyTorch files; a name with such an ending is a file's, also where it is not there.
_PYTORCH_FILE = re.compile(r"\.(?:pth|pt|bin|ckpt)(?:\.tar)?$|\.tar$", re.IGNORECASE)

_LAVIS_FILES = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/"


def import_backbone(settings: BackboneSettings, output: Path) -> dict[str, Any]:
    """Writes the published backbone that the settings name (`blip2-vitl` or `blip2-vitg`) as a model folder.

    Returns:
        the manifest.

    Raises:
        BadInput: no weights given where there is no default, or as `import_lavis` and `import_hub`.
    """
    if settings.name == "blip2-vitl":
        if settings.weights is None:
            raise BadInput(
                "the backbone blip2-vitl needs the LAVIS file",
                field="backbone.weights",
                remedy=f"Download {_LAVIS_FILES}blip2_pretrained_vitL.pth and give its path",
            )
        return import_lavis(
            settings.weights, output, tokenizer=settings.tokenizer, vision_weights=settings.vision_weights
        )
    if settings.name == "blip2-vitg":
        return import_hub(settings.weights or VITG, output, tokenizer=settings.tokenizer)
    raise BadInput(f"backbone {settings.name!r} is trained, not imported", field="backbone.name")


def import_weights(
    source: Path | str,
    output: Path,
    *,
    tokenizer: str | Path | None = None,
    vision_weights: Path | str | None = None,
) -> dict[str, Any]:
    """Converts published weights of either kind: a file is LAVIS's, a folder or a name is in transformers' format.

    Arguments, result and errors as `import_lavis` and `import_hub`.
    """
    if Path(source).is_file() or (_PYTORCH_FILE.search(str(source)) and not Path(source).is_dir()):
        return import_lavis(source, output, tokenizer=tokenizer, vision_weights=vision_weights)
    if vision_weights is not None:
        raise BadInput("weights in transformers' format hold their vision tower: leave vision_weights out", file=source)
    return import_hub(source, output, tokenizer=tokenizer)


def import_lavis(
    path: Path | str,
    output: Path,
    *,
    tokenizer: str | Path | None = None,
    vision_weights: Path | str | None = None,
    config: QureConfig = BLIP2_VITL,
) -> dict[str, Any]:
    """Converts a LAVIS file: `blip2_pretrained_vitL.pth` (state under "model") or the authors' `model.pth` (plain).

    Args:
        path: the .pth file, or an s3:// address.
        output: model folder to write.
        tokenizer: bert-base-uncased as a folder, an s3:// address or a Hub name (the default).
        vision_weights: LAVIS's `clip_vit_L.pth`, for files that were saved without the frozen tower.
        config: dimensions; those of the published model unless it is another one.

    Returns:
        the manifest.

    Raises:
        BadInput: not a file of tensors, or keys are unknown, missing or of another shape (named).
    """
    with local_file(path) as file:
        published = read_pth(file)
        digest = file_digest(file)
    if vision_weights is not None:
        with local_file(vision_weights) as file:
            published = with_vision(published, read_pth(file), config, file=file)
    tensors = convert_state_dict(published, config, file=path)
    return _write(config, tensors, output, tokenizer=tokenizer or BERT, source=str(path), digest=digest)


def import_hub(source: Path | str, output: Path, *, tokenizer: str | Path | None = None) -> dict[str, Any]:
    """Converts a `Blip2ForImageTextRetrieval` in transformers' format, such as Salesforce/blip2-itm-vit-g.

    These files hold no temperature: it starts at 0.07.

    Args:
        source: Hub name (with @revision to pin one), local folder or s3:// address.
        output: model folder to write.
        tokenizer: as in `import_lavis`; by default that of the same source, if it has one.

    Returns:
        the manifest.

    Raises:
        BadInput: cannot be fetched, no safetensors, another kind of model, or keys are unknown or missing (named).
    """
    with fetched(str(source), ["*.json", "*.safetensors", "vocab.txt"]) as folder:
        config, tensors = read_vitg(folder)
        has_own = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt"))
        chosen = tokenizer or (folder if has_own else BERT)
        return _write(config, tensors, output, tokenizer=chosen, source=str(source), digest=None)


def read_tokenizer(source: str | Path, config: QureConfig) -> CaptionTokenizer:
    """A BERT tokenizer from a folder, an s3:// address or the Hub, at the model's text length.

    Raises:
        BadInput: cannot be fetched or read, or has more tokens than the model has word embeddings.
    """
    with fetched(str(source), ["tokenizer.json", "vocab.txt"]) as folder:
        tokenizer = CaptionTokenizer.from_bert_folder(folder, config.text_tokens)
    if tokenizer.vocabulary_size > config.qformer.vocabulary:
        raise BadInput(
            f"the tokenizer has {tokenizer.vocabulary_size} tokens, the model {config.qformer.vocabulary}",
            file=source,
            field="tokenizer",
        )
    return tokenizer


def read_pth(file: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a .pth file, without running any code that it may carry.

    Raises:
        BadInput: no such file, not a PyTorch file, or one that holds other things than tensors.
    """
    file = Path(file)
    refuse_pipe(file)
    if file.is_dir():
        raise BadInput("this is a folder, not a file", file=file)
    if not file.is_file():
        raise BadInput("the file does not exist", file=file)
    refuse_other_content(file)
    logger.info("reading %s (%.1f GB)", file, file.stat().st_size / 1e9)
    try:
        # Mapping the file keeps half of a 2 GB file out of memory; only the newer, zipped format can be mapped.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        remedy = "Let whoever made the file save its state dict alone: torch.save(model.state_dict(), FILE)"
        raise BadInput(forbidden(str(error)), file=file, remedy=remedy) from None
    except Exception as error:  # torch's unpickler raises whatever the damage makes of it
        raise BadInput(f"not a PyTorch file of tensors, or cut off: {_named(error)}", file=file) from None
    return state_dict_in(content, file)


def _named(error: Exception) -> str:
    """What torch found, in our words: its own advise to load the file unsafely, and a reader may follow them."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive; save its state_dict instead"
    lines = text.strip().splitlines()
    is_advice = "weights_only" in text or "safe_globals" in text
    return lines[0] if lines and not is_advice else type(error).__name__


def local_file(path: Path | str) -> AbstractContextManager[Path]:
    """A file as a local path; what lies at an s3:// or file:// address is there for as long as the context lasts."""
    return stored_file(str(path)) if "://" in str(path) else nullcontext(Path(path))


def _write(
    config: QureConfig,
    tensors: Mapping[str, torch.Tensor],
    output: Path,
    *,
    tokenizer: str | Path,
    source: str,
    digest: str | None,
) -> dict[str, Any]:
    words = read_tokenizer(tokenizer, config)
    with torch.device("meta"):
        model = QureModel(config, words)
    model.load_state_dict(dict(tensors), assign=True)
    # A path says something about this machine, not about the weights: only a name is kept of it.
    local = Path(source).is_absolute() or source.lower().startswith("file://")
    notes = {"source": source.rsplit("/", 1)[-1] if local else source}
    model.save(output, notes=notes | ({"source_sha256": digest} if digest else {}))
    return read_manifest(output)
