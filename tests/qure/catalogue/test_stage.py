"""The rendered data root: the same bytes everywhere, whole or not at all, in the published layouts."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.catalogue import stage
from qure.config import CatalogueSettings, Settings
from qure.datasets.image_store import open_images
from qure.errors import BadInput
from qure.files import fingerprint, folder_digest

SMALL = {"catalogue": {"scale": 0.02}, "training": {}}

RENDER = """
import sys
from pathlib import Path
from qure.catalogue.stage import render
from qure.config import Settings
render(Settings.model_validate({"catalogue": {"scale": 0.02}, "training": {}}), Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "data"
    stage.render(Settings.model_validate(SMALL), root)
    return root


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_bytes_do_not_depend_on_process_or_hash_seed(small: Path, tmp_path: Path, hash_seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Pacific/Auckland", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", RENDER, str(tmp_path / "data")], check=True, env=environment)
    assert folder_digest(tmp_path / "data") == folder_digest(small)


def test_another_seed_gives_other_images_and_captions() -> None:
    one, other = (
        dict(file for plan in plans for file in plan.files.items())
        for plans in (stage.plan_catalogue(CatalogueSettings(seed=seed, scale=0.02)) for seed in (1, 2))
    )
    assert one.keys() == other.keys()
    assert [path for path in one if one[path] == other[path]] == ["README.md"]


def test_annotations_and_pixels_are_those_of_record() -> None:
    """Stored digests: what is planned and drawn changes on purpose only (encoders are not part of them)."""
    chosen = CatalogueSettings(seed=7, scale=0.02)
    plans = stage.plan_catalogue(chosen)
    assert fingerprint([[path, text] for plan in plans for path, text in plan.files.items()]) == PLAN_DIGEST
    pictures = [picture for plan in plans for picture in plan.pictures][::40]
    assert fingerprint([stage.draw(picture, chosen).tobytes().hex() for picture in pictures]) == PIXEL_DIGEST


PLAN_DIGEST = "069dd7afd579cbfc142554845a04265faf9dff86bb52641442fd36271e03b5bc"
PIXEL_DIGEST = "856fde6c2d708a591e2514982626fafd87e624350987b5056fc37d5691183677"


def test_default_counts() -> None:
    plans = stage.plan_catalogue(CatalogueSettings())
    pictures = Counter("/".join(picture.path.split("/")[:2]) for plan in plans for picture in plan.pictures)
    assert pictures == {
        "fashioniq/images": 3 * (600 + 400 + 120),
        "cirr/train": 1200,
        "cirr/dev": 402,
        "cirr/test1": 240,
        "circo/COCO2017_unlabeled": 1200,
    }


def test_readers_take_the_rendered_data(catalogue: Path) -> None:
    counts = {split: len(fashioniq.read_triplets(catalogue / "fashioniq", split)) for split in fashioniq.SPLITS}
    assert counts == {"train": 450, "val": 60, "test": 24}
    galleries = [len(fashioniq.read_gallery(catalogue / "fashioniq", "val", c).ids) for c in fashioniq.CATEGORIES]
    assert galleries == [40, 40, 40]
    assert {split: len(cirr.read_triplets(catalogue / "cirr", split)) for split in cirr.SPLITS} == {
        "train": 240, "val": 50, "test1": 24,
    }  # fmt: skip
    assert {split: len(circo.read_triplets(catalogue / "circo", split)) for split in circo.SPLITS} == {
        "val": 10, "test": 15,
    }  # fmt: skip
    assert len(circo.read_gallery(catalogue / "circo").ids) == 120
    pairs = hp_fashioniq.read_pairs(catalogue / "hp_fashioniq")
    assert len({pair.person for pair in pairs}) == 3
    assert len(pairs) == 3 * 2 * 20


def test_withheld_answers_are_not_in_the_files(catalogue: Path) -> None:
    for triplets in (
        fashioniq.read_triplets(catalogue / "fashioniq", "test"),
        cirr.read_triplets(catalogue / "cirr", "test1"),
        circo.read_triplets(catalogue / "circo", "test"),
    ):
        assert {(triplet.target, triplet.answers) for triplet in triplets} == {(None, ())}


@pytest.mark.parametrize(("benchmark", "form"), [("fashioniq", "JPEG"), ("cirr", "PNG"), ("circo", "JPEG")])
def test_images_are_rgb_of_the_chosen_size_and_all_different(catalogue: Path, benchmark: str, form: str) -> None:
    store = open_images(catalogue / benchmark)
    contents = {store.read(image_id) for image_id in store.ids}
    assert len(contents) == len(store)
    for content in sorted(contents)[:20]:
        image = Image.open(io.BytesIO(content))
        image.load()
        assert (image.format, image.mode, image.size) == (form, "RGB", (64, 64))


def test_an_older_rendering_is_replaced(small: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    settings = Settings.model_validate({"catalogue": {"scale": 0.02, "seed": 3}, "training": {}})
    stage.render(settings, root)
    stage.render(Settings.model_validate(SMALL), root)
    assert folder_digest(root) == folder_digest(small)
    assert list(tmp_path.iterdir()) == [root]


def test_data_of_a_user_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data" / "fashioniq").mkdir(parents=True)
    with pytest.raises(BadInput, match="holds data that was not rendered here"):
        stage.render(Settings.model_validate(SMALL), tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == [tmp_path / "data" / "fashioniq"]


def test_a_file_behind_two_dots_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(BadInput, match="this is a file, not a folder"):
        stage.render(Settings.model_validate(SMALL), tmp_path / "new" / ".." / "README.md")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_link_to_another_disk_stays(small: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tmp_path / "disk" / "data")
    with pytest.raises(BadInput, match=r"a link to nothing: no folder is at .*disk/data"):
        stage.render(Settings.model_validate(SMALL), tmp_path / "data")
    (tmp_path / "disk" / "data").mkdir(parents=True)
    stage.render(Settings.model_validate(SMALL), tmp_path / "data")
    assert (tmp_path / "data").is_symlink()
    assert folder_digest(tmp_path / "disk" / "data") == folder_digest(small)


def test_a_failure_leaves_the_older_rendering(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    stage.render(Settings.model_validate(SMALL), root)
    real = stage.encode
    calls = iter(range(30))

    def failing(*arguments: object) -> bytes:
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "encode", failing)
    with pytest.raises(OSError, match="No space"):
        stage.render(Settings.model_validate(SMALL), root)
    assert folder_digest(root) == folder_digest(small)
    assert list(tmp_path.iterdir()) == [root]


def test_larger_images_are_the_same_pictures(tmp_path: Path) -> None:
    chosen = CatalogueSettings(scale=0.02, image_size=128)
    picture = stage.plan_catalogue(chosen)[0].pictures[0]
    large = stage.draw(picture, chosen)
    assert large.size == (128, 128)
    small = stage.draw(picture, CatalogueSettings(scale=0.02))
    assert small.size == (64, 64)
    pairs = zip(large.resize((8, 8)).tobytes(), small.resize((8, 8)).tobytes(), strict=True)
    assert sum(abs(one - other) for one, other in pairs) / (8 * 8 * 3) < 8
