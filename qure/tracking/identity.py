"""What a run was made of: code commit, data fingerprint, environment."""

import functools
import hashlib
import logging
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

import qure
from qure.errors import BadInput
from qure.files import file_digest, fingerprint, folder_digest
from qure.tracking.data_changes import data_changes
from qure.tracking.redaction import redacted

logger = logging.getLogger(__name__)

#: Set inside images, where there is no git: the commit that the image was built from.
COMMIT_VARIABLE = "QURE_COMMIT"
#: Set by whoever starts several stages as one pipeline run, for example Kubeflow's run id.
PIPELINE_VARIABLE = "QURE_PIPELINE_RUN"
#: Set by whoever starts the image: its name with digest, which a container cannot find out by itself.
IMAGE_VARIABLE = "QURE_IMAGE"
#: Set where there is no git: address of the repository that the commit is of.
REPOSITORY_VARIABLE = "QURE_REPOSITORY"
#: Set inside images: SHA-256 of the lock file that the environment was made from.
LOCK_VARIABLE = "QURE_LOCK_DIGEST"

_PACKAGE = Path(qure.__file__).parent
_LOCK = _PACKAGE.parent / "requirements.lock"
_REPORTED = ("torch", "transformers", "numpy", "pandas", "safetensors", "mlflow", "kfp", "dvc")
#: What git says where it has nothing to tell.
_HARMLESS = ("not a git repository", "Needed a single revision", "did not match any", "No such remote")
_PIPELINE_ID = re.compile(r"[\w.:/-]{1,200}", re.ASCII)


def commit() -> str:
    """The code's commit: the variable QURE_COMMIT, else git's HEAD, else the installed version.

    "+" and eight characters follow when the package's files differ from that commit: the digest of the difference
    (files that git does not know included, by content), so that stages of one run agree and two different working
    states do not. Where git cannot tell, as in a checkout that belongs to somebody else, it is the version,
    "+git-unreadable." and eight characters of the package's own digest; a warning says why.
    """
    return os.environ.get(COMMIT_VARIABLE, "").strip() or _commit_of_package()


def data_fingerprint(root: Path) -> str:
    """Fingerprint of a data root: the hash in `<root>.dvc` where DVC tracks it, else the digest of all its files.

    Data that is no longer what the .dvc file says has a fingerprint of its own, and a warning says what differs:
    `qure.tracking.data_changes` has what is compared.

    Raises:
        BadInput: neither exists, or the .dvc file is not one.

    Returns:
        "md5:..." (DVC), "md5:...+changed:" and eight characters, or "sha256:...".
    """
    root = Path(root)
    pointer = root.with_name(root.name + ".dvc")
    if pointer.is_file():
        output = _output_in(pointer, root.name)
        tracked = f"md5:{output['md5']}"
        changes = data_changes(root, output) if root.is_dir() else None
        if changes is None:
            return tracked
        _warn(
            f"{root} is not what {pointer.name} says: {changes.says}. It is recorded as {tracked}+changed:"
            f"{changes.digest}. Keep the change with: dvc add {root.name}; or undo it with: dvc checkout {pointer.name}"
        )
        return f"{tracked}+changed:{changes.digest}"
    if not root.is_dir():
        raise BadInput("there is no such data folder", file=root, remedy="Make it with: qure data restore")
    return f"sha256:{folder_digest(root)}"


def pipeline_run_id(parameters: object, data: str) -> str:
    """Id of the pipeline run that this process belongs to.

    The variable QURE_PIPELINE_RUN decides. Without it, the same code, parameters and data are one pipeline run:
    a stage that is killed and started again finds the run it had begun.

    Args:
        parameters: all settings as a JSON-able value.
        data: the data's fingerprint.

    Raises:
        BadInput: the variable holds something that is no id.
    """
    value = os.environ.get(PIPELINE_VARIABLE, "").strip()
    if not value:
        return fingerprint({"commit": commit(), "parameters": parameters, "data": data})[:32]
    if not _PIPELINE_ID.fullmatch(value):
        raise BadInput(
            f"{value!r} is not an id of a pipeline run",
            field=PIPELINE_VARIABLE,
            remedy="Use up to 200 letters, digits and any of _ . : / -",
        )
    return value


