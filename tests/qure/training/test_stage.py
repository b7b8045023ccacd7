"""The train stage: what it refuses, what it writes, when it starts afresh and when it has nothing to do."""

import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import qure.training.stage
from qure.config import TrackingSettings, with_code
from qure.errors import BadInput, StageFailed
from qure.files import folder_digest
from qure.models.model import QureModel
from qure.scratch import alone
from qure.training.checkpoint import Checkpoints, Identity
from qure.training.stage import TrainResult


@pytest.fixture(scope="module")
def folder(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a training of two epochs with one mining has written."""
    folder = tmp_path_factory.mktemp("trained")
    world.train(folder, epochs=2, held_out_share=0.1, plots=True)
    return folder


@pytest.fixture
def copy(world: Any, tmp_path: Path) -> Any:
    """A world of one's own to damage."""
    shutil.copytree(world.root, tmp_path / "world")
    return type(world)(tmp_path / "world")


def test_writes_model_history_minings_and_summary(folder: Path) -> None:
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert written == {
        "artifacts/model/config.json",
        "artifacts/model/manifest.json",
        "artifacts/model/model.safetensors",
        "artifacts/model/tokenizer/tokenizer.json",
        "artifacts/training/example.json",
        "artifacts/training/example.png",
        "artifacts/training/history.jsonl",
        "artifacts/training/minings/1-ranks.png",
        "artifacts/training/minings/1.json",
        "artifacts/training/minings/1.png",
        "artifacts/training/minings/1.safetensors",
        "artifacts/training/sizes.png",
        "artifacts/training/steps.jsonl",
        "artifacts/training/summary.json",
    }
    for name in ("minings/1.png", "minings/1-ranks.png", "sizes.png"):
        with Image.open(folder / "artifacts" / "training" / name) as image:
            assert image.size > (300, 200)


def test_history_has_a_line_per_epoch(folder: Path) -> None:
    first, second = (
        json.loads(line) for line in (folder / "artifacts/training/history.jsonl").read_text().splitlines()
    )
    assert (first["epoch"], first["mining"], second["epoch"], second["mining"]) == (0, None, 1, 1)
    assert first["triplets"] == second["triplets"] == 42
    assert first["learning_rate"] == pytest.approx(3e-3)
    assert second["learning_rate"] == pytest.approx(3e-3 * 0.505)
    assert "negatives_size_mean" in second
    assert "negatives_size_mean" not in first
    assert first["pairs_per_query"] > second["pairs_per_query"], "the warm-up shares the whole corpus"
    statistics = json.loads((folder / "artifacts/training/minings/1.json").read_text())
    assert statistics["size"]["mean"] == second["negatives_size_mean"]
    assert statistics["queries"] == 42
    steps = (folder / "artifacts/training/steps.jsonl").read_text().splitlines()
    assert len(steps) == second["steps"] == 12
    mean = sum(json.loads(line)["loss"] for line in steps[:6])
    assert mean / 6 == pytest.approx(first["loss"], rel=0.1)


def test_summary_names_settings_inputs_and_model(world: Any, folder: Path) -> None:
    summary = json.loads((folder / "artifacts/training/summary.json").read_text())
    manifest = json.loads((folder / "artifacts/model/manifest.json").read_text())
    assert summary["model_fingerprint"] == manifest["fingerprint"]
    assert manifest["notes"]["backbone"] == summary["inputs"]["backbone"], "what a registered version names"
    assert (
        summary["inputs"]["backbone"] == json.loads((world.root / "backbone/manifest.json").read_text())["fingerprint"]
    )
    assert summary["settings"]["held_out_share"] == 0.1
    assert (summary["triplets"], summary["held_out"], summary["epochs"]) == (42, 3, 2)
    assert summary["training_set"] == "fashioniq"
    assert isinstance(summary["findings"], list)


def test_the_trained_model_loads_whole_with_the_backbones_image_tower(world: Any, folder: Path) -> None:
    trained = QureModel.load(folder / "artifacts/model")
    backbone = QureModel.load(world.root / "backbone")
    assert trained.vision_fingerprint == backbone.vision_fingerprint
    assert not torch.equal(trained.query_tokens, backbone.query_tokens)
    assert trained.tokenizer is not None
    assert backbone.tokenizer is not None
    assert trained.tokenizer.to_json() == backbone.tokenizer.to_json()


def test_training_again_does_nothing(
    world: Any, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "qure")
    before = folder_digest(folder)
    monkeypatch.setattr(qure.training.stage, "_trainer", None)
    result: TrainResult = world.train(folder, epochs=2, held_out_share=0.1, checkpoint_every_steps=3)
    assert "nothing to do" in caplog.text
    assert result.epochs == 2
    assert folder_digest(folder) == before


def test_two_at_once_of_one_output_or_of_one_run_are_one_too_many(world: Any, folder: Path, tmp_path: Path) -> None:
    identity = json.loads((folder / "artifacts" / "training" / "summary.json").read_text())["identity"]
    run = Checkpoints(tmp_path / "work", Identity(**identity)).folder
    for held in (tmp_path / "artifacts", run):
        with alone(held), pytest.raises(StageFailed, match=f"another process is at work on {held}"):
            world.train(tmp_path, epochs=2, held_out_share=0.1)
    assert not list(tmp_path.iterdir()), "a refused start leaves nothing"


def test_other_settings_start_afresh_and_say_so(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qure.training.loop.Trainer._end_epoch", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.train(tmp_path, epochs=1, checkpoint_every_steps=1)
    (first,) = (tmp_path / "work").glob("run-*")
    caplog.set_level(logging.INFO, "qure")
    result = world.train(tmp_path, epochs=1, learning_rate=1e-3)
    assert f"unfinished training of other settings or inputs ({first.name})" in caplog.text
    assert "starts afresh" in caplog.text
    assert "going on" not in caplog.text
    assert result.steps == 6
    assert list((tmp_path / "work").iterdir()) == [first]


def test_outputs_are_replaced_by_other_settings(world: Any, tmp_path: Path) -> None:
    first = world.train(tmp_path, epochs=1)
    second = world.train(tmp_path, epochs=1, seed=1)
    assert first.fingerprint != second.fingerprint
    assert json.loads((second.model / "manifest.json").read_text())["fingerprint"] == second.fingerprint


def test_a_strategy_of_ones_own_trains_and_an_edit_of_its_file_trains_again(world: Any, tmp_path: Path) -> None:
    text = "def next_ones(ranking, *, count: int):\n    after = ranking.ranks - ranking.target_ranks[:, None]\n"
    negatives = {"strategy": "own.py:next_ones", "options": {"count": 3}, "definitions": 2}

    def trained(last_line: str, **changes: Any) -> TrainResult:
        (tmp_path / "own.py").write_text(text + last_line)
        overrides = with_code({"negatives": negatives | changes}, tmp_path)
        result: TrainResult = world.train(tmp_path, epochs=2, **overrides)
        return result

    first = trained("    return (after > 0) & (after <= count)\n")
    statistics = json.loads((first.training / "minings/1.json").read_text())
    assert statistics["size"]["q50"] == 3
    assert statistics["settings"]["code"] == (tmp_path / "own.py").read_text(), "who reads the model sees the code"
    written = (first.training / "summary.json").stat().st_mtime_ns
    trained("    return (after > 0) & (after <= count)\n")
    assert (first.training / "summary.json").stat().st_mtime_ns == written, "nothing was changed: nothing to do"
    second = trained("    return (after > 0) & (after <= 2 * count)\n")
    assert json.loads((second.training / "minings/1.json").read_text())["size"]["q50"] == 6
    with pytest.raises(BadInput, match=r"own\.py, line 3: NameError"):
        trained("    return aftr > 0\n")
    with pytest.raises(BadInput, match=r"options\.cuont"):
        trained("    return after > 0\n", options={"cuont": 3})


def test_cirr_has_one_corpus(world: Any, tmp_path: Path) -> None:
    result = world.train(tmp_path, "cirr", epochs=2, negatives={"shared_negatives": False, "definitions": 2})
    statistics = json.loads((result.training / "minings/1.json").read_text())
    assert statistics["corpus_size"] == [18, 18]
    assert statistics["queries"] == 12


@pytest.mark.parametrize("content", [None, '{"success": false}', '{"success": "yes"}', "[]", "{"])
def test_refuses_data_that_has_not_passed_validation(world: Any, tmp_path: Path, content: str | None) -> None:
    validation = tmp_path / "validation"
    validation.mkdir()
    if content is not None:
        (validation / "result.json").write_text(content)
    with pytest.raises(BadInput, match=r"result\.json"):
        world.train(tmp_path, validation=validation)
    assert not (tmp_path / "artifacts").exists()


def test_refuses_a_missing_validation_folder(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="qure validate"):
        world.train(tmp_path, validation=tmp_path / "nowhere")


def test_leaves_out_what_validation_excludes(copy: Any, tmp_path: Path, passed: Any) -> None:
    from qure.features.stage import precompute

    (copy.root / "data/fashioniq/images/dress03.png").unlink()
    excluded = {"fashioniq": {"images": ["dress03"], "queries": ["train/shirt/2"]}}
    validation = passed(tmp_path / "validation", copy.root / "data", ["fashioniq"], excluded)
    precompute(
        copy.settings(),
        "fashioniq",
        data=copy.root / "data",
        backbone=copy.root / "backbone",
        output=copy.root / "features" / "fashioniq",
        validation=validation,
        device="cpu",
    )
    result = copy.train(tmp_path, validation=validation, epochs=1)
    summary = json.loads((result.training / "summary.json").read_text())
    # dress03 is the target of one triplet and the reference of another.
    assert summary["triplets"] == 45 - 2 - 1
    assert summary["excluded"] == {"images": 1, "queries": 1}


def test_refuses_features_of_another_backbone_by_both_fingerprints(copy: Any, tmp_path: Path) -> None:
    from qure.models.build import build_catalogue_model

    old = QureModel.load(copy.root / "backbone").vision_fingerprint
    model = build_catalogue_model(copy.settings().backbone, ["a b"], seed=9)
    model.save(copy.root / "backbone")
    with pytest.raises(BadInput) as error:
        copy.train(tmp_path)
    assert str(old) in str(error.value)
    assert str(model.vision_fingerprint) in str(error.value)


def test_refuses_features_of_other_images(copy: Any, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(copy.root / "data/fashioniq/images/dress00.png")
    with pytest.raises(BadInput, match="other images"):
        copy.train(tmp_path)


def test_other_triplets_are_another_training(copy: Any, tmp_path: Path) -> None:
    first = copy.train(tmp_path, epochs=1)
    file = copy.root / "data/fashioniq/captions/cap.dress.train.json"
    rows = json.loads(file.read_text())
    rows[0]["captions"] = ["is entirely red", "has dots"]
    file.write_text(json.dumps(rows))
    assert copy.train(tmp_path, epochs=1).fingerprint != first.fingerprint


def test_refuses_a_training_set_without_settings(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cirr"):
        qure.training.stage.train(
            world.settings("fashioniq"),
            "cirr",
            data=world.root / "data",
            features=world.root / "features/cirr",
            backbone=world.root / "backbone",
            validation=None,
            output=tmp_path / "artifacts",
            work=tmp_path / "work",
        )


def test_damaged_negatives_of_an_interrupted_training_are_named(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"epochs": 2, "checkpoint_every_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr("qure.training.loop.epoch_findings", _interrupted_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            world.train(tmp_path, **changes)
    (sets,) = (tmp_path / "work").rglob("negatives.safetensors")
    sets.write_bytes(sets.read_bytes()[:-4])
    with pytest.raises(BadInput, match=r"damaged.*Remove"):
        world.train(tmp_path, **changes)


def test_training_moves_every_weight_but_the_frozen_ones(folder: Path, world: Any) -> None:
    trained = load_file(folder / "artifacts/model/model.safetensors")
    start = load_file(world.root / "backbone/model.safetensors")
    same = {name for name, tensor in trained.items() if torch.equal(tensor, start[name])}
    # The last layer's text half has no gradient, as published: nothing reads it. Weight decay leaves its zeros alone.
    last_text = {f"qformer.encoder.layer.1.{part}.bias" for part in ("intermediate.dense", "output.dense")}
    assert {name for name in same if not name.startswith("vision.")} == {
        "itm_head.weight",
        "itm_head.bias",
        "qformer.encoder.layer.1.output.LayerNorm.bias",
        *last_text,
    }
    assert {name for name in trained if name.startswith("vision.")} <= same


@pytest.mark.integration
def test_mlflow_gets_epochs_minings_findings_and_inputs(world: Any, tmp_path: Path) -> None:
    from qure.tracking import connect

    tracked = world.settings(epochs=2).model_copy(
        update={"tracking": TrackingSettings(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")}
    )
    result = qure.training.stage.train(
        tracked,
        "fashioniq",
        data=world.root / "data",
        features=world.root / "features/fashioniq",
        backbone=world.root / "backbone",
        validation=None,
        output=tmp_path / "artifacts",
        work=tmp_path / "work",
        device="cpu",
    )
    client = connect(tracked.tracking)
    experiment = client.get_experiment_by_name("qure")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`qure.stage` = 'train'")
    losses = [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")]
    history = (result.training / "history.jsonl").read_text().splitlines()
    assert losses == [json.loads(line)["loss"] for line in history]
    assert run.data.metrics["images_per_second"] > 0
    assert run.data.metrics["negatives_size_mean"] > 0
    assert "tail" in run.data.tags["finding.negatives"] or "fell back" in run.data.tags["finding.negatives"]
    assert run.data.params["negatives.search_window"] == "12"
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"data", "backbone", "features", "triplets"}
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {"minings", "training"}


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def _interrupted_in_the_second_epoch(record: dict[str, Any], **_: Any) -> list[tuple[str, str]]:
    if record["epoch"] == 1:
        raise KeyboardInterrupt
    return []


@pytest.mark.parametrize("training_set", ["fashioniq", "cirr"])
def test_data_is_opened_once(world: Any, tmp_path: Path, passed: Any, reads: Counter[Path], training_set: str) -> None:
    """An annotation file is read to see that it is what was validated, and to train on it; nothing is parsed twice."""
    data = (world.root / "data").resolve()
    validation = passed(tmp_path / "validation", data, [training_set])
    features = world.root / "features" / training_set
    reads.clear()
    world.train(tmp_path, training_set, validation=validation, epochs=2, plots=False)
    opened = {name: count for name, count in reads.items() if name.is_relative_to(data) and name.suffix == ".json"}
    annotations = set((data / training_set).rglob("*.json"))
    # CIRR's split file also says where the images lie.
    expected = {file: 2 if training_set == "fashioniq" or "captions" in file.parts else 3 for file in annotations}
    assert opened == expected
    assert reads[(validation / "result.json").resolve()] == 1
    assert reads[(validation / "images.parquet").resolve()] == 1
    assert reads[(features / "index.parquet").resolve()] == 1
    images = [name for name in reads if name.is_relative_to(data) and name.suffix != ".json"]
    assert images == [], "a training reads features, no images"
