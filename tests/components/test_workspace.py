"""Big outputs: in the artifact itself, or in a workspace that the artifact points to."""

from pathlib import Path

import pytest

from components.workspace import content_folder, deliver, place_output, scratch
from qure.errors import BadInput


def test_without_a_workspace_the_artifact_is_the_place(tmp_path: Path) -> None:
    artifact = str(tmp_path / "artifact")
    assert place_output(artifact, "", "features", "key") == Path(artifact) == content_folder(artifact)


def test_with_a_workspace_the_artifact_points(tmp_path: Path) -> None:
    artifact, workspace = str(tmp_path / "artifact"), tmp_path / "workspace"
    folder = place_output(artifact, str(workspace), "features", "key")
    assert folder == workspace / "features" / "key"
    folder.mkdir()
    assert content_folder(artifact) == folder
    assert [file.name for file in Path(artifact).iterdir()] == ["location.json"]


def test_equal_content_has_one_place(tmp_path: Path) -> None:
    places = {place_output(str(tmp_path / name), str(tmp_path / "workspace"), "data", "key") for name in ("a", "b")}
    assert len(places) == 1


def test_a_workspace_that_was_emptied_is_said(tmp_path: Path) -> None:
    artifact = str(tmp_path / "artifact")
    place_output(artifact, str(tmp_path / "workspace"), "data", "key")
    with pytest.raises(BadInput, match="no longer holds"):
        content_folder(artifact)


@pytest.mark.parametrize("key", ["..", "", ".", "a/b", "/etc"])
def test_no_key_leaves_the_workspace(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadInput, match="folder of the workspace"):
        place_output(str(tmp_path / "artifact"), str(tmp_path / "workspace"), "data", key)


def test_scratch_is_the_same_for_a_task_that_is_tried_again(tmp_path: Path) -> None:
    artifact = str(tmp_path / "artifact")
    for workspace in ("", str(tmp_path / "workspace")):
        first = scratch(artifact, workspace, "train", "key")
        (first / "checkpoint").write_text("x")
        assert (scratch(artifact, workspace, "train", "key") / "checkpoint").read_text() == "x"


def test_a_delivered_folder_stays_for_another_try(tmp_path: Path) -> None:
    source, artifact = tmp_path / "source", tmp_path / "artifact"
    source.mkdir()
    (source / "model").write_text("x")
    for _ in range(2):
        deliver(source, str(artifact))
    assert (artifact / "model").read_text() == (source / "model").read_text() == "x"
