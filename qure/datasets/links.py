"""Folders that are links: readers follow them, DVC does not."""

import os
from pathlib import Path

#: What to do about a linked folder; data may lie on another disk all the same.
REMEDY = (
    "Put the folder itself there. For data on another disk keep DVC's cache there: `dvc cache dir /disk/dvc-cache`, "
    "`dvc config cache.type reflink,symlink,copy`"
)


def linked_folders(root: Path) -> list[Path]:
    """The folders below `root`, and `root` itself, that are links; what is behind a link is not looked at.

    `dvc add` (3.67) leaves them out of what it tracks without a word, a whole benchmark folder or `images` alone.

    Returns:
        paths that begin with `root`, sorted.
    """
    root = Path(root)
    if root.is_symlink():
        return [root] if root.is_dir() else []
    found = []
    for folder, names, _ in os.walk(root):  # names of folders, links to folders among them; links are not entered
        found += [path for name in names if (path := Path(folder, name)).is_symlink()]
    return sorted(found)
