"""A trained model as an MLflow model folder: safetensors, JSON and code, nothing pickled, no path of this machine."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import qure
from qure.environment import without_collecting
from qure.errors import StageFailed
from qure.files import read_json, write_json
from qure.scratch import scratch_folder, temporary_folder
from qure.tracking.redaction import redacted
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

logger = logging.getLogger(__name__)

MODEL, GALLERY, ANSWER = "artifacts/model", "artifacts/gallery", "example_answer.json"
#: Scores of the example query may differ this much between machines and devices.
TOLERANCE = 5e-3
#: Seconds within which a packaged model must load and answer.
PATIENCE = 900.0

_PACKAGE = Path(qure.__file__).parent
#: What loading and predicting imports. qure itself travels inside the model (code/).
_REQUIRED = (
    "mlflow",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
)
_REQUIRED_BY_INDEX = ("faiss-cpu",)


@dataclass(frozen=True)
class Example:
    """A query that a registered model must be able to answer.

    Attributes:
        reference: the reference image's file.
        text: modification text.
        group: part of the gallery, or None.
    """

    reference: bytes
    text: str
    group: str | None = None

    def table(self) -> "pd.DataFrame":
        """The query as the model's input."""
        import pandas as pd

        row: dict[str, Any] = {"reference": [self.reference], "text": [self.text], "top_k": [10]}
        return pd.DataFrame(row | ({"group": [self.group]} if self.group else {}))


def package(folder: Path, *, model: Path, gallery: Path, example: Example, facts: Mapping[str, Any]) -> None:
    """Writes a whole MLflow model folder.

    Args:
        folder: to write; must not exist.
        model: QureModel folder.
        gallery: gallery folder, computed with that model.
        example: becomes the input example; what the model answers is kept, and `answers` compares with it.
        facts: metadata, for example fingerprints.

    Raises:
        StageFailed: the packaged model cannot be loaded or gives no answer.
    """
    import mlflow

    from qure.serving.ivf_index import has_index

    description = mlflow.models.Model(metadata=dict(facts))
    with _quiet():
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(_PACKAGE / "serving" / "packaged.py"),
            code_paths=[str(_PACKAGE)],
            mlflow_model=description,
            signature=_signature(),
            input_example=example.table(),
            pip_requirements=requirements(with_index=has_index(gallery)),
        )
    # save_model would copy the artifacts twice and write this machine's paths into MLmodel.
    _link(model, folder / MODEL)
    _link(gallery, folder / GALLERY)
    flavor = description.flavors["python_function"]
    flavor["artifacts"] = {Path(place).name: {"path": place, "uri": place} for place in (MODEL, GALLERY)}
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    flavor.pop("cloudpickle_version", None)  # written whether or not anything is pickled
    _remove_bytecode(folder)
    description.model_size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    description.save(str(folder / "MLmodel"))
    write_json(folder / ANSWER, ask(folder, example.table()))
    _remove_bytecode(folder)


def _remove_bytecode(folder: Path) -> None:
    """Compiled code names the paths it was compiled at."""
    for leftover in list(folder.rglob("__pycache__")):
        shutil.rmtree(leftover)


def ask(folder: Path, query: "pd.DataFrame") -> dict[str, Any]:
    """Loads a packaged model in this process and asks it: {"ids": [...], "scores": [...]} of the first query.

    Raises:
        StageFailed: it cannot be loaded, or gives no or not finite answers; says which.
    """
    import mlflow

    try:
        with _quiet():
            with without_collecting():  # loading imports torch and transformers, where nobody has
                # The warnings that are suppressed are those that `_quiet` would drop, after a second of gathering them.
                model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
            answers = model.predict(query)
        found = {"ids": [str(one) for one in answers["ids"][0]], "scores": [float(one) for one in answers["scores"][0]]}
    except Exception as error:
        raise StageFailed(f"the model does not load or answer: {first_line(error)}") from error
    return _ranking(found)


