"""A project with a champion that is moved or copied: it answers there, and what is new lands there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qure.config import Settings
from qure.files import folder_digest
from qure.registry import stage
from qure.registry.asking import ask_champion
from qure.tracking import connect


@pytest.mark.integration
def test_the_champion_answers_after_a_copy_and_after_a_move(
    settings: Settings,
    settings_for: Callable[[str], Settings],
    few_images: Path,
    tmp_path: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
) -> None:
    def register(into: Settings, seed: int, quality: float) -> None:
        model, output = model_of(seed), tmp_path / "registration.json"
        evaluation = judged(model, quality)
        stage.register(
            into,
            "fashioniq",
            data=few_images,
            model=model,
            evaluation=evaluation,
            output=output,
            data_fingerprint="md5:the data",
        )
        told = stage.promote(
            into, "fashioniq", registration=output, evaluation=evaluation, output=tmp_path / "promotion.json"
        )
        assert told["promoted"], told["reason"]

    def ask(whom: Settings) -> list[tuple[str, float]]:
        return ask_champion(whom, "fashioniq", image, "is red", 3, None)

    image = next((few_images / "fashioniq" / "images").iterdir())
    register(settings, 1, 0.3)
    answer = ask(settings)
    project = Path(str(settings.tracking.uri).removeprefix("sqlite:///")).parent
    copy = shutil.copytree(project, tmp_path / "copy")
    before = folder_digest(project)
    copied = settings_for(f"sqlite:///{copy}/mlflow.db")
    assert ask(copied) == answer
    register(copied, 2, 0.5)
    assert folder_digest(project) == before
    version = connect(copied.tracking).get_model_version("qure-fashioniq", "2")
    assert (copy / "mlruns").is_dir()
    moved = project.rename(tmp_path / "moved")
    assert ask(settings_for(f"sqlite:///{moved}/mlflow.db")) == answer
    again = copy.rename(tmp_path / "copy moved")
    client = connect(settings_for(f"sqlite:///{again}/mlflow.db").tracking)
    location = Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location)
    assert location.is_relative_to(again)
    assert (location / "MLmodel").is_file()
