"""A small project as the stages leave it, with a trained and an untrained version, and the page served for real."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from qure.config import Settings
from qure.layout import Layout

TRAINED, UNTRAINED = 2, 1
#: Names a project to serve instead of the small world, for pictures of the page.
PROJECT = "QURE_STUDIO_PROJECT"


@dataclass(frozen=True)
class World:
    """A project.

    Attributes:
        folder: holds data/ and artifacts/; version 1 is the untrained challenger, 2 the trained champion.
        params: the settings as a file; the place of MLflow's database in it is absolute.
    """

    folder: Path
    settings: Settings
    params: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def layout(self) -> Any:
        return Layout(self.data, self.folder / "artifacts", self.folder / ".work").of("fashioniq")


@pytest.fixture(scope="session")
def world(
    catalogue: Path,
    helper: Callable[[str], ModuleType],
    ask_by_fork: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    """FashionIQ of the small catalogue: trained for four epochs, evaluated, registered, promoted."""
    from qure.evaluation.stage import evaluate
    from qure.models.build import build_catalogue_model
    from qure.registry.stage import promote, register

    folder = tmp_path_factory.mktemp("studio-world")
    if PROJECT in os.environ:
        return _existing(Path(os.environ[PROJECT]), folder)
    settings = Settings.model_validate(
        {
            "backbone": {
                "vision": {"image_size": 32, "width": 48, "layers": 1, "heads": 2, "patch_size": 16},
                "qformer": {
                    "hidden": 48,
                    "layers": 2,
                    "heads": 2,
                    "intermediate": 96,
                    "query_tokens": 4,
                    "embedding": 24,
                },
            },
            "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 4}}},
            "evaluation": {"bootstrap_samples": 100},
            "promotion": {"refuse_collapsed": False},
            "tracking": {"uri": f"sqlite:///{folder / 'mlflow.db'}"},
        }
    )
    made = World(folder, settings, _written(settings, folder))
    layout, data = made.layout, folder / "data"
    captions = ["is a red dress with long sleeves", "has stripes and is shorter", "more formal, darker, is blue"]
    build_catalogue_model(settings.backbone, captions, seed=0).save(
        layout.backbone, notes={"training": "fashioniq", "backbone": "untrained"}
    )
    small, features = helper("small_project"), layout.feature_stores
    with small.undrawn():
        small.train(settings, small.prepare(settings, folder, catalogue))
        for model, place in ((layout.backbone, folder / "before"), (layout.model, layout.evaluation)):
            evaluate(settings, "fashioniq", data=data, features=features, model=model, output=place, device="cpu")
    for model, place in ((layout.backbone, folder / "before"), (layout.model, layout.evaluation)):
        registration = folder / f"{place.name}.json"
        register(
            settings,
            "fashioniq",
            data=data,
            model=model,
            evaluation=place,
            output=registration,
            features=features,
            data_fingerprint="md5:d",
            device="cpu",
        )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("qure.registry.packaging._ask", ask_by_fork)
        promote(settings, "fashioniq", registration=registration, evaluation=place, output=folder / "promotion.json")
    from qure.tracking import connect

    connect(settings.tracking).set_registered_model_alias("qure-fashioniq", "challenger", str(UNTRAINED))
    return made


def _existing(project: Path, folder: Path) -> World:
    """A project whose stages have run; only its settings are written anew, elsewhere."""
    settings = Settings.load(project / "params.yaml")
    uri = f"sqlite:///{project.resolve() / 'mlflow.db'}"
    settings = settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})
    return World(project, settings, _written(settings, folder))


def _written(settings: Settings, folder: Path) -> Path:
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return file


@pytest.fixture
def project(world: World) -> Any:
    from qure.studio.project import Project

    return Project(world.settings, world.layout, params=world.params, device="cpu")


class Server:
    """`qure studio` in a process of its own."""

    def __init__(self, world: World, folder: Path, *options: str) -> None:
        self.world, self.folder, self.options = world, folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder.parent / "server.log"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Server":
        command = [sys.executable, "-P", "-m", "qure.cli", "studio"]  # -P: a project may hold a checkout of its own
        command += ["--port", str(self.port), "--folder", str(self.folder)]
        command += ["--params", str(self.world.params)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        log = self.log.open("ab")
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [*command, "--device", "cpu", *self.options],
            cwd=self.world.folder,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                told = self.log.read_text()
                assert self.process.poll() is None, f"the server ended: {told[-2000:]}"
                assert time.monotonic() < deadline, f"the server does not listen: {told[-2000:]}"
                time.sleep(0.1)

    def kill(self) -> None:
        """Kill -9, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def serve(world: World, tmp_path: Path, no_bytecode: None) -> Iterator[Callable[..., Server]]:
    """Options -> the page, served; it is killed in the end."""
    servers: list[Server] = []

    def start(*options: str, folder: Path | None = None) -> Server:
        servers.append(Server(world, folder or tmp_path / "studio", *options))
        return servers[-1].start()

    yield start
    for server in servers:
        server.kill()


class Visitor:
    """Asks the application without a network, as a browser with cookies would."""

    def __init__(self, application: Any, host: str = "127.0.0.1:8765") -> None:
        from starlette.testclient import TestClient

        self.client = TestClient(application, base_url=f"http://{host}", raise_server_exceptions=False)

    def get(self, place: str, **headers: str) -> Any:
        return self.client.get(place, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, place: str, form: dict[str, str] | bytes, **headers: str) -> Any:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(form, bytes):
            return self.client.post(place, content=form, headers=given)
        return self.client.post(place, data=form, headers=given)


@pytest.fixture
def studio(project: Any, tmp_path: Path) -> Any:
    from qure.studio.application import studio_of

    return studio_of(project, tmp_path / "kept")


@pytest.fixture
def visitor(studio: Any) -> Visitor:
    from qure.studio.application import application

    return Visitor(application(studio))


@pytest.fixture
def make_visitor() -> type[Visitor]:
    return Visitor


@pytest.fixture(scope="session")
def drawn(world: World) -> Any:
    """A survey of the trained version (a) and the untrained one (b): every query is asked of both, once."""
    from qure.studio.project import Project
    from qure.studio.survey.questions import new_survey

    project = Project(world.settings, world.layout, params=world.params, device="cpu")
    versions = {one.number: one for one in project.versions()}
    return new_survey(project, versions[TRAINED], versions[UNTRAINED], sets=2, questions=4, checks=1)


@pytest.fixture
def survey(drawn: Any, studio: Any) -> Any:
    """The survey, in place."""
    drawn.save(studio.survey_file)
    return drawn
