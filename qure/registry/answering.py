"""Asks a packaged model its own example: run as a script, in an interpreter that has imported no `qure` before.

    python -P qure/registry/answering.py PACKAGE OUTPUT

So the package's own code answers (MLflow puts `code/` first), and a package whose code is broken or incomplete does
not pass because the caller's copy filled the gap. Nothing of `qure` is imported here, and at the end every module of it
must have come from the package. What the package's requirements.txt asks for is compared with what is installed.

OUTPUT is JSON: {"answer": {"ids", "scores"}, "differences": [sentence, ...]}, or {"error": sentence}.
"""

import json
import sys
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any


def main() -> int:
    """Writes the output; 0 also where the model does not answer, because that is an answer."""
    package, output = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    try:
        reply = {"answer": _ask(package), "differences": differences(package)}
    except BaseException as error:  # whatever the package's code raises, SystemExit too
        reply = {"error": _sentence(error, package)}
    output.write_text(json.dumps(reply), encoding="utf-8")
    return 0


def differences(package: Path) -> list[str]:
    """What of a package's requirements.txt is not installed here as it asks; a build (+cpu) does not count.

    Raises:
        OSError: the package has no requirements.txt.
    """
    from packaging.requirements import Requirement

    found = []
    for line in (package / "requirements.txt").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if not line:
            continue
        wanted = Requirement(line)
        try:
            version = metadata.version(wanted.name).partition("+")[0]
        except metadata.PackageNotFoundError:
            found.append(f"{line} is not installed")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            found.append(f"{line} is asked for, {version} is installed")
    return found


def _ask(package: Path) -> dict[str, Any]:
    import gc
    import logging

    gc.disable()  # this process imports, answers once and ends: looking for garbage is a fifth of its time
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    example = mlflow.models.Model.load(str(package)).load_input_example(str(package))
    # What differs is told by `differences`; MLflow's own look at it takes a second, for a warning that nobody sees.
    answers = mlflow.pyfunc.load_model(str(package), suppress_warnings=True).predict(example)
    code = package / "code"
    for name, module in sorted(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if name.partition(".")[0] == "qure" and place and not Path(place).resolve().is_relative_to(code):
            raise ImportError(f"{name} was imported from outside of the package, which lacks it")
    return {"ids": [str(one) for one in answers["ids"][0]], "scores": [float(one) for one in answers["scores"][0]]}


def _sentence(error: BaseException, package: Path) -> str:
    """The error's first line, and where in the package it was raised."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0][:500]}" if lines else type(error).__name__
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(package)
    ]
    if not frames:
        return said
    return f"{said} ({Path(frames[-1].filename).relative_to(package)}, line {frames[-1].lineno})"


if __name__ == "__main__":
    sys.exit(main())
