"""Pictures for a page: a data set's by image id, and plots that fit."""

import io
from pathlib import Path

from PIL import Image

from qure.benchmarks import get_benchmark
from qure.datasets.image_store import open_images
from qure.errors import BadInput
from qure.evaluation.report.pictures import Thumbnails, data_uri
from qure.images import ImageError
from qure.pages.markdown import Picture

#: Pixels: Kubeflow's frame is 527 wide, with a margin.
WIDTH = 500


class Images:
    """Thumbnails of a benchmark's images; what cannot be shown is left out, since a page decides nothing.

    Args:
        data: data root.
        benchmark: whose images.
    """

    def __init__(self, data: Path, benchmark: str) -> None:
        self._thumbnails: Thumbnails | None
        try:
            folder = get_benchmark(get_benchmark(benchmark).images).root(data)
            self._thumbnails = Thumbnails(open_images(folder))
        except BadInput:
            self._thumbnails = None

    def picture(self, image: str, shows: str) -> Picture | None:
        """An image's thumbnail; None where there is none."""
        try:
            return Picture(shows, self._thumbnails[image]) if self._thumbnails is not None else None
        except (ImageError, BadInput, KeyError, OSError):
            return None


def fitted(picture: Path) -> str:
    """A plot as wide as the frame at most."""
    buffer = io.BytesIO()
    with Image.open(picture) as image:
        image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        image.save(buffer, format="PNG")
    return data_uri(buffer.getvalue(), "image/png")
