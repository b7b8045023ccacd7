"""Files that are read and that DVC does not version, because a .dvcignore hides them."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from qure.tracking.data_changes import hidden_from_dvc
from qure.validation.findings import BadRow
from qure.validation.rules import RULES


def hidden_rows(data: Path, benchmark: str, files: Iterable[str]) -> list[BadRow]:
    """A row for each folder that has such files.

    Args:
        data: the data root.
        benchmark: whose files.
        files: relative to the data root; an image in a shard, "SHARD.tar: ID", stands for its shard.
    """
    wanted = dict.fromkeys(file.partition(".tar: ")[0] + ".tar" if ".tar: " in file else file for file in files)
    rule, folders = RULES["ignored_by_dvc"], defaultdict(list)
    for file in hidden_from_dvc(data, wanted):
        folders[PurePosixPath(file).parent.as_posix()].append(PurePosixPath(file).name)
    return [
        BadRow(
            rule=rule.name,
            benchmark=benchmark,
            file=folder,
            row="",
            field="",
            value=names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more",
            reason=rule.reason,
            severity=rule.severity,
        )
        for folder, names in folders.items()
    ]
