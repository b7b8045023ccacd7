"""The table "Bad input" of the design, through the command line: message, exit code, and what is (not) written.

Commands run in this process, because importing Great Expectations anew for every cell would take minutes; one cell
runs as a real process, to show that nothing gets lost between the two.
"""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qure.cli import app

DRESS = "fashioniq/captions/cap.dress.train.json"
PARAMS: dict[str, Any] = {
    "training": {name: {"recipe": "catalogue"} for name in ("fashioniq", "cirr")},
    "validation": {"workers": 1},
}


@dataclass
class Project:
    """A folder with params.yaml and data/, as a user has it."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def output(self) -> Path:
        return self.root / "artifacts" / "fashioniq" / "validation"

    def settings(self, **validation: Any) -> None:
        # JSON is YAML too.
        changed = {**PARAMS, "validation": {**PARAMS["validation"], **validation}}
        (self.root / "params.yaml").write_text(json.dumps(changed))

    def edit(self, file: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
        rows = json.loads((self.data / file).read_text())
        change(rows)
        (self.data / file).write_text(json.dumps(rows))

    def image(self, split: str = "train", place: int = 0) -> Path:
        ids = json.loads((self.data / f"fashioniq/image_splits/split.dress.{split}.json").read_text())
        return self.data / "fashioniq" / "images" / f"{ids[place]}.jpg"


@pytest.fixture
def project(catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(catalogue, tmp_path / "data")
    place = Project(tmp_path)
    place.settings()
    monkeypatch.chdir(tmp_path)
    return place


@pytest.fixture
def qure(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command line; returns exit code and what it says, line breaks taken out."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            app(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


VALIDATE = ("validate", "--training-set", "fashioniq")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _web_page(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def _bomb(path: Path) -> None:
    """A small PNG whose header promises 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))))


