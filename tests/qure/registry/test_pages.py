"""MLflow's own pages, opened cold in headless Chromium, over the server that `make mlflow` starts.

With QURE_SCREENSHOTS set to a folder, pictures of the pages are left there.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qure.config import Settings
from qure.files import write_json
from qure.registry import stage
from qure.tracking import connect, pipeline_run_id, stage_run
from qure.tracking.pages import headline

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

pytestmark = pytest.mark.integration

NAME = "qure-fashioniq"
SECONDS = 120


class Pages:
    """A browser on a running server."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address

    def text(self, route: str, *wanted: str) -> str:
        """What a person reads on a page, as soon as it shows all of `wanted`."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.address}/#/{route}")
        deadline = time.monotonic() + SECONDS
        shown = ""
        while time.monotonic() < deadline:
            shown = str(self.browser.execute_script("return document.body.innerText"))
            if all(one in shown for one in wanted):
                time.sleep(0.5)
                self._keep(route)
                return str(self.browser.execute_script("return document.body.innerText"))
            time.sleep(0.3)
        self._keep(f"missing-{route}")
        raise AssertionError(f"{route} shows no {[one for one in wanted if one not in shown]}:\n{shown}")

    def _keep(self, route: str) -> None:
        folder = os.environ.get("QURE_SCREENSHOTS")
        if folder:
            name = "-".join(part for part in route.split("?")[0].split("/") if len(part) < 30)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    for flag in (*flags.split(), "disable-component-update", "disable-sync", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.add_argument("--window-size=1400,1000")
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def served(browser: Any, settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Pages]]:
    """Starts the pages over this test's database."""
    servers = []

    def start() -> Pages:
        port = _free_port()
        program = [sys.executable, "-m", "qure.tracking.server", "--uri", str(settings.tracking.uri)]
        with (tmp_path / "server.log").open("w") as log:
            server = subprocess.Popen(
                [*program, "--port", str(port)], stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path
            )
        servers.append(server)
        assert server.stdout is not None
        told = next((line for line in server.stdout if "MLflow's pages" in line), "")
        assert f"http://127.0.0.1:{port}" in told, (tmp_path / "server.log").read_text()
        return Pages(browser, f"http://127.0.0.1:{port}")

    yield start
    for server in servers:
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0


@pytest.fixture
def told(
    settings: Settings,
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    tmp_path: Path,
) -> Settings:
    """Two trained models, the second one better, through the real stages; training itself is not repeated here."""
    for seed, quality in ((1, 0.3), (2, 0.5)):
        evaluation = judged(model_of(seed), quality)
        results = stage.read_evaluations(evaluation, "fashioniq", _fingerprint(model_of(seed)))
        metrics = {"fashioniq": results["fashioniq"].metrics}
        intervals = {"fashioniq": results["fashioniq"].intervals}
        write_json(evaluation / "metrics.json", metrics | {"controls": {"random": {"recall_at_10": 2.5}}})
        pipeline = pipeline_run_id(settings.resolved(), f"md5:data{seed}")
        for name, parameters in (("train", {"epochs": 6, "learning_rate": 0.001, "seed": seed}), ("evaluate", {})):
            with stage_run(
                settings.tracking,
                stage=name,
                training_set="fashioniq",
                parameters=parameters,
                inputs={"data": f"md5:data{seed}"},
                pipeline=pipeline,
            ) as run:
                if name == "evaluate":
                    run.log_headline(headline(metrics, intervals))
        stage.register(
            settings,
            "fashioniq",
            data=few_images,
            model=model_of(seed),
            evaluation=evaluation,
            output=tmp_path / f"registration-{seed}.json",
            data_fingerprint=f"md5:data{seed}",
        )
        stage.promote(
            settings,
            "fashioniq",
            registration=tmp_path / f"registration-{seed}.json",
            evaluation=evaluation,
            output=tmp_path / f"promotion-{seed}.json",
        )
    return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fingerprint(model: Path) -> str:
    from qure.models.manifest import read_manifest

    return str(read_manifest(model)["fingerprint"])


def test_somebody_who_opens_them_cold_finds_the_story(told: Settings, served: Callable[[], Pages]) -> None:
    client = connect(told.tracking)
    experiment = client.get_experiment_by_name("qure")
    assert experiment is not None
    parents = client.search_runs([experiment.experiment_id], "tags.`qure.role` = 'pipeline'")
    assert len(parents) == 2
    parent = parents[0]
    pages = served()

    listed = pages.text("experiments", "qure")
    assert "lock" not in listed.lower()

    table = pages.text(f"experiments/{experiment.experiment_id}/runs", parent.info.run_name)
    assert "What kind of experiment" not in table
    assert "fashioniq · 20" in table

    page = pages.text(f"experiments/{experiment.experiment_id}/runs/{parent.info.run_id}", "One run of the whole")
    assert "fashioniq/recall_at_10_low" in page
    assert "fashioniq.epochs" in page

    models = pages.text("models", NAME)
    assert "lock" not in models.lower()

    model = pages.text(f"models/{NAME}", "Who was champion")
    history = model.split("Who was champion")[1]
    assert "promoted" in history
    assert "version 2" in history
    assert "not worse than the champion" in history

    card = pages.text(f"models/{NAME}/versions/2", "A picture and a sentence")
    assert "R@10" in card
    assert "a random order 2.5" in card
    assert "Decision" in card
    recall = client.get_model_version(NAME, "2").tags["qure.metric.fashioniq/recall_at_10"]
    assert f"{float(recall):.1f}" in card
