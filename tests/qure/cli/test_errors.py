"""Every error that a user or a machine can cause is one line: what, where, and the way out."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import requires
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qure.cli.errors import EXTRAS, WAYS_OUT, ending
from qure.errors import BadInput, StageFailed
from qure.processes import worker_pool

SET = ("--training-set", "fashioniq")
#: Distribution -> module, where they are named otherwise.
MODULES = {"faiss-cpu": "faiss", "dvc-s3": "dvc_s3", "kfp-kubernetes": "kfp"}


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (BadInput("wrong", file="a.json"), "a.json: wrong", 2),
        (StageFailed("it ended"), "it ended", 1),
        (PermissionError(errno.EACCES, "Permission denied", "artifacts/x"), "artifacts/x: Permission denied. Have", 1),
        (OSError(errno.EROFS, "Read-only file system", "artifacts"), "artifacts: Read-only file system. Name", 1),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "x: No space left on device. Make space", 1),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "Make space", 1),
        (RuntimeError("(sqlite3.OperationalError) attempt to write a readonly database"), "Read-only file system", 1),
        (OSError(errno.EFBIG, "File too large"), "File too large. Raise the file-size limit", 1),
        (OSError(errno.ESTALE, "Stale file handle", "x"), "x: Stale file handle.", 1),
        (MemoryError(), "not enough memory", 1),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "batch_size", 1),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "validation.workers", 1),
        (ModuleNotFoundError("no", name="great_expectations.core"), "pip install 'qure[validation]'", 2),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "not enough memory", 1),
        (ModuleNotFoundError("no", name="mlflow"), "pip install 'qure[tracking]'", 2),
    ],
)
def test_an_error_is_one_line_with_the_way_out(error: Exception, said: str, code: int) -> None:
    end = ending(error)
    assert end is not None
    assert said in end.message
    assert "\n" not in end.message
    assert end.exit_code == code


def test_a_helper_process_that_the_system_kills_is_no_fault_of_qure() -> None:
    """As the kernel does where memory runs out."""
    with worker_pool(1, get_context("spawn")) as pool:
        killed = pool.submit(signal.raise_signal, signal.SIGKILL).exception()
    assert killed is not None
    end = ending(killed)
    assert end is not None
    assert end.exit_code == 1
    assert "a helper process was killed, most likely because memory ran out" in end.message


def test_what_a_library_wraps_is_found() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "artifacts/x")
        except OSError as full:
            raise RuntimeError("the library could not save") from full
    except RuntimeError as error:
        end = ending(error)
    assert end is not None
    assert end.message.startswith("artifacts/x: No space left on device. Make space")


@pytest.mark.parametrize(
    "error",
    [ValueError("out of memory"), KeyError("x"), ModuleNotFoundError("no", name="qure.nowhere")],
)
def test_a_fault_of_qure_keeps_its_traceback(error: Exception) -> None:
    assert ending(error) is None


def test_every_way_out_is_a_sentence() -> None:
    assert all(words[0].isupper() and not words.endswith(".") for words in WAYS_OUT.values())


def test_every_library_of_every_extra_is_known() -> None:
    found = re.compile(r'^([\w-]+).*; extra == "(\w+)"').match
    wanted = [match.groups() for one in requires("qure") or [] if (match := found(one))]
    missing = [
        (name, extra)
        for name, extra in wanted
        if name != "qure" and EXTRAS.get(MODULES.get(name, name.replace("-", "_"))) != extra and extra != "all"
    ]
    assert missing == []


WITHOUT = """
import sys
sys.modules[{module!r}] = None  # what an import finds where a library is not installed
from {application} import app
app({arguments!r})
"""


@pytest.mark.parametrize(
    ("module", "extra", "application", "arguments"),
    [
        ("dvc", "data", "qure.cli", ("data", "restore")),
        ("dvc", "data", "qure.cli", ("demo",)),
        ("kfp", "pipelines", "pipelines.cli", ("compile",)),
    ],
)
def test_a_missing_extra_is_named(
    project: Path, module: str, extra: str, application: str, arguments: tuple[str, ...]
) -> None:
    (project / "dvc.yaml").write_text("stages: {}\n")
    script = WITHOUT.format(module=module, application=application, arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'qure[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_are_a_folder(qure: Callable[..., Any], project: Path) -> None:
    (project / "folder").mkdir()
    said = qure("train", *SET, "--params", "folder")
    assert said.exit_code == 2
    assert "folder: this is a folder, not a file" in said.err


@pytest.mark.parametrize(
    "command", ["validate", "backbone", "precompute", "train", "evaluate", "register", "promote", "ablate"]
)
def test_outputs_that_cannot_be_written_are_found_before_the_work(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def unwritable(*_: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(options["dir"]))

    monkeypatch.setattr("tempfile.TemporaryFile", unwritable)
    said = qure(command, *([] if command == "backbone" else SET))
    assert said.exit_code == 1
    assert f"{project}: Read-only file system" in said.err
    assert "--artifacts" in said.err
    assert [path.name for path in project.iterdir()] == ["params.yaml"]


@pytest.fixture
def large_backbone(project: Path) -> Path:
    """A backbone of 32 MB, as far as its size goes."""
    file = project / "artifacts" / "backbone" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    os.truncate(file, 32_000_000)
    return file


def test_a_limit_that_the_model_exceeds_is_told_before_training(qure: Callable[..., Any], large_backbone: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000_000, before[1]))
    try:
        said = qure("train", *SET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (said.exit_code, "File too large (32 MB will be written)" in said.err) == (1, True), said.err
    assert "ulimit -f unlimited" in said.err


def test_a_disk_without_room_for_the_model_is_told_before_training(
    qure: Callable[..., Any], large_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=31_000_000))
    said = qure("train", *SET)
    assert (said.exit_code, "No space left on device (32 MB will be written). Make space" in said.err) == (1, True)


def test_a_file_where_the_artifacts_belong(qure: Callable[..., Any], project: Path) -> None:
    (project / "artifacts").write_text("not a folder")
    said = qure("train", *SET)
    assert said.exit_code == 2
    assert "a file lies where a folder is needed" in said.err


def test_a_folder_without_permission(project: Path) -> None:
    closed = project / "artifacts"
    closed.mkdir(mode=0o555)
    command = [sys.executable, "-m", "qure.cli", "train", *SET]
    if os.geteuid() == 0:  # whom permissions do not stop
        dropped = "-dac_override,-dac_read_search"
        command = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *command]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{closed}: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_catalogue_is_not_rendered_before_a_wrong_output_is_noticed(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qure.catalogue.stage.plan_catalogue", lambda chosen: pytest.fail("it was planned"))
    (project / "README.md").write_text("mine")
    said = qure("catalogue", "--output", "README.md")
    assert said.exit_code == 2
    assert "README.md: this is a file, not a folder" in said.err
    assert (project / "README.md").read_text() == "mine"


def test_training_refuses_data_that_was_not_validated(qure: Callable[..., Any], project: Path) -> None:
    told = qure("train", *SET)
    assert told.exit_code == 2
    assert "validation" in told.err
    assert not (project / "artifacts" / "fashioniq" / "model").exists()


@pytest.mark.parametrize("output", ["README.md", "papers/new/../../README.md", "papers"])
def test_weights_take_the_place_of_nothing_else(qure: Callable[..., Any], project: Path, output: str) -> None:
    (project / "README.md").write_text("mine")
    (project / "papers").mkdir()
    (project / "papers" / "one.pdf").write_text("mine")
    (project / "weights.pth").write_text("never looked at")
    said = qure("weights", "import", "weights.pth", "--output", output)
    assert (said.exit_code, f"{output}: holds something else" in said.err) == (2, True)
    assert (project / "README.md").read_text() == (project / "papers" / "one.pdf").read_text() == "mine"


def test_weights_take_the_place_of_older_ones(qure: Callable[..., Any], project: Path) -> None:
    (project / "model").mkdir()
    (project / "model" / "manifest.json").write_text("{}")
    said = qure("weights", "import", "weights.pth", "--output", "model")
    assert "weights.pth: the file does not exist" in said.err


@pytest.mark.parametrize(
    "command",
    [
        ("compare-data", *SET),
        (
            *("evaluate-embeddings", "--benchmark", "cirr", "--root", ".", "--split", "val"),
            *("--queries", "q", "--gallery", "g"),
        ),
    ],
    ids=lambda command: command[0],
)
def test_a_folder_in_place_of_a_file_is_found_before_the_work(
    qure: Callable[..., Any], project: Path, command: tuple[str, ...]
) -> None:
    (project / "folder").mkdir()
    said = qure(*command, "--output", "folder")
    assert (said.exit_code, "folder: this is a folder, and a file is written" in said.err) == (2, True)