def answers(
    folder: Path, *, environment: Literal["installed", "own"] = "installed", scratch: Path | None = None
) -> dict[str, Any]:
    """Asks a packaged model its own example in a fresh interpreter, and compares with the answer that was packaged.

    The package's own code answers, not this process's (`qure.registry.answering`).

    Args:
        folder: the package.
        environment: "installed": the interpreter that runs this; a warning says where what is installed differs from
            the package's requirements. "own": a virtual environment made from these requirements alone, which takes
            minutes and a package index.
        scratch: where it is made; the system's folder for temporary files when left out, where it stays after a kill.

    Returns:
        {"ids": [...], "scores": [...]}.

    Raises:
        StageFailed: it cannot be loaded, or answers otherwise than when it was packaged.
    """
    try:
        expected = read_json(folder / ANSWER)["scores"]
    except Exception as error:
        raise StageFailed(f"the model's package is not whole: {first_line(error)}") from error
    # Whoever answers works in there, so its path must not begin at this process's folder.
    with scratch_folder(scratch.resolve()) if scratch else temporary_folder() as place:
        python = sys.executable if environment == "installed" else _own_environment(folder, place)
        reply = _ask(python, folder, place)
    if "error" in reply:
        raise StageFailed(f"the model does not load or answer: {redacted(reply['error'])}")
    if reply["differences"]:
        logger.warning(
            "the model was asked in an environment other than its own: %s. `promotion.environment: own` asks it in one "
            "that is made from its requirements",
            "; ".join(reply["differences"]),
        )
    found = _ranking(reply["answer"])
    pairs = list(zip(found["scores"], expected, strict=False))
    if len(found["scores"]) != len(expected) or any(abs(one - other) > TOLERANCE for one, other in pairs):
        raise StageFailed(
            f"the model answers its example with scores {found['scores'][:3]}..., when it was packaged they were "
            f"{expected[:3]}..."
        )
    return found


def _ask(python: str, folder: Path, scratch: Path) -> dict[str, Any]:
    output = scratch / "answer.json"
    command = [python, "-P", str(Path(__file__).with_name("answering.py")), str(folder.resolve()), str(output)]
    # A copy of qure that the caller was led to must not stand in for the package's.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    try:
        done = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise StageFailed(f"the model does not load or answer: it took more than {PATIENCE:.0f} s") from None
    if not output.is_file():
        said = done.stderr.strip().splitlines()
        last = redacted(said[-1][:500]) if said else "no message"
        raise StageFailed(f"the model does not load or answer: its process ended with {done.returncode}: {last}")
    return dict(read_json(output))


def _own_environment(folder: Path, scratch: Path) -> str:
    """A virtual environment with what the package's requirements.txt names: its interpreter."""
    place, wanted = scratch / "environment", folder / "requirements.txt"
    python = str(place / "bin" / "python")
    logger.info("making the model's own environment from its requirements")
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [python, "-m", "pip", "install", "-q", "-r", str(wanted)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            last = redacted(said[-1][:500]) if said else "no message"
            raise StageFailed(f"the model's own environment cannot be made: {last}")
    return python


def _ranking(found: dict[str, Any]) -> dict[str, Any]:
    ids, scores = found["ids"], found["scores"]
    if not ids or not all(abs(score) < 1.5 for score in scores):
        raise StageFailed(f"the model's answer is not a ranking: ids {ids[:3]}, scores {scores[:3]}")
    return found


def requirements(*, with_index: bool = False) -> list[str]:
    """Pinned versions of what a registered model needs, as installed here; a CPU or CUDA build is left open.

    Args:
        with_index: whether its gallery has an index.

    >>> [line for line in requirements() if line.startswith("numpy==")] != []
    True
    """
    names = (*_REQUIRED, *(_REQUIRED_BY_INDEX if with_index else ()))
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    return ModelSignature(
        inputs=Schema(
            [
                # Of type binary, MLflow itself would refuse the whole request for one null or number, without its row.
                ColSpec(AnyType(), "reference"),
                ColSpec(DataType.string, "text"),
                # A column of whole numbers with a null in it is one of fractions, which no type of numbers lets pass.
                ColSpec(AnyType(), "top_k", required=False),
                ColSpec(DataType.string, "group", required=False),
                ColSpec(DataType.string, "exclude", required=False),
            ]
        ),
        outputs=Schema([ColSpec(Array(DataType.string), "ids"), ColSpec(Array(DataType.double), "scores")]),
        params=ParamSchema(
            [
                ParamSpec("mode", DataType.string, "retrieve"),
                ParamSpec("top_k", DataType.long, 10),
                ParamSpec("partial", DataType.boolean, False),
            ],
        ),
    )


def _link(source: Path, target: Path) -> None:
    """A copy that takes no space where the file system allows it."""

    def link_or_copy(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copyfile(one, other)

    shutil.copytree(source, target, copy_function=link_or_copy, ignore=shutil.ignore_patterns(".*"))


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns about type hints and differing platforms at every save and load; errors still pass."""
    log = logging.getLogger("mlflow")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
