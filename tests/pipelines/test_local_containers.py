"""A pipeline on one machine: its configuration, and what is said where no container can run. No engine is asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import local
from pipelines.config import PipelineConfig
from qure.errors import BadInput


def test_on_one_machine_there_is_a_folder_for_a_claim_and_no_train_job(tmp_path: Path) -> None:
    config = PipelineConfig.load()
    one = local.local_config(config, image="localhost/qure:ci", workspace=tmp_path)
    assert one.image("train_qure") == one.image("evaluate") == "localhost/qure:ci"
    assert one.workspace is not None
    assert one.workspace.path == str(tmp_path)
    assert one.distributed is None
    assert {one.task(name).retry.attempts for name in ("train_qure", "promote_model")} == {1}
    assert {one.task(name).retry.backoff_seconds for name in ("train_qure", "promote_model")} == {0}
    assert one.task("train_qure").memory == config.task("train_qure").memory
    without = local.local_config(config)
    assert without.workspace is None
    assert without.images == config.images


def test_an_engine_that_does_not_answer_is_named_by_its_variable(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(BadInput, match="field 'DOCKER_HOST': no container engine answers"):
        local._require_engine()


class Engine:
    """A container engine: whether it has an image, can pull it, and how a container ends."""

    def __init__(self, *, has: bool, pulls: bool = True, fails: bool = False) -> None:
        self.has, self.pulls, self.fails = has, pulls, fails
        self.images = self.containers = self
        self.did: list[str] = []

    def get(self, image: str) -> None:
        from docker.errors import ImageNotFound

        if not self.has:
            raise ImageNotFound("none")

    def pull(self, image: str) -> None:
        from docker.errors import APIError

        self.did.append("pull")
        if not self.pulls:
            raise APIError("500", explanation="no route to the registry")

    def create(self, **options: Any) -> Any:
        return SimpleNamespace(start=self.start, logs=self.logs, wait=lambda: {"StatusCode": 3}, remove=self.remove)

    def start(self) -> None:
        self.did.append("start")
        if self.fails:
            raise RuntimeError("it does not start")

    def logs(self, **_: Any) -> list[bytes]:
        return [b"one\n", b"\xfftwo\n"]

    def remove(self, *, force: bool) -> None:
        self.did.append("remove")


@pytest.mark.parametrize("has", [True, False])
def test_a_container_is_run_to_its_end_and_removed(has: bool, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("docker")
    engine = Engine(has=has)
    assert local.run_container(engine, "qure:ci", ["true"], {}) == 3
    assert capsys.readouterr().out == "one\n\ufffdtwo\n"
    assert engine.did == [*([] if has else ["pull"]), "start", "remove"]


def test_a_container_that_fails_is_removed_and_an_image_that_cannot_be_had_is_named() -> None:
    pytest.importorskip("docker")
    engine = Engine(has=True, fails=True)
    with pytest.raises(RuntimeError, match="does not start"):
        local.run_container(engine, "qure:ci", ["true"], {})
    assert engine.did == ["start", "remove"]
    with pytest.raises(BadInput, match=r"no image 'qure:ci': no route to the registry\. Build infra/images"):
        local.run_container(Engine(has=False, pulls=False), "qure:ci", ["true"], {})
