"""`data/` as `data.dvc` describes it: from the DVC cache, from the DVC remote, else rendered."""

import logging
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from qure.catalogue.pointer import tracked_folder
from qure.catalogue.stage import render
from qure.config import Settings
from qure.datasets.links import REMEDY, linked_folders
from qure.errors import BadInput

logger = logging.getLogger(__name__)


def restore(settings: Settings, data: Path) -> str:
    """Brings the data root into place and says how.

    Args:
        settings: the catalogue's settings, used where the data has to be rendered.
        data: the data root; `<data>.dvc` beside it is the file under version control.

    Returns:
        "present", "cache", "remote" or "rendered".

    Raises:
        ModuleNotFoundError: DVC is not installed.
        BadInput: `<data>.dvc` describes data that is neither cached, nor in the remote, nor the catalogue.
    """
    if data.is_dir() and any(data.iterdir()):
        for link in linked_folders(data):
            logger.warning(
                "%s: %s. %s", link, "the folder is a link, and DVC does not version what is behind it", REMEDY
            )
        return "present"
    if find_spec("dvc") is None:  # before anything is rendered
        raise ModuleNotFoundError("No module named 'dvc'", name="dvc")
    pointer = data.with_name(f"{data.name}.dvc")
    if not pointer.is_file():
        render(settings, data)
        _dvc("add", "--quiet", str(data))
        return "rendered"
    # Of a file that describes nothing DVC brings nothing, and is content.
    if _dvc("checkout", "--quiet", str(pointer), check=False) and data.exists():
        return "cache"
    if _remotes() and _dvc("pull", "--quiet", str(pointer), check=False) and data.exists():
        return "remote"
    return _render_exactly(settings, data, pointer)


def _render_exactly(settings: Settings, data: Path, pointer: Path) -> str:
    """Renders the catalogue and keeps it only if it is, byte for byte, what the pointer describes."""
    described = pointer.read_text(encoding="utf-8")
    wanted = _md5(described, pointer)
    logger.info("rendering the catalogue into %s", data)
    render(settings, data)
    logger.info("putting %s under DVC's version control", data)
    _dvc("add", "--quiet", str(data))
    if _md5(pointer.read_text(encoding="utf-8"), pointer) == wanted:
        pointer.write_text(described, encoding="utf-8")
        return "rendered"
    pointer.write_text(described, encoding="utf-8")
    shutil.rmtree(data)
    raise BadInput(
        f"describes data {wanted} that is not in the DVC cache, and the catalogue rendered from these "
        "settings is other data",
        file=pointer,
        remedy=f"Bring it with `dvc pull {pointer}`, or track the rendered catalogue instead: "
        f"`qure catalogue --output {data}`, then `dvc add {data}`",
    )


def _md5(text: str, pointer: Path) -> str:
    found = tracked_folder(text)
    if found is None:
        raise BadInput(
            "does not describe one folder by its hash, and DVC does not bring its data",
            file=pointer,
            remedy="Bring the file back as it was committed",
        )
    return found


def _remotes() -> bool:
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "list"], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip())


def _dvc(*arguments: str, check: bool = True) -> bool:
    """Runs DVC; False when it failed and `check` is off."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode and check:
        raise BadInput(f"`dvc {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.returncode == 0
