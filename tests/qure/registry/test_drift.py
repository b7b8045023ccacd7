"""Shifted training data is said: when it has passed, and when a model that was trained on it is registered."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from qure.cli import app
from qure.config import Settings
from qure.registry.drift import compare_with_champion, say_drift
from qure.registry.stage import promote, register
from qure.tracking import connect
from qure.validation.statistics import VERSION, WORD_EDGES, histogram


@pytest.fixture
def statistics(tmp_path: Path, few_images: Path, passed: Callable[..., Path]) -> Callable[[str, float], Path]:
    """Name and mean number of words -> a validation folder of data with such captions."""

    def write(name: str, words: float) -> Path:
        folder = passed(tmp_path / "validations" / name, few_images)
        drawn = np.random.default_rng(3).poisson(words, 400)
        splits = {"fashioniq/train": {"queries": 400, "caption_words": histogram(drawn, WORD_EDGES)}}
        (folder / "statistics.json").write_text(json.dumps({"version": VERSION, "splits": splits}))
        return folder

    return write


@pytest.fixture
def enter(
    settings: Settings, few_images: Path, tmp_path: Path, model_of: Callable[[int], Path], judged: Callable[..., Path]
) -> Callable[..., dict[str, Any]]:
    """Registers a model with the validation it was trained on, and promotes it."""

    def run(seed: int, validation: Path, **more: Any) -> dict[str, Any]:
        evaluation, output = judged(model_of(seed), 0.5), tmp_path / f"registration-{seed}.json"
        told = register(
            settings,
            "fashioniq",
            data=more.pop("data", few_images),
            model=model_of(seed),
            evaluation=evaluation,
            output=output,
            validation=validation,
            data_fingerprint=f"md5:{validation.name}",
            **more,
        )
        written = tmp_path / f"promotion-{seed}.json"
        promote(settings, "fashioniq", registration=output, evaluation=evaluation, output=written)
        return told

    return run


@pytest.mark.integration
def test_a_model_trained_on_shifted_data_is_registered_loudly(
    settings: Settings,
    statistics: Callable[[str, float], Path],
    enter: Callable[..., dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert enter(1, statistics("short", 8))["drift"] == []
    with caplog.at_level(logging.WARNING):
        (sentence,) = enter(2, statistics("long", 20))["drift"]
    assert sentence.startswith("fashioniq/train: caption_words has mean 20")
    assert f"drift: {sentence}" in caplog.text
    client = connect(settings.tracking)
    experiment = client.get_experiment_by_name("qure").experiment_id
    (run,) = client.search_runs([experiment], "tags.`qure.drift` LIKE '%caption_words%'")
    assert run.data.metrics["drift/fashioniq/train/caption_words/ks"] > 0.5
    assert "validation/drift.json" in {file.path for file in client.list_artifacts(run.info.run_id, "validation")}
    assert enter(1, statistics("short", 8))["drift"] != [], "version 2 is champion now, and had long captions"


def test_data_is_compared_with_the_champions_when_it_has_passed(
    settings: Settings,
    statistics: Callable[[str, float], Path],
    enter: Callable[..., dict[str, Any]],
    few_images: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    long, like = statistics("long", 20), statistics("like", 8)
    common: dict[str, Any] = {"data": few_images}
    assert compare_with_champion(settings, "fashioniq", validation=long, **common) is None
    assert not connect(settings.tracking).search_registered_models(), "asking leaves no trace"
    enter(1, statistics("short", 8))
    found = compare_with_champion(settings, "fashioniq", validation=long, output=tmp_path / "drift.json", **common)
    assert found is not None
    assert (found["known"], found["champion"], len(found["shifted"])) == (True, 1, 1)
    assert json.loads((tmp_path / "drift.json").read_text()) == found
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        say_drift(settings, "fashioniq", validation=like, **common)
        assert not caplog.records
        say_drift(settings, "fashioniq", validation=long, **common)
        assert "drift: fashioniq/train: caption_words" in caplog.text
        say_drift(settings, "fashioniq", validation=tmp_path, **common)
        assert "drift cannot be told" in caplog.text
    untracked = settings.model_validate(settings.model_dump() | {"tracking": {"uri": None}})
    assert compare_with_champion(untracked, "fashioniq", validation=long, **common) is None


def test_where_the_images_lie_is_compared_too(
    settings: Settings,
    statistics: Callable[[str, float], Path],
    enter: Callable[..., dict[str, Any]],
    model_of: Callable[[int], Path],
    few_images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Same captions, other pictures: through the command line, with features of one image tower on both sides."""
    from qure.features.stage import precompute

    other = Path(shutil.copytree(few_images, tmp_path / "other"))
    for file in (other / "fashioniq" / "images").iterdir():
        ImageOps.invert(Image.open(file).convert("RGB")).save(file, "JPEG", quality=95)
    validation = statistics("like", 8)
    stores = {}
    for name, data in (("few", few_images), ("other", other)):
        stores[name] = tmp_path / "artifacts-of" / name / "fashioniq" / "features" / "fashioniq"
        precompute(settings, "fashioniq", data=data, backbone=model_of(1), output=stores[name])
    enter(1, validation, features={"fashioniq": stores["few"]})
    (tmp_path / "params.yaml").write_text(settings.model_dump_json())
    monkeypatch.chdir(tmp_path)
    said = {}
    for name, data in (("few", few_images), ("other", other)):
        artifacts = tmp_path / "artifacts-of" / name
        shutil.copytree(validation, artifacts / "fashioniq" / "validation")
        with pytest.raises(SystemExit) as end:
            app(["compare-data", "--training-set", "fashioniq", "--data", str(data), "--artifacts", str(artifacts)])
        assert end.value.code == 0
        said[name] = capsys.readouterr().out
    assert "alike    fashioniq/train: the mean embedding is 0.000" in said["few"]
    assert "shifted  fashioniq/train: the mean embedding is" in said["other"], said