def environment() -> dict[str, str]:
    """Versions that decide results, by name: Python, platform, libraries, and the lock file's digest."""
    facts = {"python": platform.python_version(), "platform": platform.platform(), "qure": qure.__version__}
    for package in _REPORTED:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    digest = os.environ.get(LOCK_VARIABLE) or (file_digest(_LOCK) if _LOCK.is_file() else None)
    image = os.environ.get(IMAGE_VARIABLE, "").strip()
    return facts | ({"lock": digest} if digest else {}) | ({"image": redacted(image)} if image else {})


def repository() -> str | None:
    """Address of the repository that `commit` is of, without credentials; None where it is not known."""
    value = os.environ.get(REPOSITORY_VARIABLE, "").strip()
    if value:
        return redacted(value)
    try:
        address = _git("remote", "get-url", "origin")
    except _GitUnreadableError:
        return None
    return redacted(address.decode()) if address else None


class _GitUnreadableError(Exception):
    """There is a checkout, and git does not say what is in it."""


@functools.cache
def _commit_of_package() -> str:
    version = f"v{qure.__version__}"
    try:
        head = _git("rev-parse", "--verify", "HEAD")
        # A virtual environment may lie inside a repository that has nothing to do with this package.
        if head is None or _git("ls-files", "--error-unmatch", "--", "__init__.py") is None:
            return version
        # As git itself compares: no user's own tool or colours, whole hashes of binary files.
        changed = _git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", "HEAD", "--", ".")
        unknown = _git("ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    except _GitUnreadableError as problem:
        if "site-packages" in _PACKAGE.parts:
            return version
        own = _content(file for file in _PACKAGE.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        value = f"{version}+git-unreadable.{own[:8]}"
        _warn(f"the code's commit is not known and is recorded as {value}: {problem}")
        return value
    if not changed and not unknown:
        return head.decode()
    others = _content(_PACKAGE / os.fsdecode(name) for name in (unknown or b"").split(b"\0") if name)
    difference = hashlib.sha256((changed or b"") + others.encode()).hexdigest()
    return f"{head.decode()}+{difference[:8]}"


def _git(*arguments: str) -> bytes | None:
    """What git prints, stripped; None where it has nothing to say: no repository, no commit, no such file in it.

    Raises:
        _GitUnreadableError: there is a repository, and git is missing, refuses it, fails or does not come back.
    """
    repository = next((folder for folder in _PACKAGE.parents if (folder / ".git").exists()), None)
    command = ["git", "-C", str(_PACKAGE), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, check=False, env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.TimeoutExpired) as error:
        if repository is None:
            return None
        raise _GitUnreadableError(f"git cannot be asked about {repository}: {error}") from None
    if done.returncode == 0:
        return done.stdout.strip(b"\n")
    said = done.stderr.decode(errors="replace").strip()
    if "dubious ownership" in said:
        raise _GitUnreadableError(
            f"git refuses {repository}, which belongs to another user. If you trust it: "
            f"git config --global --add safe.directory {repository}"
        )
    if any(harmless in said for harmless in _HARMLESS):
        return None
    raise _GitUnreadableError(f"git fails in {repository}: {(said.splitlines() or ['no message'])[0]}")


def _content(files: Iterable[Path]) -> str:
    """SHA-256 over names and content; a link counts as what it says, what cannot be read as nothing."""
    found = []
    for file in sorted(files):
        try:
            if file.is_symlink():
                content = f"-> {file.readlink()}"
            else:
                content = folder_digest(file) if file.is_dir() else file_digest(file)
        except OSError as error:
            content = f"unreadable: {error.strerror}"
        found.append([os.fsencode(file.relative_to(_PACKAGE)).hex(), content])
    return fingerprint(found)


@functools.cache
def _warn(text: str) -> None:
    """Says it once a process."""
    logger.warning("%s", text)


def _output_in(pointer: Path, name: str) -> Mapping[str, Any]:
    try:
        outputs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        output = next(output for output in outputs if output["path"] == name)
        return {**output, "md5": str(output["md5"])}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, StopIteration):
        raise BadInput(
            f"not a DVC file that tracks {name!r}", file=pointer, remedy=f"Make it again with: dvc add {name}"
        ) from None
