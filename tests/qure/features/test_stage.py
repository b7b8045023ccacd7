"""Precompute: the right features, whole or not at all, resumable, divisible, and refused where they do not belong."""

import json
import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qure.config import Settings, TrackingSettings
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput, StageFailed
from qure.features import stage
from qure.features.images import images_fingerprint
from qure.features.stage import collect, precompute
from qure.features.store import FeatureStore
from qure.images import ImageError, normalise, prepare_image
from qure.models.build import build_catalogue_model
from qure.models.model import QureModel
from qure.scratch import alone


def digests(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def changed(settings: Settings, **features) -> Settings:
    return settings.model_copy(update={"features": settings.features.model_copy(update=features)})


def test_features_are_the_vision_towers_output(settings, data, backbone, tmp_path):
    summary = precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "features")
    store, model = FeatureStore.open(tmp_path / "features"), QureModel.load(backbone)
    assert store.ids == tuple(f"B{number:03d}" for number in range(23))
    assert store.dtype == torch.float16
    assert store.shape == (5, 8)
    for image_id in ("B000", "B017"):
        image = (data / "fashioniq" / "images" / f"{image_id}.png").read_bytes()
        expected = model.encode_vision(normalise(prepare_image(image, 16, name="x")[np.newaxis]))
        found = store.read(store.rows([image_id]))
        torch.testing.assert_close(found.float(), expected, atol=2e-3, rtol=1e-3)
    assert summary["images"] == 23
    assert summary["reused_images"] == 0
    assert summary["fingerprint"] == store.fingerprint
    index = pd.read_parquet(tmp_path / "features" / "index.parquet")
    assert index["shard"].tolist() == [number // 5 for number in range(23)]
    assert list(tmp_path.glob(".*")) == []


def test_what_validation_left_is_read_once_and_every_image_once(settings, data, backbone, tmp_path, passed, reads):
    validation = passed(tmp_path / "validation", data)
    reads.clear()
    arguments = {"data": data, "backbone": backbone, "validation": validation}
    assert precompute(settings, "fashioniq", **arguments, output=tmp_path / "features")["images"] == 23
    assert {reads[(validation / name).resolve()] for name in ("result.json", "images.parquet")} == {1}
    images = (data / "fashioniq" / "images").resolve()
    assert {image.name: reads[image] for image in images.iterdir()} == {f"B{n:03d}.png": 1 for n in range(23)}


def test_two_at_once_of_one_store_are_one_too_many(settings, data, backbone, tmp_path):
    with alone(tmp_path / "features"), pytest.raises(StageFailed, match=r"another process is at work on .*/features"):
        precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "features")
    assert list(tmp_path.glob(".*")) == []
    assert not (tmp_path / "features").exists()


def test_same_input_gives_the_same_bytes(settings, data, backbone, tmp_path):
    for name in ("one", "two"):
        precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_stored_dtype(settings, data, backbone, tmp_path, dtype):
    precompute(changed(settings, dtype=dtype), "fashioniq", data=data, backbone=backbone, output=tmp_path / "f")
    assert FeatureStore.open(tmp_path / "f").read([0]).dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]


@pytest.mark.parametrize("shares", [2, 3, 7])
def test_parallel_shares_merge_to_the_store_of_one_run(settings, data, backbone, tmp_path, shares):
    arguments = {"data": data, "backbone": backbone}
    precompute(settings, "fashioniq", **arguments, output=tmp_path / "whole")
    outputs = [tmp_path / f"share-{number}" for number in range(shares)]
    for number, output in enumerate(outputs):
        precompute(settings, "fashioniq", **arguments, output=output, shard=(number, shares))
    collect(outputs[::-1], tmp_path / "merged")
    assert digests(tmp_path / "merged") == digests(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["manifest", "another share", "shard"])
