"""Big outputs: in the artifact store, or in a shared workspace with only a pointer in the artifact store.

A component writes into `place_output(artifact.path, workspace, key)` and reads from `content_folder(artifact.path)`;
whether the bytes travel through the artifact store or lie in a volume that all tasks mount is the same to it.
"""

import shutil
from pathlib import Path, PurePosixPath

from qure.errors import BadInput
from qure.files import read_json, write_json

POINTER = "location.json"


def place_output(artifact: str, workspace: str, *key: str) -> Path:
    """The folder into which a stage writes an artifact's content.

    Args:
        artifact: the output artifact's path.
        workspace: path of the shared volume; empty for none.
        key: where in the workspace; made of what decides the content, so that equal content has one place and a
            retried task finds what the killed one had finished.

    Returns:
        The artifact's own path, or a folder of the workspace to which the artifact then points.

    Raises:
        BadInput: a part of the key would leave the workspace.
    """
    if not workspace:
        return Path(artifact)
    for part in key:
        if PurePosixPath(part).name != part or part in ("", ".", ".."):
            raise BadInput(f"{part!r} cannot be a folder of the workspace")
    folder = Path(workspace).joinpath(*key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(artifact) / POINTER, {"folder": str(folder)})
    return folder


def content_folder(artifact: str) -> Path:
    """The folder that holds an artifact's content.

    Raises:
        BadInput: the artifact points into a workspace that no longer holds the folder.
    """
    pointer = Path(artifact) / POINTER
    if not pointer.is_file():
        return Path(artifact)
    folder = Path(read_json(pointer)["folder"])
    if not folder.exists():
        raise BadInput(
            f"the workspace no longer holds {str(folder)!r}",
            file=pointer,
            remedy="Run the pipeline with caching off, so that the task that made it runs again",
        )
    return folder


def scratch(artifact: str, workspace: str, *key: str) -> Path:
    """A folder for checkpoints: in the workspace, where a retried task finds them, else beside the artifact."""
    folder = Path(workspace).joinpath("scratch", *key) if workspace else Path(f"{artifact}.scratch")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def deliver(folder: Path, artifact: str) -> None:
    """Makes a finished folder an artifact's content; it stays where it is too, for a task that is tried again."""
    shutil.copytree(folder, artifact, dirs_exist_ok=True)
