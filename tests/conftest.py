"""Fixtures that every test may ask for: a small rendered data set, and public reference files where they exist."""

import gc
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

    from infra.services.services import Services
    from qure.config import Settings

# Before torch is imported: two test processes with as many threads as cores each wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# DVC's commands start a process each that tells its makers about them.
os.environ["DVC_NO_ANALYTICS"] = "1"

#: These copy their process many times: begun before it has grown.
FORKING = ("tests/qure/test_files.py", "tests/qure/test_scratch.py")

#: Folders whose session's fixtures train a model, half a minute of a core: all on one worker.
TOGETHER = ("tests/qure/evaluation/", "tests/qure/studio/", "tests/qure/serving/", "tests/qure/ablation/")
#: Minutes on one worker: begun first, so that nobody waits for them at the end.
LONGEST = ("tests/test_dvc_pipeline.py", "tests/pipelines/test_training.py", *TOGETHER)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """Once, not in each worker: what tests leave is looked for when all have ended."""
    if not hasattr(config, "workerinput"):
        for name, plugin in (
            ("in_memory", _module("in_memory").plugin(config)),
            ("untouched", _module("untouched").plugin()),
        ):
            if plugin is not None:
                config.pluginmanager.register(plugin, name)
        if config.getoption("--write-seconds"):
            config.pluginmanager.register(_module("turns").Stopwatch(), "stopwatch")


def _module(name: str) -> ModuleType:
    """A helper module of this folder: tests are no package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location(f"qure_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def helper() -> Callable[[str], ModuleType]:
    """Name -> a helper module of this folder."""
    return _module


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run modules, and the tests inside each, in an order of chance that SEED decides",
    )
    parser.addoption("--turn", metavar="SEED/PARTS", help="of the tests that take minutes, one part: tests/turns.py")
    parser.addoption("--write-seconds", action="store_true", help="keep what each module took in tests/seconds.json")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported for all tests stays for all of them: looked through by no garbage collection, at 0.6 s each.

    Nor is the rest looked through as often: what tests import later lives as long, and was a twelfth of their time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that fork first, then the longest; the rest in its order, or in one of chance: no test may need another."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        chance = random.Random(seed)
        modules: dict[str, list[pytest.Item]] = {}
        for item in items:
            modules.setdefault(_file(item), []).append(item)
        for own in modules.values():
            chance.shuffle(own)
        order = list(modules.values())
        chance.shuffle(order)
        items[:] = [item for own in order for item in own]
    items.sort(key=lambda item: (not item.nodeid.startswith(FORKING), not item.nodeid.startswith(LONGEST)))
    if config.getoption("--turn"):
        _keep_turn(config, items)


def _keep_turn(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the long tests of other turns; the longest modules of this one begin."""
    turns = _module("turns")
    seconds = turns.read_seconds()
    long = {_file(item) for item in items if any(item.get_closest_marker(name) for name in turns.MARKS)}
    kept = turns.modules_of(*turns.parse(config.getoption("--turn")), long, seconds)
    config.hook.pytest_deselected(items=[item for item in items if _file(item) in long - kept])
    items[:] = [item for item in items if _file(item) not in long - kept]
    items.sort(key=lambda item: -seconds.get(_file(item), 0.0))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    """A module's tests run on one worker, so that its fixtures are made once; a pipeline's, once per place.

    (--dist=loadgroup would say this with marks, but xdist 3.8 does not find them under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            file = next((folder for folder in TOGETHER if file.startswith(folder)), file)
            place = re.search(r"\[(subprocess|docker)-\w+\]", test)
            return f"{file}{place[0]}" if place else file

    return ByFixtures(config, log)


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or REPOSITORY.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"needs {name}: set {variable} to a folder that holds it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """Nor does SQLite in this process: what tests write need not outlive a power cut. The calls are made still."""
    import sqlite3

    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def look_only(file: Any) -> None:
        os.fstat(file if isinstance(file, int) else file.fileno())

    def relax(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", relax)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", look_only)
        yield
    event.remove(Engine, "connect", relax)


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """MLflow's process-wide address, and log handlers that libraries have tied to a test's own output, end with it."""
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for logger in (logging.getLogger(), *map(logging.getLogger, ("alembic", "mlflow", "qure"))):
        for handler in logger.handlers[:]:
            if type(handler) is logging.StreamHandler and handler.stream not in (sys.__stdout__, sys.__stderr__):
                logger.removeHandler(handler)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[Path]]:
    """How often each file is opened during the test: by Python, and by pandas, whose Parquet reader opens natively."""
    import pandas as pd

    found: Counter[Path] = Counter()
    parquet = pd.read_parquet

    def read_parquet(path: Any, *arguments: Any, **named: Any) -> Any:
        found[Path(path).resolve()] += 1
        return parquet(path, *arguments, **named)

    monkeypatch.setattr(pd, "read_parquet", read_parquet)
    if not _counting:
        sys.addaudithook(_count)  # stays for good: there is no way to remove one
    _counting.append(found)
    yield found
    _counting[:] = [None]


#: Where opened files are counted now; None while nobody counts.
_counting: "list[Counter[Path] | None]" = []


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _counting[-1] is not None and isinstance(arguments[0], str | os.PathLike):
        _counting[-1][Path(arguments[0]).resolve()] += 1


@pytest.fixture(scope="session")
def dvc_by_fork() -> Callable[..., None]:
    """In place of `qure.catalogue.fetch._dvc`: in a copy of this process, which need not import DVC again."""
    for name in ("dvc.cli", "dvc.repo", "dvc.rwlock", "dvc.scm", "dvc_render", "networkx", "rich.progress"):
        importlib.import_module(name)
    return _dvc_by_fork


def _dvc_by_fork(folder: Path, *arguments: str) -> None:
    import dvc.cli

    from qure.errors import StageFailed

    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.chdir(folder)
                sys.stdout = sys.stderr = said
                status = dvc.cli.main(list(arguments))
            finally:
                said.flush()
                os._exit(status)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            said.seek(0)
            raise StageFailed(f"`dvc {' '.join(arguments)}` failed: {said.read()}")


@pytest.fixture
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that are killed or given little space: they, and copies of this one, write no bytecode.

    Python moves a bytecode file into place however short a full disk left it (qure/environment.py), and one that is
    killed meanwhile leaves a file of another name beside it: in .venv and the checkout, for good.
    """
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture(scope="session")
def services_in() -> "Iterator[Callable[[Path], Services]]":
    """Folder of a project -> its PostgreSQL, S3 and MLflow, not started yet; stopped in the end."""
    pytest.importorskip("flask_wtf", reason="needs MLflow's sign-in: make setup")
    from infra.services.services import Services

    made: list[Services] = []

    def services(project: Path) -> Services:
        # PostgreSQL's own user must pass, and pytest closes its folders, again with each session that begins.
        place = Path(tempfile.mkdtemp(prefix="qure-services-"))
        place.chmod(0o711)
        (project / ".work").mkdir(parents=True, exist_ok=True)
        (project / ".work" / "services").symlink_to(place / "services")
        made.append(Services(project / ".work" / "services"))
        return made[-1]

    yield services
    for one in made:
        one.stop()
        shutil.rmtree(one.folder.parent)


