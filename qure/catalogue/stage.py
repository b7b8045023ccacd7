"""The catalogue stage: renders the whole data root, deterministic to the byte from the settings."""

import json
import logging
from pathlib import Path

from PIL import Image

from qure.catalogue.canvas import jpeg, png
from qure.catalogue.chance import Chance
from qure.catalogue.circo import circo_plan
from qure.catalogue.cirr import cirr_plan, plan_scenes, scene_captions
from qure.catalogue.fashioniq import fashioniq_plan, garment_captions, plan_garments
from qure.catalogue.garments import draw_garment
from qure.catalogue.hp_fashioniq import hp_fashioniq_plan
from qure.catalogue.plan import Plan, PlannedPicture
from qure.catalogue.scenes import draw_scene
from qure.config import CatalogueSettings, Settings
from qure.errors import BadInput
from qure.files import atomic_folder
from qure.progress import track

logger = logging.getLogger(__name__)

#: Tells a rendered data root from one that a user has laid out.
MARKER = "catalogue.json"

README = """\
# The catalogue

Everything below this folder was rendered by `qure catalogue` from the seed in `catalogue.json`: garments and scenes
with known attributes, in the file layouts of FashionIQ, HP-FashionIQ, CIRR and CIRCO. No image, caption or answer comes
from those benchmarks, and no number measured here may be set beside their published ones.

`truth.json` in each folder holds the true attributes of every image and what every query wants: HP-FashionIQ's people
are simulated from it. `pretraining/captions.json` describes every training image in full.

The licence is the project's own, Apache-2.0.
"""


def render(settings: Settings, output: Path) -> None:
    """Renders the data root `output`, whole or not at all, in place of an older rendering.

    Raises:
        BadInput: `output` holds something that this function has not rendered; it stays untouched.
    """
    chosen = settings.catalogue
    output = Path(output)
    _refuse_foreign_data(output)
    plans = plan_catalogue(chosen)
    with atomic_folder(output.resolve()) as folder:  # behind a link, which stays, and never through a ".." to a file
        for plan in plans:
            for path, text in plan.files.items():
                _write(folder / path, text.encode())
        pictures = [picture for plan in plans for picture in plan.pictures]
        for picture in track(pictures, "Rendering the catalogue"):
            _write(folder / picture.path, encode(draw(picture, chosen), picture.path))
    logger.info("rendered %d images into %s", len(pictures), output)


def plan_catalogue(chosen: CatalogueSettings) -> list[Plan]:
    """Everything that will be written, before a single picture is drawn."""
    garments = plan_garments(chosen.seed, chosen.scale)
    scenes = plan_scenes(chosen.seed, chosen.scale)
    common = Plan()
    captions = garment_captions(chosen.seed, garments) + scene_captions(chosen.seed, scenes)
    common.files["pretraining/captions.json"] = "[\n" + ",\n".join(map(json.dumps, captions)) + "\n]\n"
    common.files["README.md"] = README
    common.add_json(MARKER, {"format": "qure-catalogue", "version": 1, **chosen.model_dump()}, indent=2)
    return [
        fashioniq_plan(garments),
        hp_fashioniq_plan(chosen.seed, chosen.scale, garments),
        cirr_plan(scenes),
        circo_plan(chosen.seed, chosen.scale, chosen.image_size),
        common,
    ]


def draw(picture: PlannedPicture, chosen: CatalogueSettings) -> Image.Image:
    """A picture; depends on the seed, its path and its attributes only."""
    chance = Chance(chosen.seed, "picture", picture.path)
    if picture.category:
        return draw_garment(picture.category, picture.vector, chosen.image_size, chance)
    return draw_scene(picture.vector, chosen.image_size, chance)


def encode(image: Image.Image, path: str) -> bytes:
    """A picture's file content in the format that its path's suffix names."""
    return png(image) if path.endswith(".png") else jpeg(image)


def _refuse_foreign_data(output: Path) -> None:
    if output.is_symlink() and not output.exists():
        raise BadInput(
            f"a link to nothing: no folder is at {output.readlink()}",
            file=output,
            remedy="Make that folder (is its disk mounted?), or remove the link",
        )
    output = output.resolve()
    if output.exists() and not output.is_dir():
        raise BadInput("this is a file, not a folder", file=output, remedy="Name a folder that does not exist yet")
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).is_file():
        raise BadInput(
            f"holds data that was not rendered here (no {MARKER})",
            file=output,
            remedy="Choose another folder, or move that data away first",
        )


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
