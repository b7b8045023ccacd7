"""How an uploaded pipeline is named and described where people look for it.

Lists cut a name after 20 characters, so it starts with what tells versions apart: day and commit. It ends with the
digest of the compiled file: the same file is found again, on whatever day it is uploaded.
"""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from qure.errors import BadInput
from qure.files import file_digest
from qure.tracking import commit

_ROOT = Path(__file__).resolve().parents[1]
_SHOWN = 12
#: A compiled pipeline has thousands of lines: a second in Python, a tenth by libyaml, which not every build has.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Upload:
    """A compiled pipeline, as it is uploaded.

    Attributes:
        pipeline: the pipeline's name.
        about: what it does.
        version: the version's name: day, commit, digest.
        change: the version's description: commit, when, and its message.
        digest: of the file, twelve characters.
    """

    pipeline: str
    about: str
    version: str
    change: str
    digest: str

    def is_version(self, name: str) -> bool:
        """Whether a version of this name was made of the same file.

        >>> Upload("qure-training", "", "", "", "7a72945f8016").is_version("2026-11-27-a1b2c3d-7a72945f8016")
        True
        """
        return name.rpartition("-")[2] == self.digest


def upload_of(package: Path, *, now: datetime | None = None) -> Upload:
    """Name and description of a compiled pipeline.

    Args:
        package: the compiled file.
        now: when it is uploaded; the present when left out.

    Raises:
        BadInput: it is no compiled pipeline.
    """
    try:
        document = next(iter(yaml.load_all(package.read_text(encoding="utf-8"), _LOADER)))
        info = document["pipelineInfo"]
        name = str(info["name"])
    except (yaml.YAMLError, StopIteration, KeyError, TypeError):
        raise BadInput("not a compiled pipeline", file=package, remedy="qure-pipelines compile") from None
    code, digest = commit(), file_digest(package)[:_SHOWN]
    day = f"{now or datetime.now(UTC):%Y-%m-%d}"
    changed = "+changed" if "+" in code else ""
    return Upload(
        pipeline=name,
        about="\n".join(line.strip() for line in str(info.get("description", "")).splitlines()).strip(),
        version=f"{day}-{code[:7]}-{digest}",
        change=f"Commit {code[:7]}{changed}, uploaded {day}{_message(code)}",
        digest=digest,
    )


def _message(code: str) -> str:
    """When the commit was made and what it says; empty where git does not know it."""
    command = ["git", "log", "-1", "--format=%cs: %s", code.partition("+")[0], "--"]
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return f". Made {done.stdout.strip()}" if done.returncode == 0 and done.stdout.strip() else ""