def test_shares_are_merged_again_where_the_merged_store_is_not_theirs(settings, data, backbone, tmp_path, damage):
    arguments = {"data": data, "backbone": backbone}
    outputs = [tmp_path / f"share-{number}" for number in (0, 1)]
    for number, output in enumerate(outputs):
        precompute(settings, "fashioniq", **arguments, output=output, shard=(number, 2))
    merged = tmp_path / "merged"
    collect(outputs, merged)
    before, written = digests(merged), merged.stat().st_ino
    collect(outputs, merged)
    assert merged.stat().st_ino == written, "what is theirs is left alone"
    if damage == "manifest":
        (merged / "manifest.json").write_text("{}")
    elif damage == "shard":
        next(merged.glob("*.safetensors")).unlink()
    else:
        manifest = json.loads((merged / "manifest.json").read_text())
        (merged / "manifest.json").write_text(json.dumps(manifest | {"share": [0, 2]}))
    collect(outputs, merged)
    assert digests(merged) == before


def test_shares_that_do_not_belong_together_are_refused(settings, data, backbone, tmp_path):
    arguments = {"data": data, "backbone": backbone}
    for number in (0, 1):
        precompute(settings, "fashioniq", **arguments, output=tmp_path / f"of2-{number}", shard=(number, 2))
    precompute(settings, "fashioniq", **arguments, output=tmp_path / "of3-1", shard=(1, 3))
    precompute(changed(settings, dtype="bf16"), "fashioniq", **arguments, output=tmp_path / "bf16", shard=(1, 2))
    for outputs, reason in (
        (["of2-0"], r"shares \[1\] of 2 are missing"),
        (["of2-0", "of2-0"], "share 0 of 2 is also"),
        (["of2-0", "of3-1"], "share 1 of 3"),
        (["of2-0", "bf16"], "dtype is bf16, that of .*of2-0 is fp16"),
        ([], "no shares"),
    ):
        with pytest.raises(BadInput, match=reason):
            collect([tmp_path / name for name in outputs], tmp_path / "merged")
        assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_share_number_out_of_range_is_refused(settings, data, backbone, tmp_path, shard):
    with pytest.raises(BadInput, match="shard"):
        precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f", shard=shard)


def test_unknown_image_set_is_refused(settings, data, backbone, tmp_path):
    with pytest.raises(BadInput, match="'hp-fashioniq'; there are circo, cirr, fashioniq"):
        precompute(settings, "hp-fashioniq", data=data, backbone=backbone, output=tmp_path / "f")


def test_broken_image_is_named_and_nothing_is_written(settings, data, backbone, tmp_path):
    file = data / "fashioniq" / "images" / "B013.png"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ImageError, match=r"B013\.png"):
        precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_images_excluded_by_validation_are_left_out(settings, data, backbone, tmp_path, passed):
    (data / "fashioniq" / "images" / "B013.png").write_bytes(b"")
    excluded = {"fashioniq": {"images": ["B013"], "queries": []}, "hp-fashioniq": {"images": ["B002"], "queries": []}}
    validation = passed(tmp_path / "validation", data, ["fashioniq"], excluded)
    precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f", validation=validation)
    store = FeatureStore.open(tmp_path / "f")
    assert len(store) == 21
    with pytest.raises(BadInput, match=r"no features of image 'B013' and 1 other\."):
        store.rows(["B001", "B013", "B002"])


def test_an_image_set_of_which_nothing_is_left_is_refused(settings, data, backbone, tmp_path, passed):
    every = [file.stem for file in (data / "fashioniq" / "images").iterdir()]
    validation = passed(tmp_path / "validation", data, ["fashioniq"], {"fashioniq": {"images": every, "queries": []}})
    with pytest.raises(BadInput, match="image set 'fashioniq' holds no images"):
        precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f", validation=validation)
    assert not (tmp_path / "f").exists()


