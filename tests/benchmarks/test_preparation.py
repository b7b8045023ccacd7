"""The benchmark of image preparation in small: its parts are the product's, and the other decoder's pixels the same."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import common, preparation
from qure.files import read_json
from qure.images import decode_image, pad_to_ratio, prepare_image


def test_the_other_decoder_gives_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(preparation, "SIZES", ((40, 60), (60, 40), (50, 50)))
    monkeypatch.setattr(sys, "argv", ["preparation", "--images", "2", "--repeats", "1", "--edge", "32"])
    preparation.main()
    written = read_json(tmp_path / "preparation.json")
    assert [one["same_pixels"] for one in written["sizes"].values()] == [True, True, True]


@pytest.mark.parametrize(("width", "height"), [(40, 60), (60, 40), (50, 50)])
def test_what_is_measured_as_resizing_is_what_the_product_resizes(width: int, height: int) -> None:
    file = preparation.photograph(np.random.default_rng(1), width, height)
    resized: Image.Image = preparation._resized(pad_to_ratio(decode_image(file, "image")), 32)
    left, top = round((resized.width - 32) / 2), round((resized.height - 32) / 2)
    cropped = np.asarray(resized)[top : top + 32, left : left + 32]
    assert np.array_equal(cropped, prepare_image(file, 32, name="image"))
