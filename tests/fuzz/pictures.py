"""Image files, through the functions that open pictures, and tar shards of them."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image
from qure_tests_fuzz_damage import damaged_bytes, damaged_json, damaged_png
from qure_tests_fuzz_target import Target

from qure.datasets.image_store import SHARDS, open_images, pack_images
from qure.images import decode_image, prepare_image
from qure.serving.intake import Intake, Limits
from qure.validation.decode import check_images, decoded_facts


def pictures() -> Iterator[tuple[str, bytes]]:
    """Name and content of small files of every kind that is opened."""
    plain = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
    clear = plain.copy()
    clear.putalpha(Image.linear_gradient("L").resize((24, 16)))
    grey = Image.linear_gradient("L").resize((24, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [plain, plain.rotate(90), plain.rotate(180)]
    for name, image, options in (
        ("rgb.png", plain, {}),
        ("alpha.png", clear, {}),
        ("palette.png", plain.convert("P"), {"transparency": 3}),
        ("grey.png", grey, {"transparency": 7}),
        ("sixteen.png", grey.convert("I;16"), {}),
        ("moving.png", plain, {"save_all": True, "append_images": frames}),
        ("plain.jpg", plain, {}),
        ("turned.jpg", plain, {"exif": exif, "progressive": True}),
        ("print.jpg", plain.convert("CMYK"), {}),
        ("pair.mpo", plain, {"save_all": True, "append_images": frames}),
        ("moving.gif", plain, {"save_all": True, "append_images": frames}),
        ("plain.webp", plain, {}),
        ("moving.webp", clear, {"save_all": True, "append_images": frames}),
        ("plain.bmp", plain, {}),
        ("plain.tif", plain, {"compression": "tiff_lzw"}),
        ("jpeg.tif", plain, {"compression": "jpeg"}),
        ("plain.ppm", plain, {}),
        ("grey.pgm", grey.convert("I;16").convert("I"), {}),
    ):
        output = io.BytesIO()
        kind = {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(name[-3:], name.partition(".")[2].upper())
        image.save(output, kind, **options)
        yield name, output.getvalue()


def _content(folder: Path) -> bytes:
    return (folder / "picture").read_bytes()


def _served(folder: Path) -> Any:
    content = _content(folder)
    (found,) = Intake(Limits()).admitted([content])
    assert Intake(Limits()).admitted([base64.b64encode(content)]) == [found]
    return prepare_image(found, 32, name="row 0")


def _facts(folder: Path) -> Any:
    """Validation's look at it, which never raises."""
    facts = decoded_facts(_content(folder))
    assert facts.unreadable or facts.refused or (facts.width and facts.height and facts.pixels and facts.phash)
    return facts


READS: tuple[Callable[[Path], Any], ...] = (
    lambda folder: decode_image(_content(folder), "picture"),
    lambda folder: prepare_image(_content(folder), 32, name="picture"),
    _served,
    _facts,
)


def damaged_picture(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Any kind by its bytes, PNG also behind checksums that fit."""
    png = [one for one in seeds if one.startswith(b"\x89PNG\r\n\x1a\n") and one.endswith(b"IEND\xaeB`\x82")]
    return damaged_bytes(seeds) | damaged_png(png)


def lay_shards(folder: Path) -> None:
    """Two shards of pictures with their index, in FashionIQ's folder; the files themselves are gone."""
    images = folder / "fashioniq" / "images"
    images.mkdir(parents=True)
    for number, (_, content) in zip(range(4), pictures(), strict=False):
        (images / f"B{number:03}.png").write_bytes(content)
    pack_images(images.parent, images.parent / SHARDS, shard_bytes=3000)
    for file in images.iterdir():
        file.unlink()
    images.rmdir()


def _read_shards(folder: Path) -> Any:
    store = open_images(folder / "fashioniq")
    for image in store.ids:
        store.name(image), store.size(image), store.place(image), store.read(image)
    return check_images(store, store.ids, frozenset(), 10**6)


def _put_shard(file: Path, content: bytes) -> None:
    """The index says how long the shard is: a stranger's would."""
    file.write_bytes(content)
    index = file.with_name("index.json")
    document = json.loads(index.read_text(encoding="utf-8"))
    document["shards"][0]["bytes"] = len(content)
    index.write_text(json.dumps(document), encoding="utf-8")


TARGETS = [
    Target("pictures", "picture", READS, damaged_picture, called=("picture", "row 0")),
    Target("shard-index", f"fashioniq/{SHARDS}/index.json", (_read_shards,), damaged_json, lay_shards),
    Target("shards", f"fashioniq/{SHARDS}/shard-00000.tar", (_read_shards,), damaged_bytes, lay_shards, put=_put_shard),
]
