"""`qure.load`: from the registry, from folders, and what is said where there is nothing to load."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

import qure
from qure.config import Settings
from qure.errors import BadInput
from qure.registry.asking import ask_champion
from qure.registry.stage import promote, register


@pytest.fixture
def params(settings: Settings, tmp_path: Path) -> Path:
    """A params.yaml that says where MLflow is."""
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return file


@pytest.fixture
def picture(few_images: Path) -> Path:
    return min((few_images / "fashioniq" / "images").iterdir())


@pytest.fixture
def champion(
    packaged_once: None,
    settings: Settings,
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    tmp_path: Path,
) -> str:
    """Address of a registered and promoted model."""
    model, registration = model_of(1), tmp_path / "registration.json"
    evaluation = judged(model, 0.5)
    register(
        settings,
        "fashioniq",
        data=few_images,
        model=model,
        evaluation=evaluation,
        output=registration,
        data_fingerprint="md5:d",
    )
    promote(settings, "fashioniq", registration=registration, evaluation=evaluation, output=tmp_path / "promotion.json")
    return "models:/qure-fashioniq@champion"


def test_the_champion_answers_as_the_command_line_says(
    champion: str, settings: Settings, params: Path, few_images: Path, picture: Path
) -> None:
    model = qure.load(champion, params=params, data=few_images)
    assert len(model) == 36
    assert set(model.groups) == {"dress", "shirt", "toptee"}
    found = model.search(picture, "is red", top_k=4, group="dress")
    told = ask_champion(settings, "fashioniq", picture, "is red", 4, "dress")
    assert [one.image_id for one in found] == [image_id for image_id, _ in told]
    assert [one.relevance for one in found] == pytest.approx([score for _, score in told], abs=1e-6)
    assert all(one.path is not None and one.path.stem == one.image_id and one.path.is_file() for one in found)
    without = qure.load(champion, params=params, data=few_images / "elsewhere").search(picture, "is red", top_k=4)
    assert [one.path for one in without] == [None] * 4


def test_a_model_folder_searches_a_folder_of_pictures(
    model_of: Callable[[int], Path], few_images: Path, picture: Path
) -> None:
    images = few_images / "fashioniq" / "images"
    model = qure.load(model_of(1), gallery=images, device="cpu")
    assert (len(model), model.groups) == (len(list(images.iterdir())), ())
    by_path = model.search(picture, "is red", top_k=5, exclude=picture.stem)
    assert picture.stem not in {one.image_id for one in by_path}
    assert model.search(picture.read_bytes(), "is red", top_k=5, exclude=picture.stem) == by_path
    with Image.open(picture) as opened:
        assert model.search(opened, "is red", top_k=5, exclude=picture.stem) == by_path
    scores = [one.relevance for one in by_path]
    assert scores == sorted(scores, reverse=True)


def test_what_is_missing_is_said(
    champion: str, params: Path, model_of: Callable[[int], Path], tmp_path: Path, picture: Path
) -> None:
    with pytest.raises(BadInput, match="brings no gallery"):
        qure.load(model_of(1))
    with pytest.raises(BadInput, match="no such folder of images"):
        qure.load(model_of(1), gallery=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no images"):
        qure.load(model_of(1), gallery=tmp_path / "empty")
    for absent in ("models:/qure-cirr@champion", "models:/qure-fashioniq@nobody", "models:/qure-fashioniq/99"):
        with pytest.raises(BadInput, match="does not load"):
            qure.load(absent, params=params)
    model = qure.load(champion, params=params)
    with pytest.raises(BadInput, match=r"^field 'text': '' is not a modification text"):
        model.search(picture, "")
    with pytest.raises(BadInput, match="no group 'shoes'"):
        model.search(picture, "is red", group="shoes")
    with pytest.raises(BadInput, match=r"no-such\.jpg: the image cannot be read: No such file"):
        model.search("no-such.jpg", "is red")


def test_importing_qure_imports_nothing_heavy() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, qure; print(*{'torch', 'mlflow', 'pydantic', 'numpy'} & {*sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == ""
    assert all(getattr(qure, name) is not None for name in qure.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        qure.lod  # noqa: B018
