"""What a file of weights is: told by its first bytes, and its state dict found inside what it was saved in."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from qure.errors import BadInput

#: What people wrap a state dict in, in the order of preference where a file holds several.
WRAPPERS = ("model", "state_dict", "model_state_dict")

#: What DataParallel, torch.compile and a module around the model put before every key.
PREFIXES = ("module.", "_orig_mod.", "model.")

_LFS = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|\?xml|!--)", re.IGNORECASE)
_ARCHIVES = {b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive", b"7z\xbc\xaf": "a 7-Zip archive"}
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
    if start.startswith(_LFS):
        raise BadInput(
            "this is a git-LFS pointer, not the weights it stands for", file=file, remedy="Run `git lfs pull` there"
        )
    if _PAGE.match(start):
        raise BadInput(
            "this is a web page, not weights",
            file=file,
            remedy="The address leads to a page about the file, or to a log-in: download the file itself",
        )
    for beginning, kind in _ARCHIVES.items():
        if start.startswith(beginning):
            raise BadInput(f"this is {kind}", file=file, remedy="Unpack it first")
    if not safetensors and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32:
        raise BadInput(
            "this is a safetensors file, and LAVIS's weights are PyTorch files",
            file=file,
            remedy="For a model in transformers' format give its folder",
        )


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
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    found = {key: value for key, value in content.items() if _is_state_dict(value)}
    chosen = next((found[name] for name in WRAPPERS if name in found), None)
    if chosen is None and len(found) == 1:
        chosen = next(iter(found.values()))
    if isinstance(chosen, Mapping):
        return chosen
    keys = ", ".join(map(repr, list(found or content)[:10]))
    problem = f"holds several state dicts, {keys}" if found else f"holds no state dict, its keys are {keys or 'none'}"
    raise BadInput(problem, file=file, remedy=f"Save the state dict alone, or under one of {', '.join(WRAPPERS)}")


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, torch.Tensor) for one in value.values())


def _without_prefixes(state: Mapping[object, object]) -> dict[str, torch.Tensor]:
    tensors = {str(key): value for key, value in state.items()}
    while tensors:
        prefix = next((one for one in PREFIXES if all(key.startswith(one) for key in tensors)), None)
        if prefix is None:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors  # type: ignore[return-value]  # what is no tensor is refused by its key when it is converted
