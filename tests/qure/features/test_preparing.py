"""Workers that prepare images: threads and processes give the same, in order, and name what is broken."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qure.datasets.image_folder import FolderStore
from qure.errors import BadInput
from qure.features.preparing import preparing
from qure.images import ImageError


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    numbers = np.random.default_rng(0)
    for number in range(21):
        Image.fromarray(numbers.integers(0, 255, (20, 24 + number, 3), dtype=np.uint8)).save(
            tmp_path / f"{number:02d}.png"
        )
    return FolderStore(tmp_path, {f"{number:02d}": f"{number:02d}.png" for number in range(21)}, "images")


def test_processes_prepare_as_threads_do(store: FolderStore) -> None:
    found = []
    for processes in (False, True):
        with preparing(store, 16, processes=processes) as batches:
            found.append(list(batches(store.ids, 9)))
    threads, processes_found = found
    assert [len(batch.digests) for batch in threads] == [9, 9, 3]
    for one, other in zip(threads, processes_found, strict=True):
        assert one.digests == other.digests
        assert one.pixels.dtype == np.uint8
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("processes", [False, True])
def test_a_broken_image_is_named(store: FolderStore, tmp_path: Path, processes: bool) -> None:
    (tmp_path / "07.png").write_bytes(b"no image")
    with (
        preparing(store, 16, processes=processes) as batches,
        pytest.raises(ImageError, match=r"07\.png: not an image of a known type"),
    ):
        list(batches(store.ids, 4))
    (tmp_path / "07.png").unlink()
    with preparing(store, 16, processes=processes) as batches, pytest.raises(BadInput, match=r"07\.png"):
        list(batches(store.ids, 4))
