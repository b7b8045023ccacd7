"""`data.dvc`, the file by which DVC knows which data belong to a commit."""

import re

import yaml

#: DVC's hash of a folder: MD5 of the list of its files with their hashes.
_FOLDER_HASH = re.compile(r"[0-9a-f]{32}\.dir")


def tracked_folder(pointer: str) -> str | None:
    """The hash of the one folder that a `.dvc` file's text describes; None where it describes something else.

    >>> tracked_folder("outs: [{md5: 0123456789abcdef0123456789abcdef.dir, path: data}]")
    '0123456789abcdef0123456789abcdef.dir'
    >>> tracked_folder("outs: []") is tracked_folder("outs: [{md5: 0123456789abcdef0123456789abcdef}]") is None
    True
    """
    try:
        (found,) = yaml.safe_load(pointer)["outs"]
        described = str(found["md5"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        return None
    return described if _FOLDER_HASH.fullmatch(described) else None
