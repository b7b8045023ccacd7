"""What of a data root is compared with DVC's record of it, made by DVC itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from qure.tracking.data_changes import Changes, data_changes, hidden_from_dvc


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data folder DVC has added."""
    root = tmp_path_factory.mktemp("project")
    (root / "data" / "set" / "images").mkdir(parents=True)
    (root / "data" / "set" / "captions.json").write_text('["red", "blue"]\r\n')
    for name in ("a", "b"):
        (root / "data" / "set" / "images" / f"{name}.png").write_bytes(name.encode() * 10)
    (root / ".dvcignore").write_text("*.swp\n")
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    for arguments in (["init", "--no-scm"], ["config", "cache.type", "copy"], ["add", "data"]):
        command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return root


@pytest.fixture
def changes(added: Path, tmp_path: Path) -> Callable[[], Changes | None]:
    """Asks about a copy of the project in `tmp_path`."""
    subprocess.run(["cp", "-a", f"{added}/.", tmp_path], check=True)
    (output,) = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"]
    return lambda: data_changes(tmp_path / "data", output)


def _without_listing(root: Path) -> None:
    for listing in (root / ".dvc" / "cache").rglob("*.dir"):
        listing.unlink()


def test_data_as_it_was_added(changes: Callable[[], Changes | None], tmp_path: Path) -> None:
    assert changes() is None
    (tmp_path / "data" / "set" / ".captions.json.swp").write_text("what .dvcignore names does not count")
    assert changes() is None
    _without_listing(tmp_path)
    assert changes() is None


def test_an_edited_annotation_file_of_the_same_size(changes: Callable[[], Changes | None], tmp_path: Path) -> None:
    captions = tmp_path / "data" / "set" / "captions.json"
    captions.write_text(captions.read_text().replace("red", "tan"))
    first = changes()
    assert first is not None
    assert first.says == "set/captions.json was edited"
    captions.write_text(captions.read_text().replace("tan", "sky"))
    second = changes()
    assert second is not None
    assert second.digest != first.digest


def test_files_that_came_and_went(changes: Callable[[], Changes | None], tmp_path: Path) -> None:
    images = tmp_path / "data" / "set" / "images"
    (images / "a.png").rename(images / "c.png")
    (tmp_path / "data" / "x.csv").write_text("1")
    found = changes()
    assert found is not None
    assert found.says == "set/images/a.png is missing, set/images/c.png is new, x.csv is new"
    (tmp_path / "data" / "y.csv").write_text("1")
    more = changes()
    assert more is not None
    assert more.says == "set/images/a.png is missing, set/images/c.png is new, x.csv is new, and 1 more"
    assert more.digest != found.digest


def test_another_picture(changes: Callable[[], Changes | None], tmp_path: Path) -> None:
    (tmp_path / "data" / "set" / "images" / "a.png").write_bytes(b"longer than before")
    found = changes()
    assert found is not None
    assert "bytes instead of" in found.says


def test_without_dvcs_listing_number_and_size_are_compared(
    changes: Callable[[], Changes | None], tmp_path: Path
) -> None:
    _without_listing(tmp_path)
    (tmp_path / "data" / "set" / "images" / "b.png").unlink()
    found = changes()
    assert found is not None
    assert "2 files instead of 3" in found.says


@pytest.mark.parametrize("content", [b"[cache\n", b"\xff"])
def test_with_a_broken_configuration_of_dvc_too(
    changes: Callable[[], Changes | None], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / ".dvc" / "config.local").write_bytes(content)
    assert changes() is None
    (tmp_path / "data" / "set" / "images" / "b.png").unlink()
    found = changes()
    assert found is not None
    assert "2 files instead of 3" in found.says


def test_a_cache_elsewhere_is_found(changes: Callable[[], Changes | None], tmp_path: Path) -> None:
    (tmp_path / ".dvc" / "cache").rename(tmp_path / "shared cache")
    with (tmp_path / ".dvc" / "config.local").open("a") as stream:
        stream.write("[cache]\n    dir = ../shared cache\n")
    captions = tmp_path / "data" / "set" / "captions.json"
    captions.write_text(captions.read_text().replace("red", "tan"))
    found = changes()
    assert found is not None
    assert "captions.json was edited" in found.says


def test_what_dvc_hides_is_what_dvc_leaves_out(added: Path, tmp_path: Path) -> None:
    """DVC itself says what it tracks of such a folder."""
    subprocess.run(["cp", "-a", f"{added}/.", tmp_path], check=True)
    images = tmp_path / "data" / "set" / "images"
    for name in ("c.tmp.png", "kept.tmp.png", "d.png", "e.swp"):
        (images / name).write_bytes(name.encode())
    (tmp_path / ".dvcignore").write_text("*.swp\n*.tmp.png\n!kept.tmp.png\n/data/set/images/d.png\n")
    names = [file.relative_to(tmp_path / "data").as_posix() for file in images.iterdir()]
    command = [sys.executable, "-m", "dvc", "add", "data", "--quiet"]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    digest = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    listing = json.loads((tmp_path / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).read_text())
    left_out = set(names) - {entry["relpath"] for entry in listing}
    assert left_out == {"set/images/c.tmp.png", "set/images/d.png", "set/images/e.swp"}
    assert set(hidden_from_dvc(tmp_path / "data", names)) == left_out
