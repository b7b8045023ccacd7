"""What a file of weights is: told by its first bytes, and its state dict found inside what it was saved in."""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

import torch

from qure.datasets.ids import shown
from qure.errors import BadInput

#: What people wrap a state dict in, in the order of preference where a file holds several.
WRAPPERS = ("model", "state_dict", "model_state_dict")

#: What DataParallel, torch.compile and a module around the model put before every key.
PREFIXES = ("module.", "_orig_mod.", "model.")

#: Levels of wrappers that are looked through: trainers save `{"model": {"state_dict": ...}}`.
_DEEPEST = 3

_LFS = "version https://git-lfs.github.com/spec/"
_PAGE = re.compile(r"\s*<[a-z!?]", re.IGNORECASE)
_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
}
#: What PyTorch files begin with: a zip archive's first member, or a pickle's protocol.
_PYTORCH = (b"PK", b"\x80")
_CLASS = re.compile(r"GLOBAL (\S+) was not an allowed global")


def refuse_other_content(file: Path, *, safetensors: bool = False) -> None:
    """Refuses a file that holds no weights at all, by what it begins with.

    Args:
        file: a file that is there.
        safetensors: whether it is to be a safetensors file; else a PyTorch file.

    Raises:
        BadInput: says what it is, and how to come by the weights.
    """
    with Path(file).open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise BadInput("the file is empty", file=file, remedy="Download it again")
    _refuse_text(start, file)
    for beginning, kind in _ARCHIVES.items():
        if start.startswith(beginning):
            raise BadInput(f"this is {kind}", file=file, remedy="Unpack it first")
    if not safetensors and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        raise BadInput(
            "this is a safetensors file, and LAVIS's weights are PyTorch files",
            file=file,
            remedy="For a model in transformers' format give its folder",
        )
    if not safetensors and not start.startswith(_PYTORCH):
        raise BadInput(f"this is no PyTorch file: it begins with {start[:8]!r}", file=file)


def _refuse_text(start: bytes, file: Path) -> None:
    """Refuses what people read: pages and pointers that stand where weights should be, answers of servers."""
    text = _as_text(start)
    if text is None:
        return
    if text.startswith(_LFS):
        raise BadInput(
            "this is a git-LFS pointer, not the weights it stands for", file=file, remedy="Run `git lfs pull` there"
        )
    if _PAGE.match(text):
        raise BadInput(
            "this is a web page, not weights",
            file=file,
            remedy="The address leads to a page about the file, or to a log-in: download the file itself",
        )
    raise BadInput(
        f"this is a text, not weights: it begins with {shown(text.strip()[:60])}", file=file, remedy="Download it again"
    )


def _as_text(start: bytes) -> str | None:
    """A file's first bytes as text where they are one, in UTF-8 or, with its mark, UTF-16; else None."""
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start)  # the last character may be cut in two
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one.isspace() for one in text) else None


def forbidden(reason: str) -> str:
    """What an unpickling error is about, in words.

    >>> forbidden("Weights only load failed ... GLOBAL argparse.Namespace was not an allowed global by default")
    'holds more than tensors, an object of the class argparse.Namespace, and such files are not loaded'
    >>> forbidden("Weights only load failed. pickle data was truncated")
    'not a PyTorch file, or cut off'
    """
    found = _CLASS.search(reason)
    if found:
        return f"holds more than tensors, an object of the class {found[1].rstrip('.')}, and such files are not loaded"
    if "Unsupported" in reason or "not an allowed" in reason or "Trying to" in reason:
        return "holds more than tensors, and such files are not loaded"
    return "not a PyTorch file, or cut off"


def state_dict_in(content: object, file: Path) -> dict[str, torch.Tensor]:
    """The state dict of a file's content, out of what it is wrapped in, without what stands before every key.

    Args:
        content: what the file holds: a state dict, or a mapping in which one lies under `model`, `state_dict`, the
            name of a class or any other key.
        file: for errors.

    Raises:
        BadInput: no state dict in it, or several of which none is called as one of `WRAPPERS`.

    >>> state_dict_in({"epoch": 3, "Retriever": {"module.temp": torch.ones(())}}, Path("weights.pth"))
    {'temp': tensor(1.)}
    """
    if not isinstance(content, Mapping):
        raise BadInput(f"holds a {type(content).__name__}, expected a state dict", file=file)
    return _without_prefixes(_unwrapped(content, file))


def _unwrapped(content: Mapping[object, object], file: Path) -> Mapping[object, object]:
    if (named := _named_in(content, _DEEPEST)) is not None:
        return named
    found = {key: value for key, value in content.items() if _is_state_dict(value)}
    if len(found) == 1:
        return next(iter(found.values()))
    keys = ", ".join(map(repr, list(found or content)[:10]))
    problem = f"holds several state dicts, {keys}" if found else f"holds no state dict, its keys are {keys or 'none'}"
    raise BadInput(problem, file=file, remedy=f"Save the state dict alone, or under one of {', '.join(WRAPPERS)}")


def _named_in(content: object, levels: int) -> Mapping[object, object] | None:
    """The mapping itself where it holds tensors, or the one that lies under a name of `WRAPPERS`."""
    if not isinstance(content, Mapping):
        return None
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    inner = (_named_in(content.get(name), levels - 1) for name in WRAPPERS if levels)
    return next((one for one in inner if one is not None), None)


def _is_state_dict(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, torch.Tensor) for one in value.values())


def _without_prefixes(state: Mapping[object, object]) -> dict[str, torch.Tensor]:
    """What is no tensor stands beside the state dict and has no such prefix; it is refused by its key later."""
    entries = {str(key): value for key, value in state.items()}
    while names := [key for key, value in entries.items() if isinstance(value, torch.Tensor)]:
        prefix = next((one for one in PREFIXES if all(key.startswith(one) for key in names)), None)
        if prefix is None:
            break
        entries = {key.removeprefix(prefix): value for key, value in entries.items()}
    return entries  # type: ignore[return-value]