@pytest.fixture(scope="session")
def annotations() -> Path:
    """The public annotation files: fashioniq/, cirr/, circo/, hp_fashioniq/."""
    return _folder("QURE_ANNOTATIONS", "annotations")


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Golden vectors of the published model and of its mining, and its key list."""
    return _folder("QURE_REFERENCE", "reference")


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with all four benchmarks, rendered small."""
    from qure.catalogue.stage import render

    root = tmp_path_factory.mktemp("catalogue") / "data"
    render(small_settings(), root)
    return root


@pytest.fixture(scope="session")
def checked_once() -> Iterator[dict[str, Any]]:
    """From here on no table is checked twice in this process (tests/checked_once.py); what is kept, to be cleared."""
    with pytest.MonkeyPatch.context() as patch:
        yield _module("checked_once").keep_results(patch)


@pytest.fixture(scope="session")
def passed() -> Callable[..., Path]:
    """(folder, data root, image sets, excluded) -> the folder, with what a passed validation of that data leaves."""
    return _passed


def _passed(
    folder: Path, data: Path, image_sets: Sequence[str] = ("fashioniq",), excluded: Mapping[str, Any] | None = None
) -> Path:
    from qure.benchmarks import get_benchmark
    from qure.datasets.image_store import open_images
    from qure.datasets.validated import write_images

    folder.mkdir(parents=True, exist_ok=True)
    stores = {name: open_images(get_benchmark(name).root(data)) for name in image_sets}
    write_images(
        folder,
        [
            (name, image, store.size(image), hashlib.sha256(store.read(image)).hexdigest())
            for name, store in stores.items()
            for image in store.ids
        ],
    )
    files = [file for name in image_sets for file in get_benchmark(name).root(data).rglob("*.json")]
    digests = {str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    result = {"success": True, "excluded": excluded or {}, "annotations": digests}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def small_settings() -> "Settings":
    """Settings of a data set and a model that fit a unit test."""
    from qure.config import Settings

    return Settings.model_validate(
        {
            "catalogue": {"scale": 0.1},
            "backbone": {"pretraining": {"steps": 20, "batch_size": 16, "least_recall_at_5": 0.0}},
            "training": {
                "fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 2}},
                "cirr": {"recipe": "catalogue", "overrides": {"epochs": 2}},
            },
        }
    )
