"""What a run was made of: code commit, data fingerprint, environment."""

import functools
import hashlib
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import yaml

import qure
from qure.errors import BadInput
from qure.files import file_digest, fingerprint, folder_digest

#: Set inside images, where there is no git: the commit that the image was built from.
COMMIT_VARIABLE = "QURE_COMMIT"
#: Set by whoever starts several stages as one pipeline run, for example Kubeflow's run id.
PIPELINE_VARIABLE = "QURE_PIPELINE_RUN"
#: Set inside images: SHA-256 of the lock file that the environment was made from.
LOCK_VARIABLE = "QURE_LOCK_DIGEST"

_PACKAGE = Path(qure.__file__).parent
_LOCK = _PACKAGE.parent / "requirements.lock"
_REPORTED = ("torch", "transformers", "numpy", "pandas", "safetensors", "mlflow", "kfp", "dvc")
_PIPELINE_ID = re.compile(r"[\w.:/-]{1,200}", re.ASCII)


def commit() -> str:
    """The code's commit: the variable QURE_COMMIT, else git's HEAD, else the installed version.

    "+" and eight characters follow when the package's files differ from that commit: the digest of the difference,
    so that stages of one run agree and two different working states do not.
    """
    return os.environ.get(COMMIT_VARIABLE, "").strip() or _commit_of_package()


def data_fingerprint(root: Path) -> str:
    """Fingerprint of a data root: the hash in `<root>.dvc` where DVC tracks it, else the digest of all its files.

    Raises:
        BadInput: neither exists, or the .dvc file is not one.

    Returns:
        "md5:..." (DVC) or "sha256:...".
    """
    root = Path(root)
    pointer = root.with_name(root.name + ".dvc")
    if pointer.is_file():
        return f"md5:{_hash_in(pointer, root.name)}"
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
    told = os.environ.get(PIPELINE_VARIABLE, "").strip()
    if not told:
        return fingerprint({"commit": commit(), "parameters": parameters, "data": data})[:32]
    if not _PIPELINE_ID.fullmatch(told):
        raise BadInput(
            f"{told!r} is not an id of a pipeline run",
            field=PIPELINE_VARIABLE,
            remedy="Use up to 200 letters, digits and any of _ . : / -",
        )
    return told


def environment() -> dict[str, str]:
    """Versions that decide results, by name: Python, platform, libraries, and the lock file's digest."""
    facts = {"python": platform.python_version(), "platform": platform.platform(), "qure": qure.__version__}
    for package in _REPORTED:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    digest = os.environ.get(LOCK_VARIABLE) or (file_digest(_LOCK) if _LOCK.is_file() else None)
    return facts | ({"lock": digest} if digest else {})


@functools.cache
def _commit_of_package() -> str:
    head = _git("rev-parse", "HEAD")
    # A virtual environment may lie inside a repository that has nothing to do with this package.
    if head is None or _git("ls-files", "--error-unmatch", "--", "__init__.py") is None:
        return f"v{qure.__version__}"
    changes = (_git("diff", "HEAD", "--", ".") or "") + (_git("ls-files", "--others", "--exclude-standard", ".") or "")
    return f"{head}+{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _hash_in(pointer: Path, name: str) -> str:
    try:
        outputs = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"]
        return str(next(output["md5"] for output in outputs if output["path"] == name))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, StopIteration):
        raise BadInput(
            f"not a DVC file that tracks {name!r}", file=pointer, remedy=f"Make it again with: dvc add {name}"
        ) from None