def test_features_that_do_not_fit_the_dtype_are_refused_by_image(settings, data, tmp_path):
    model = build_catalogue_model(settings.backbone, ["a red dress"], seed=0)
    with torch.no_grad():
        model.vision.encoder.layers[0].mlp.fc2.bias.fill_(1e6)
    model.save(tmp_path / "backbone")
    with pytest.raises(StageFailed, match=r"image 'B000' are not finite in fp16; set features.dtype to bf16"):
        precompute(settings, "fashioniq", data=data, backbone=tmp_path / "backbone", output=tmp_path / "f")


# --- what they belong to ---


def test_features_of_another_backbone_are_refused_naming_both(settings, data, backbone, tmp_path):
    precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f")
    other = build_catalogue_model(settings.backbone, ["a red dress"], seed=1)
    other.save(tmp_path / "other")
    own = QureModel.load(backbone, vision=False).vision_fingerprint
    FeatureStore.open(tmp_path / "f", own)
    with pytest.raises(
        BadInput, match=f"another backbone: vision_fingerprint is {own}, expected {other.vision_fingerprint}"
    ):
        FeatureStore.open(tmp_path / "f", other.vision_fingerprint)


def fingerprint_of(data):
    opened = ValidatedData(data)
    return images_fingerprint(opened.images("fashioniq"), opened.passed_images("fashioniq"))


def test_features_of_another_data_version_are_refused_naming_both(settings, data, backbone, tmp_path):
    precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "f")
    before = fingerprint_of(data)
    FeatureStore.open(tmp_path / "f", expected_images_fingerprint=before)
    Image.new("RGB", (30, 30)).save(data / "fashioniq" / "images" / "B100.png")
    after = fingerprint_of(data)
    with pytest.raises(BadInput, match=f"other images: images_fingerprint is {before}, expected {after}"):
        FeatureStore.open(tmp_path / "f", expected_images_fingerprint=after)


def test_one_changed_byte_in_an_image_moves_the_fingerprint(settings, data, backbone, tmp_path):
    arguments = {"data": data, "backbone": backbone}
    first = precompute(settings, "fashioniq", **arguments, output=tmp_path / "one")["fingerprint"]
    for name, options in (("B004", {}), ("B004", {"compress_level": 1})):
        Image.new("RGB", (24, 20), "red").save(data / "fashioniq" / "images" / f"{name}.png", **options)
        found = precompute(settings, "fashioniq", **arguments, output=tmp_path / "one")["fingerprint"]
        assert found != first
        first = found


# --- killed runs ---


def test_a_run_that_failed_goes_on_behind_its_last_shard(settings, data, backbone, tmp_path, monkeypatch):
    arguments = {"data": data, "backbone": backbone, "output": tmp_path / "f"}
    precompute(settings, "fashioniq", **{**arguments, "output": tmp_path / "undisturbed"})
    computed = []
    real = stage.compute_features

    def third_fails(*arguments):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(stage, "compute_features", third_fails)
    with pytest.raises(KeyboardInterrupt):
        precompute(settings, "fashioniq", **arguments)
    assert not (tmp_path / "f").exists()
    monkeypatch.undo()
    summary = precompute(settings, "fashioniq", **arguments)
    assert summary["reused_images"] == 10
    assert digests(tmp_path / "f") == digests(tmp_path / "undisturbed")


