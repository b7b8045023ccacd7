"""`qure-pipelines`: the pipelines, components and manifests are a checkout's (or the image's), not the library's."""

import importlib
import sys
from pathlib import Path

#: What a folder that has the pipelines holds.
_MODULE = "pipelines.cli"


def main() -> None:
    """Runs the checkout's `pipelines/cli.py`; without one it says where it is to be had, exit code 2."""
    try:
        app = importlib.import_module(_MODULE).app
    except ModuleNotFoundError as error:
        if error.name not in (_MODULE, _MODULE.partition(".")[0]):
            raise
        sys.exit(_absent())
    app()


def _absent() -> int:
    print(
        f"error: {Path(sys.prefix)}: has the library qure alone; pipelines, components and manifests are files that an "
        "installation edits. Clone qure's repository and run `make setup` there, or use its image",
        file=sys.stderr,
    )
    return 2
