"""What the pre-training reads: train images with their full captions, and the words of the modification texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qure.backbone.pretraining import CaptionedImages
from qure.benchmarks import get_benchmark, image_sets, training_sets
from qure.datasets.benchmarks import read_training
from qure.datasets.exclusions import Exclusions
from qure.datasets.image_store import ImageStore, open_images
from qure.datasets.rows import read_rows
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput
from qure.images import prepare_image
from qure.progress import track

CAPTIONS = Path("pretraining") / "captions.json"


def captioned_images(data: Path, size: int, validation: Sequence[ValidatedData] = ()) -> CaptionedImages:
    """Every captioned train image, prepared; the groups are FashionIQ's categories and CIRR's scenes.

    Args:
        data: data root with pretraining/captions.json: [{"image_set", "image", "caption"}, ...].
        size: edge length of the model's input.
        validation: the data with what validations have found; what one of them excludes is left out.

    Raises:
        BadInput: the captions are missing or malformed (file, row and field are named), or an image is broken.
    """
    file = Path(data) / CAPTIONS
    if not file.is_file():
        raise BadInput(
            "the file does not exist", file=file, remedy="The backbone `catalogue` is made from the rendered catalogue"
        )
    category = {
        image: category
        for one in map(get_benchmark, training_sets())
        for category, gallery in one.training_galleries(one.root(data)).items()
        for image in gallery.ids
    }
    stores: dict[str, ImageStore] = {}
    excluded: dict[str, frozenset[str]] = {}
    pixels, captions, groups = [], [], []
    for row in track(read_rows(file), "reading train images"):
        image_set, image, caption = row.text("image_set"), row.image_id("image"), row.text("caption")
        if image_set not in image_sets():
            raise row.error(f"no image set {image_set!r}", "image_set")
        if image_set not in stores:
            stores[image_set] = open_images(get_benchmark(image_set).root(data))
            excluded[image_set] = _exclusions(image_set, validation).images
        if image in excluded[image_set]:
            continue
        store = stores[image_set]
        pixels.append(prepare_image(store.read(image), size, name=store.name(image)))
        captions.append(caption)
        groups.append(category.get(image, image_set))
    if len(captions) < 2:
        raise BadInput(f"{len(captions)} captioned images: a contrast needs at least two", file=file)
    return CaptionedImages(np.stack(pixels), captions, groups)


def training_texts(data: Path, validation: Sequence[ValidatedData] = ()) -> list[str]:
    """The train triplets' modification texts: their words belong into the vocabulary."""
    return [
        triplet.text
        for training_set in training_sets()
        for triplet in read_training(training_set, data, _exclusions(training_set, validation))[0]
    ]


def _exclusions(benchmark: str, validation: Sequence[ValidatedData]) -> Exclusions:
    found = [one.exclusions(benchmark) for one in validation]
    return Exclusions(
        frozenset().union(*(one.images for one in found)), frozenset().union(*(one.queries for one in found))
    )