@pytest.mark.parametrize("change", ["image", "dtype", "backbone"])
def test_finished_shards_of_other_input_are_not_reused(settings, data, backbone, tmp_path, monkeypatch, change):
    arguments = {"data": data, "backbone": backbone, "output": tmp_path / "f"}
    monkeypatch.setattr(stage, "write_store", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        precompute(settings, "fashioniq", **arguments)
    monkeypatch.undo()
    reused = 0
    if change == "image":  # other pixels, same size in bytes
        file = data / "fashioniq" / "images" / "B004.png"
        data_bytes = bytearray(file.read_bytes())
        replacement = (data / "fashioniq" / "images" / "B005.png").read_bytes()
        file.write_bytes(replacement[: len(data_bytes)].ljust(len(data_bytes), b"\0"))
        reused = 18
    elif change == "dtype":
        settings = changed(settings, dtype="bf16")
    else:
        build_catalogue_model(settings.backbone, ["a red dress"], seed=1).save(backbone)
    assert precompute(settings, "fashioniq", **arguments)["reused_images"] == reused


def test_damaged_finished_shard_is_computed_again(settings, data, backbone, tmp_path, monkeypatch):
    arguments = {"data": data, "backbone": backbone}
    monkeypatch.setattr(stage, "write_store", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        precompute(settings, "fashioniq", **arguments, output=tmp_path / "f")
    monkeypatch.undo()
    for number, file in enumerate(sorted((tmp_path / ".f.work").iterdir(), key=lambda file: file.name[17:])):
        if number < 2:
            file.write_bytes(file.read_bytes()[: 10 + 200 * number])
    assert precompute(settings, "fashioniq", **arguments, output=tmp_path / "f")["reused_images"] == 13
    precompute(settings, "fashioniq", **arguments, output=tmp_path / "undisturbed")
    assert digests(tmp_path / "f") == digests(tmp_path / "undisturbed")


def slow_run(settings: Settings, data: Path, backbone: Path, output: Path) -> None:
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    real = stage.compute_features

    def slowly(*arguments):
        time.sleep(0.2)  # so that the signal arrives between two shards
        return real(*arguments)

    stage.compute_features = slowly
    precompute(settings, "fashioniq", data=data, backbone=backbone, output=output)


@pytest.mark.usefixtures("no_bytecode")
def test_killed_run_goes_on_and_gives_the_same(settings, data, backbone, tmp_path):
    output, work = tmp_path / "f", tmp_path / ".f.work"
    for finished in (1, 3):
        arguments = (settings, data, backbone, output)
        process = multiprocessing.get_context("fork").Process(target=slow_run, args=arguments)
        process.start()
        wait_for(lambda finished=finished: len(list(work.glob("*.safetensors"))) >= finished, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not output.exists()
    summary = precompute(settings, "fashioniq", data=data, backbone=backbone, output=output)
    assert 15 <= summary["reused_images"] < 23
    precompute(settings, "fashioniq", data=data, backbone=backbone, output=tmp_path / "undisturbed")
    assert digests(output) == digests(tmp_path / "undisturbed")
    assert not work.exists()


def wait_for(condition, process: multiprocessing.Process, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < end, "the run wrote nothing"
        time.sleep(0.01)


def test_the_run_tells_what_was_computed_from_what(
    settings: Settings, data: Path, backbone: Path, tmp_path: Path, sqlite_uri: str
) -> None:
    from qure.tracking import connect, data_fingerprint

    tracked = settings.model_copy(update={"tracking": TrackingSettings(uri=sqlite_uri)})
    arguments = {"data": data, "backbone": backbone}
    summary = precompute(tracked, "fashioniq", **arguments, output=tmp_path / "whole")
    precompute(tracked, "fashioniq", **arguments, output=tmp_path / "share", shard=(1, 2))
    client = connect(tracked.tracking)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.`qure.stage` = 'precompute'", order_by=["attributes.start_time ASC"])
    assert [run.info.run_name for run in runs] == ["precompute fashioniq", "precompute fashioniq 1-of-2"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs}) == 1
    whole, share = runs
    assert (whole.data.metrics["images"], share.data.metrics["images"]) == (23, 10)
    assert whole.data.tags["qure.features"] == summary["fingerprint"]
    assert whole.data.params["features.dtype"] == "fp16"
    assert {"qure.commit", "environment.torch"} <= whole.data.tags.keys()
    read = {one.dataset.name: one.dataset.source for one in whole.inputs.dataset_inputs}
    assert read["data"] == data_fingerprint(data)
    assert read.keys() == {"data", "backbone"}
