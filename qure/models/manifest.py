"""A model folder's manifest, read without importing torch, which takes seconds."""

from pathlib import Path
from typing import Any

from qure.errors import BadInput
from qure.files import read_json

MANIFEST = "manifest.json"

#: What to do about a damaged model folder.
RESTORE = "The folder is damaged: make it again or restore it (dvc checkout)"


def read_manifest(folder: Path) -> dict[str, Any]:
    """A model folder's manifest: fingerprint, vision_fingerprint, backbone, parameters, notes."""
    if not Path(folder).is_dir():
        raise BadInput("there is no such model folder", file=folder)
    manifest = read_json(Path(folder) / MANIFEST, remedy=RESTORE)
    for field in ("fingerprint", "vision_fingerprint"):
        if not isinstance(manifest, dict) or not isinstance(manifest.get(field), str):
            raise BadInput("missing from the manifest", file=Path(folder) / MANIFEST, field=field, remedy=RESTORE)
    return manifest
