"""The stage: from a data root to a model folder, the same bytes every time, or nothing."""

import contextlib
import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from qure.backbone import stage
from qure.backbone.captions import captioned_images, training_texts
from qure.backbone.stage import prepare_backbone
from qure.config import Settings
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput, StageFailed
from qure.images import ImageError
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.tracking import SilentRun


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {
            "backbone": {"pretraining": {"steps": 3, "batch_size": 8, "least_recall_at_5": 0.0}},
            "training": {"fashioniq": {"recipe": "catalogue"}},
            "tracking": {"uri": None},
        }
    )


@pytest.fixture
def data(catalogue: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(catalogue, tmp_path / "data"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_model_folder_with_vocabulary_and_metrics(settings, catalogue, tmp_path, monkeypatch):
    class Run(SilentRun):
        def log_metrics(self, metrics, step=None):
            logged.extend((step, name) for name in metrics)

    logged = []
    monkeypatch.setattr(stage, "stage_run", lambda *_, **__: contextlib.nullcontext(Run()))
    monkeypatch.setattr("qure.backbone.pretraining.CURVE_EVERY", 3)
    manifest = prepare_backbone(settings, catalogue, tmp_path / "backbone")
    assert manifest == read_manifest(tmp_path / "backbone")
    assert manifest["backbone"] == "catalogue"
    assert 0 <= manifest["notes"]["pretraining"]["held_out_recall_at_1"] <= 1
    assert (3, "pretraining/in_batch_accuracy") in logged
    assert (3, "pretraining/held_out_recall_at_1") in logged
    assert (None, "held_out_recall_at_1") in logged
    model = QureModel.load(tmp_path / "backbone")
    assert model.config.vision.image_size == 64
    ids, mask = model.tokenizer(training_texts(catalogue))
    assert not (ids[mask.bool()] == 1).any(), "a train text has an unknown word"


def test_same_input_gives_the_same_bytes(settings, catalogue, tmp_path):
    for name in ("one", "two"):
        prepare_backbone(settings, catalogue, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_groups_are_categories_and_scenes(catalogue):
    images = captioned_images(catalogue, 16)
    assert set(images.groups) == {"dress", "shirt", "toptee", "cirr"}
    assert images.pixels.shape == (len(images.captions), 16, 16, 3)


def test_excluded_images_and_triplets_are_left_out(catalogue, tmp_path):
    rows = json.loads((catalogue / "pretraining" / "captions.json").read_text())
    fashion, scene = (next(row for row in rows if row["image_set"] == name) for name in ("fashioniq", "cirr"))
    for name, excluded in (
        ("fashioniq", {"fashioniq": {"images": [fashion["image"]], "queries": ["train/dress/0"]}}),
        ("cirr", {"cirr": {"images": [scene["image"]], "queries": []}}),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"excluded": excluded}))
    found = [ValidatedData(catalogue, tmp_path / name) for name in ("fashioniq", "cirr")]
    assert len(captioned_images(catalogue, 16, found).captions) == len(rows) - 2
    assert len(training_texts(catalogue, found)) < len(training_texts(catalogue)) - 1


def test_missing_captions_are_named(settings, data, tmp_path):
    (data / "pretraining" / "captions.json").unlink()
    with pytest.raises(BadInput, match=r"captions\.json: the file does not exist"):
        prepare_backbone(settings, data, tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_set": "imagenet"}, r"row 1, field 'image_set': no image set 'imagenet'"),
        ({"image": "../secret"}, r"row 1, field 'image'"),
        ({"image": "absent"}, "absent"),
        ({"caption": 3}, r"row 1, field 'caption'"),
    ],
)
def test_wrong_captions_are_named(settings, data, tmp_path, change, reason):
    file = data / "pretraining" / "captions.json"
    rows = json.loads(file.read_text())
    rows[1] |= change
    file.write_text(json.dumps(rows))
    with pytest.raises(BadInput, match=reason):
        prepare_backbone(settings, data, tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


def test_one_captioned_image_alone_is_too_few(settings, data, tmp_path):
    file = data / "pretraining" / "captions.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:1]))
    with pytest.raises(BadInput, match=r"captions\.json: 1 captioned images: a contrast needs at least two"):
        prepare_backbone(settings, data, tmp_path / "backbone")


def test_broken_image_is_named(settings, data, tmp_path):
    rows = json.loads((data / "pretraining" / "captions.json").read_text())
    name = next(row["image"] for row in rows if row["image_set"] == "fashioniq")
    file = next((data / "fashioniq" / "images").glob(f"{name}.*"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ImageError, match=name):
        prepare_backbone(settings, data, tmp_path / "backbone")


def test_published_backbone_without_weights_says_where_they_are(settings, catalogue, tmp_path):
    named = settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"name": "blip2-vitl"})})
    with pytest.raises(BadInput, match=r"backbone\.weights.*blip2_pretrained_vitL\.pth"):
        prepare_backbone(named, catalogue, tmp_path / "backbone")


def slow_run(settings: Settings, data: Path, output: Path, begun: Path) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    real = stage.save_model

    def slowly(*arguments, **named):
        begun.touch()
        time.sleep(60)
        real(*arguments, **named)

    stage.save_model = slowly
    stage.make_backbone(settings.backbone, data, output)


@pytest.mark.usefixtures("no_bytecode")
def test_killed_run_leaves_nothing_and_starts_again(settings, catalogue, tmp_path):
    output, begun = tmp_path / "backbone", tmp_path / "begun"
    process = multiprocessing.get_context("fork").Process(target=slow_run, args=(settings, catalogue, output, begun))
    process.start()
    end = time.monotonic() + 60
    while not begun.exists():
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not output.exists()
    stage.make_backbone(settings.backbone, catalogue, output)
    QureModel.load(output)


def test_nothing_is_written_where_nothing_was_learned(settings, catalogue, tmp_path):
    asking = settings.model_dump(mode="json")
    asking["backbone"]["pretraining"]["least_recall_at_5"] = 1.0
    with pytest.raises(StageFailed, match="has not learned"):
        prepare_backbone(Settings.model_validate(asking), catalogue, tmp_path / "backbone")
    assert list(tmp_path.iterdir()) == []
