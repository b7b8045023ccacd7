"""Image checks in other processes give what this process gives, and the cache never serves stale facts."""

import logging
import shutil
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from qure.config import ValidationSettings
from qure.datasets.image_store import ImageStore, open_images
from qure.errors import StageFailed
from qure.validation import images
from qure.validation.cache import ImageCache, Stamp
from qure.validation.decode import ImageFacts, check_image, decoded_facts
from qure.validation.images import ImageChecks, stamp_of

BYTES = ValidationSettings().max_image_bytes


@pytest.fixture
def store(catalogue: Path, tmp_path: Path) -> ImageStore:
    shutil.copytree(catalogue / "fashioniq", tmp_path / "fashioniq")
    folder = tmp_path / "fashioniq" / "images"
    names = sorted(folder.iterdir())
    names[0].write_bytes(b"")
    names[1].write_bytes(names[1].read_bytes()[:300])
    return open_images(tmp_path / "fashioniq")


def test_processes_find_what_one_process_finds(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_WORTH_PROCESSES", 1)
    checks = ImageChecks(store, store.ids, ImageCache(tmp_path, BYTES), ValidationSettings(workers=2))
    assert checks._pool is not None
    found = checks.finish()
    assert found == {image: check_image(store, image, frozenset(), BYTES) for image in store.ids}
    assert sum(facts.unreadable is not None for facts in found.values()) == 2


@pytest.mark.usefixtures("no_bytecode")
def test_a_dead_process_is_a_failure_that_says_so(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_WORTH_PROCESSES", 1)
    checks = ImageChecks(store, store.ids, ImageCache(tmp_path, BYTES), ValidationSettings(workers=2))
    assert checks._pool is not None
    for process in list(checks._pool._processes.values()):
        process.kill()
    with pytest.raises(StageFailed, match=r"validation\.workers"):
        checks.finish()


def test_larger_files_are_not_read(store: ImageStore) -> None:
    image = store.ids[5]
    facts = check_image(store, image, frozenset(), max_bytes=10)
    assert facts.sha256 == ""
    assert facts.refused is not None
    assert "more than 10" in facts.refused


def test_a_file_that_goes_away_while_images_are_checked_is_told(store: ImageStore) -> None:
    image = store.ids[7]
    assert stamp_of(store, image) is not None
    Path(store.name(image)).unlink()
    facts = check_image(store, image, frozenset(), BYTES)
    assert (facts.sha256, facts.refused) == ("", None)
    assert "cannot be read: No such file" in str(facts.unreadable)
    assert stamp_of(store, image) is None


def test_reasons_hold_no_memory_address() -> None:
    for data in (b"II*\0" + bytes(30), b"\xff\xd8\xff\xe0" + bytes(50), b"RIFF\0\0\0\0WEBPVP8 "):
        facts = decoded_facts(data)
        assert facts.unreadable is not None
        assert "0x" not in facts.unreadable


def test_cache_remembers_unchanged_files_and_known_content(tmp_path: Path) -> None:
    facts = asdict(ImageFacts("ab", 3, 4, pixels="cd", phash="ef", colours="01"))
    cache = ImageCache(tmp_path, BYTES)
    cache.put(Stamp("x.jpg", 10, 1), facts)
    cache.save(complete=True)
    again = ImageCache(tmp_path, BYTES)
    assert again.unchanged(Stamp("x.jpg", 10, 1)) == facts
    assert again.unchanged(Stamp("x.jpg", 10, 2)) is None
    assert again.unchanged(Stamp("x.jpg", 11, 1)) is None
    assert again.unchanged(Stamp("y.jpg", 10, 1)) is None
    assert again.content("ab") == facts
    assert ImageCache(tmp_path, BYTES - 1).contents() == frozenset(), "facts found with another bound"


def test_cache_forgets_what_a_complete_run_did_not_use(tmp_path: Path) -> None:
    facts = asdict(ImageFacts("ab", 3, 4, pixels="cd", phash="ef", colours="01"))
    cache = ImageCache(tmp_path, BYTES)
    cache.put(Stamp("x.jpg", 10, 1), facts)
    cache.save(complete=True)
    ImageCache(tmp_path, BYTES).save(complete=False)
    assert ImageCache(tmp_path, BYTES).contents() == {"ab"}
    ImageCache(tmp_path, BYTES).save(complete=True)
    assert ImageCache(tmp_path, BYTES).contents() == frozenset()


def test_a_file_that_has_just_changed_is_looked_at_again(tmp_path: Path) -> None:
    facts = asdict(ImageFacts("ab", 3, 4, pixels="cd", phash="ef", colours="01"))
    stamp = Stamp("x.jpg", 10, time.time_ns())
    cache = ImageCache(tmp_path, BYTES)
    cache.put(stamp, facts)
    cache.save(complete=True)
    assert ImageCache(tmp_path, BYTES).unchanged(stamp) is None


def test_a_damaged_cache_is_built_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    facts = asdict(ImageFacts("ab", 3, 4, pixels="cd", phash="ef", colours="01"))
    cache = ImageCache(tmp_path, BYTES)
    cache.put(Stamp("x.jpg", 10, 1), facts)
    cache.save(complete=True)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert ImageCache(tmp_path, BYTES).contents() == frozenset()
    assert "built anew" in caplog.text