BAD_IMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "no image file has this id"),
    "truncated": (_truncate, "cannot be decoded"),
    "empty": (_empty, "the file is empty"),
    "wrong type": (_web_page, "not an image of a known type"),
    "bomb": (_bomb, "refused before it is decoded"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_image(project: Project, qure: Callable[..., tuple[int, str]], kind: str) -> None:
    break_it, reason = BAD_IMAGES[kind]
    image = project.image()
    break_it(image)
    code, said = qure(*VALIDATE)
    assert code == 1
    assert image.stem in said
    assert reason in said
    assert "artifacts/fashioniq/validation/bad_rows.csv" in said
    assert json.loads((project.output / "result.json").read_text())["success"] is False
    code, said = qure("train", "--training-set", "fashioniq")
    assert (code, "did not pass validation" in said) == (2, True)
    assert {path.name for path in (project.root / "artifacts" / "fashioniq").iterdir()} == {"validation"}


def test_bad_images_that_are_tolerated(project: Project, qure: Callable[..., tuple[int, str]]) -> None:
    image = project.image()
    image.unlink()
    project.settings(tolerate={"image_missing": 1})
    assert qure(*VALIDATE)[0] == 0
    result = json.loads((project.output / "result.json").read_text())
    assert result["excluded"]["fashioniq"]["images"] == [image.stem]
    assert result["queries"]["fashioniq/train"]["kept"] < result["queries"]["fashioniq/train"]["rows"]


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_unusual_images_are_fine(project: Project, qure: Callable[..., tuple[int, str]]) -> None:
    """CMYK, palette, 16 bit and EXIF-rotated; that they are decoded right is tested where they are decoded."""
    exif = Image.Exif()
    exif[0x0112] = 8
    unusual = [
        _saved(Image.new("CMYK", (40, 40)), "JPEG"),
        _saved(Image.new("P", (40, 41)), "PNG"),
        _saved(Image.new("I;16", (40, 42)), "PNG"),
        _saved(Image.new("L", (40, 43)), "PNG"),
        _saved(Image.new("RGBA", (40, 44)), "PNG"),
        _saved(Image.new("RGB", (40, 45)), "JPEG", exif=exif),
    ]
    for place, content in enumerate(unusual):
        project.image(place=place).write_bytes(content)
    assert qure(*VALIDATE)[0] == 0


BAD_ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], None], str, str]] = {
    "unknown id": (lambda rows: rows[3].update(target="B00NOBODY0"), "row 3, field 'target'", "'B00NOBODY0'"),
    "duplicate triplet": (
        lambda rows: rows.__setitem__(4, dict(rows[3])),
        "row 4, field 'captions'",
        "the same reference, target and text as an earlier row",
    ),
    "target = reference": (
        lambda rows: rows[3].update(target=rows[3]["candidate"]),
        "row 3, field 'target'",
        "target and reference are the same image",
    ),
    "empty text": (
        lambda rows: rows[3].update(captions=["", " "]),
        "row 3, field 'captions'",
        "the modification text is empty",
    ),
    "id with /": (lambda rows: rows[3].update(candidate="a/b"), "row 3, field 'candidate'", "contains '/'"),
    "id with ..": (lambda rows: rows[3].update(candidate="a..b"), "row 3, field 'candidate'", "contains '..'"),
    "wrong shape of a row": (lambda rows: rows[3].pop("captions"), "row 3, field 'captions'", "the field is missing"),
    "wrong type": (
        lambda rows: rows[3].update(captions={"one": "is red"}),
        "row 3, field 'captions'",
        "must be a list, not an object",
    ),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_row(project: Project, qure: Callable[..., tuple[int, str]], kind: str) -> None:
    change, place, problem = BAD_ROWS[kind]
    project.edit(DRESS, change)
    code, said = qure(*VALIDATE)
    assert code == 2
    assert f"data/{DRESS}, {place}" in said
    assert problem in said
    assert not (project.root / "artifacts").exists() or not list((project.root / "artifacts").rglob("*.*"))
    code, said = qure("train", "--training-set", "fashioniq")
    assert (code, "Run 'qure validate' first" in said) == (2, True)


BAD_FILES: dict[str, tuple[Callable[[str], str], str]] = {
    "JSON cut off": (lambda text: text[: len(text) // 2], "not valid JSON at line"),
    "empty file": (lambda text: "", "not valid JSON at line"),
    "wrong shape of the file": (lambda text: '{"rows": []}', "must hold a list"),
    "repeated key": (lambda text: '[{"target": "a", "target": "b"}]', "key 'target' occurs twice"),
    "not a number": (lambda text: "[NaN]", "NaN is not a JSON number"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("file", [DRESS, "fashioniq/image_splits/split.shirt.val.json", "hp_fashioniq/hpfiq.json"])
def test_bad_file(project: Project, qure: Callable[..., tuple[int, str]], kind: str, file: str) -> None:
    if (kind, file) == ("wrong shape of the file", "hp_fashioniq/hpfiq.json"):
        content, problem = "[]", "must hold an object"
    else:
        change, problem = BAD_FILES[kind]
        content = change((project.data / file).read_text())
    (project.data / file).write_text(content)
    code, said = qure(*VALIDATE)
    assert code == 2
    assert f"data/{file}" in said
    assert problem in said
    assert not (project.root / "artifacts").exists()


def test_missing_file(project: Project, qure: Callable[..., tuple[int, str]]) -> None:
    (project.data / DRESS).unlink()
    code, said = qure(*VALIDATE)
    assert code == 2
    assert f"data/{DRESS}: the file does not exist" in said
    assert "qure catalogue" in said
    assert not (project.root / "artifacts").exists()


def test_a_real_process_says_the_same(project: Project) -> None:
    project.edit(DRESS, BAD_ROWS["empty text"][0])
    done = _process(project, *VALIDATE)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: data/{DRESS}, row 3, field 'captions': the modification text is empty: ''.")
    assert "Traceback" not in done.stderr
    assert not project.output.exists()


def test_killed_process_leaves_no_half_result(project: Project, qure: Callable[..., tuple[int, str]]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "qure.cli", *VALIDATE],
        cwd=project.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(4)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not project.output.exists()
    assert not (project.root / "artifacts").exists() or not list((project.root / "artifacts").rglob("*.json"))
    assert qure(*VALIDATE)[0] == 0
    assert json.loads((project.output / "result.json").read_text())["success"] is True


def test_features_of_another_backbone(project: Project, qure: Callable[..., tuple[int, str]]) -> None:
    project.settings()
    _pretrain(project, steps=1)
    for command in (VALIDATE, ("backbone",), ("precompute", "--training-set", "fashioniq")):
        assert qure(*command)[0] == 0
    of_features = _vision_fingerprint(project)
    _pretrain(project, steps=2)
    assert qure("backbone")[0] == 0
    code, said = qure("train", "--training-set", "fashioniq")
    assert code == 2
    assert "artifacts/fashioniq/features/fashioniq/manifest.json" in said
    assert of_features in said
    assert _vision_fingerprint(project) in said
    assert not (project.root / "artifacts" / "fashioniq" / "model").exists()


def _pretrain(project: Project, *, steps: int) -> None:
    backbone = {"pretraining": {"steps": steps, "batch_size": 8}}
    (project.root / "params.yaml").write_text(json.dumps({**PARAMS, "backbone": backbone}))


def _vision_fingerprint(project: Project) -> str:
    manifest = json.loads((project.root / "artifacts" / "backbone" / "manifest.json").read_text())
    return str(manifest["vision_fingerprint"])


def _process(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qure.cli", *arguments], cwd=project.root, capture_output=True, text=True, check=False
    )
