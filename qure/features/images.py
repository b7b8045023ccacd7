"""Which images an image set's features are of, and a fingerprint of that list that costs no reading."""

from collections.abc import Sequence
from pathlib import Path

from qure.benchmarks import get_benchmark, image_sets, sharing_images
from qure.datasets.exclusions import read_exclusions
from qure.datasets.image_store import ImageStore, open_images
from qure.datasets.validated import validated_digests
from qure.errors import BadInput
from qure.files import fingerprint


def listed_images(data: Path, image_set: str, validation: Path | None = None) -> tuple[ImageStore, list[str]]:
    """An image set's images and the ids of those that passed validation, sorted; without validation those of all.

    An image that no annotation file lists has not been looked at, and nothing asks for it.

    Raises:
        BadInput: no such image set, or its folder or the validation folder cannot be read.
    """
    if image_set not in image_sets():
        raise BadInput(f"no image set {image_set!r}; there are {', '.join(image_sets())}")
    store = open_images(get_benchmark(image_set).root(data))
    sharing = sharing_images(image_set)
    excluded = frozenset().union(*(read_exclusions(validation, benchmark).images for benchmark in sharing))
    passed = validated_digests(validation, image_set)
    ids = store.ids if passed is None else [image_id for image_id in store.ids if image_id in passed]
    return store, sorted(image_id for image_id in ids if image_id not in excluded)


def images_fingerprint(store: ImageStore, ids: Sequence[str]) -> str:
    """Names and byte sizes of images: tells data versions apart without reading the images.

    A changed image of exactly the same size is not seen here; the store's own fingerprint covers every byte.
    """
    return fingerprint([[image_id, store.size(image_id)] for image_id in ids])
