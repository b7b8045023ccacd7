"""The scripts in examples/ do what they say, on a model that was trained for a moment."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from qure.config import Settings
from qure.layout import Layout
from qure.negatives.sets import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SETTINGS = {
    "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 1, "batch_size": 64}}},
    "tracking": {"uri": None},
}


@pytest.fixture(scope="module")
def project(catalogue: Path, helper: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and artifacts/ as the stages leave them."""
    torch.set_num_threads(1)
    small, folder = helper("small_project"), tmp_path_factory.mktemp("project")
    settings = Settings.model_validate({**SETTINGS, "backbone": small.BACKBONE})
    with small.undrawn():
        small.train(settings, small.prepare(settings, folder, catalogue))
    return folder


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs an example in the project, as its docstring says, and gives the lines that it prints."""

    def run_example(name: str, *arguments: object) -> list[str]:
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run_example


@pytest.fixture(scope="module")
def picture(catalogue: Path) -> Path:
    return min((catalogue / "fashioniq" / "images").iterdir())


def test_search(run: Callable[..., list[str]], project: Path, picture: Path) -> None:
    images = project / "data" / "fashioniq" / "images"
    asked = ("--model", "artifacts/fashioniq/model", "--gallery", images, "--top-k", 3)
    count, *found = run("search.py", picture, "is blue", *asked)
    assert count == f"{len(list(images.iterdir()))} images; groups: none"
    assert len(found) == 3
    for line in found:
        relevance, image_id, path = line.split()
        assert float(relevance) <= 1
        assert Path(path).is_file()
        assert Path(path).stem == image_id


def test_judge_embeddings(run: Callable[..., list[str]], project: Path) -> None:
    said = run("judge_embeddings.py", "--output", "judged")
    metrics = json.loads((project / "judged" / "metrics.json").read_text())
    (ten,) = (line.split() for line in said if line.split()[0] == "recall_at_10")
    assert float(ten[1]) == round(metrics["recall_at_10"], 2)
    assert metrics["queries"] > 10


def test_mine_and_look(run: Callable[..., list[str]], project: Path) -> None:
    said = run("mine_and_look.py", "--search-window", 20, "--output", "mined")
    sets = load(project / "mined" / "negatives.safetensors")
    assert said[0].startswith(f"{len(sets)} queries, {sets.sizes.mean():.0f} negatives each")
    for name in ("scores.png", "ranks.png"):
        assert (project / "mined" / name).stat().st_size > 1000


def test_add_a_strategy(run: Callable[..., list[str]]) -> None:
    head, *lines = run("add_a_strategy.py", "--margin", 0.02)
    assert head.split() == ["strategy", "size", "first", "false", "negatives"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert set(rows) == {"between_steep_drops", "after_target_top_k", "close_scores.py:close_scores"}
    wider = {line.split()[0]: line.split()[1:] for line in run("add_a_strategy.py", "--margin", 0.5)[1:]}
    own = "close_scores.py:close_scores"
    assert float(wider[own][0]) > float(rows[own][0])
    assert all(share.endswith("%") for *_, share in rows.values()), "the catalogue knows what is relevant"


@pytest.mark.integration
def test_serve(
    run: Callable[..., list[str]],
    project: Path,
    picture: Path,
) -> None:
    """What `qure register` packages, over HTTP."""
    import socket

    from qure.registry.packaging import Example, package
    from qure.serving.gallery import write_gallery

    layout = Layout(project / "data", project / "artifacts").of("fashioniq")
    gallery = project / "gallery"
    gallery.mkdir()
    stores = layout.present_feature_stores
    settings = Settings.model_validate(SETTINGS)
    write_gallery(
        settings,
        "fashioniq",
        gallery,
        data=layout.data,
        model=layout.model,
        features=stores,
        validation=None,
        device="cpu",
    )
    example = Example(picture.read_bytes(), "is blue", None)
    package(project / "package", model=layout.model, gallery=gallery, example=example, facts={})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = run("serve.py", picture, "is blue", "--model", project / "package", "--port", port, "--top-k", 3)
    ranked = [line.split() for line in found if line.split()[:1] and line.split()[0].replace(".", "").isdigit()]
    assert len(ranked) == 3

    import qure

    same = qure.load(project / "package", data=layout.data).search(picture, "is blue", top_k=3)
    assert [one.image_id for one in same] == [image_id for _, image_id in ranked]
    assert all(one.path is not None and one.path.is_file() for one in same)
