"""Shares of feature computation: how many there may be, and that merging them writes what nobody else is reading."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.shares import MOST_SHARES, carried, features_key, merge_shares, shares_of
from qure.benchmarks import image_sets_of, training_sets
from qure.config import Settings
from qure.errors import BadInput
from qure.features.stage import precompute
from qure.models.build import build_catalogue_model

SETTINGS = {
    "training": {"fashioniq": {"recipe": "catalogue"}},
    "backbone": {
        "vision": {"image_size": 16, "patch_size": 8, "width": 8, "layers": 1, "heads": 2},
        "qformer": {"hidden": 8, "layers": 1, "heads": 2, "intermediate": 8, "query_tokens": 2, "embedding": 4},
    },
    "tracking": {"uri": None},
}


@dataclass
class Given:
    """An artifact as Kubeflow hands it to a task."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize("training_set", training_sets())
def test_every_share_of_every_image_set_is_listed_once(training_set: str) -> None:
    image_sets = image_sets_of(training_set)
    most = MOST_SHARES // len(image_sets)
    listed = shares_of(training_set, most)
    assert {(one["image_set"], one["shard"]) for one in listed} == {
        (image_set, shard) for image_set in image_sets for shard in range(most)
    }
    assert len(listed) <= MOST_SHARES


@pytest.mark.parametrize(
    ("training_set", "shards", "remedy"),
    [("cirr", 65, "From 1 to 64"), ("fashioniq", 129, "From 1 to 128"), ("cirr", 0, "From 1 to 64")],
)
def test_more_shares_than_a_run_can_hold_are_refused(training_set: str, shards: int, remedy: str) -> None:
    with pytest.raises(BadInput, match="at most 128 shares") as refusal:
        shares_of(training_set, shards)
    assert refusal.value.field == "shards"
    assert remedy in str(refusal.value)


def test_features_are_named_after_all_that_decides_them() -> None:
    settings = Settings.model_validate(SETTINGS)
    validation, backbone = Given("v", {"fingerprint": "data rules code"}), Given("b", {"fingerprint": "weights"})
    key = features_key(settings, validation, backbone)
    assert key == features_key(settings, validation, backbone)
    other = Settings.model_validate(SETTINGS | {"features": {"dtype": "bf16"}})
    changes = [
        (settings, Given("v", {"fingerprint": "data rules other"}), backbone),
        (settings, validation, Given("b", {"fingerprint": "others"})),
        (other, validation, backbone),
    ]
    assert len({key, *(features_key(*change) for change in changes)}) == 4


def test_an_artifact_without_a_fingerprint_is_refused() -> None:
    with pytest.raises(BadInput, match="no fingerprint") as refusal:
        carried(Given("/artifacts/validation"))
    assert refusal.value.file is not None
    assert "caching off" in str(refusal.value)


@pytest.fixture
def shares(catalogue: Path, tmp_path: Path) -> list[Given]:
    """Two shares of the catalogue's garments, the last one first."""
    settings = Settings.model_validate(SETTINGS)
    build_catalogue_model(settings.backbone, ["a red dress"], seed=0).save(tmp_path / "backbone")
    made = []
    for number in (1, 0):
        folder = tmp_path / f"share-{number}"
        arguments = {"data": catalogue, "backbone": tmp_path / "backbone", "output": folder, "device": "cpu"}
        precompute(settings, "fashioniq", shard=(number, 2), **arguments)
        made.append(Given(str(folder), {"image_set": "fashioniq", "key": "k"}))
    return made


def test_merged_shares_lie_where_the_artifact_says(shares: list[Given], tmp_path: Path) -> None:
    from components.workspace import content_folder
    from qure.features.store import FeatureStore

    for workspace in ("", str(tmp_path / "shared")):
        artifact = str(tmp_path / f"features{bool(workspace)}")
        folder, found = merge_shares(shares, artifact, workspace)
        assert content_folder(artifact) == folder
        assert len(FeatureStore.open(folder / "fashioniq").ids) == found["fashioniq"]["images"]
    assert folder == tmp_path / "shared" / "features" / "k" / "collected"


def test_what_was_merged_already_is_left_alone(shares: list[Given], tmp_path: Path) -> None:
    """Another run's training may be reading it: nothing is written, and the answer is the same."""
    first, found = merge_shares(shares, str(tmp_path / "one"), str(tmp_path / "shared"))
    before = (first / "fashioniq").stat().st_ino
    second, again = merge_shares(shares, str(tmp_path / "two"), str(tmp_path / "shared"))
    assert (second, again) == (first, found)
    assert (first / "fashioniq").stat().st_ino == before
    shard = next((first / "fashioniq").glob("shard-*"))
    shard.unlink()
    merge_shares(shares, str(tmp_path / "three"), str(tmp_path / "shared"))
    assert shard.is_file(), "what is not whole is made again"
