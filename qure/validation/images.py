"""Every image decoded once, in parallel processes, with a cache so that unchanged images are not even read again."""

import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qure.config import ValidationSettings
from qure.datasets.ids import IMAGE_SUFFIXES
from qure.datasets.image_store import ImageStore
from qure.errors import BadInput, StageFailed
from qure.processes import worker_pool
from qure.progress import track
from qure.validation.annotations import Listed
from qure.validation.cache import ImageCache, Stamp
from qure.validation.decode import ImageFacts, check_batch, check_images, prepare_worker
from qure.validation.pixels import as_words, near_pairs

logger = logging.getLogger(__name__)

_COLUMNS = (
    *("file", "row", "image", "splits", "found", "beside", "refused", "unreadable", "changed", "damaged", "blank"),
    *("width", "height", "short_side", "aspect", "bytes", "sha256", "pixels", "phash", "colours"),
)

#: Columns that are facts as they were found.
_AS_FOUND = ("refused", "unreadable", "changed", "damaged", "blank", "pixels", "phash", "colours")

#: Below this many, starting processes takes longer than checking.
_WORTH_PROCESSES = 512
_BATCH = 64

TRAIN = "train"


def start_server(images: int, settings: ValidationSettings) -> None:
    """Starts the process that others are forked from, where so many images are worth some: it imports for a second."""
    if images >= _WORTH_PROCESSES and _workers(settings) > 1:
        _context()
        forkserver.ensure_running()


def _workers(settings: ValidationSettings) -> int:
    return settings.workers or len(os.sched_getaffinity(0))


def _context() -> BaseContext:
    # A server process forks the workers: forking this one, which may run threads, could deadlock them.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([check_batch.__module__])
    return context


class ImageChecks:
    """The check of one benchmark's images, running in the background from the moment it is made.

    Args:
        store: where the images are.
        ids: which images to check; those of which the store has nothing are left out of the result.
        cache: facts from earlier runs; new ones are put in.
        settings: bounds and number of processes.
    """

    def __init__(self, store: ImageStore, ids: Sequence[str], cache: ImageCache, settings: ValidationSettings) -> None:
        self._store, self._cache, self._settings = store, cache, settings
        refused = {image: refusal for image in ids if (refusal := store.refusal(image)) is not None}
        self._facts = {image: ImageFacts("", unreadable=refusal.problem) for image, refusal in refused.items()}
        self._stamps: dict[str, Stamp] = {}
        self._pool: Executor | None = None
        self._futures: list[Future[list[tuple[str, ImageFacts]]]] = []
        self._todo = self._unknown([image for image in ids if image in store])
        workers = _workers(settings)
        if len(self._todo) >= _WORTH_PROCESSES and workers > 1:
            self._start(workers)

    @property
    def in_processes(self) -> bool:
        """Whether other processes do the work."""
        return self._pool is not None

    def finish(self) -> dict[str, ImageFacts]:
        """Waits for the checks; image id -> facts.

        Raises:
            StageFailed: a process died, most likely because memory ran out.
        """
        try:
            for image, facts in track(self._check(), "Checking images", total=len(self._todo)):
                self._note(image, facts)
        except BrokenProcessPool:
            raise StageFailed(
                "a process that checks images was killed, most likely because memory ran out: "
                "set validation.workers to fewer processes and run the same command again"
            ) from None
        finally:
            self.close()
        return self._facts

    def close(self) -> None:
        """Stops the processes; safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _unknown(self, ids: Sequence[str]) -> list[str]:
        """Takes what the cache knows of unchanged files; returns the ids of all others."""
        todo = []
        for image in ids:
            stamp = stamp_of(self._store, image)
            known = self._cache.unchanged(stamp) if stamp else None
            if known is None:
                todo.append(image)
                if stamp:
                    self._stamps[image] = stamp
            else:
                self._facts[image] = ImageFacts(**known)
        return todo

    def _start(self, workers: int) -> None:
        needed = (self._store, self._cache.contents(), self._settings.max_image_bytes)
        self._pool = worker_pool(workers, _context(), prepare_worker, needed)
        batches = [self._todo[start : start + _BATCH] for start in range(0, len(self._todo), _BATCH)]
        self._futures = [self._pool.submit(check_batch, batch) for batch in batches]

    def _check(self) -> Iterator[tuple[str, ImageFacts]]:
        if self._pool is not None:
            for future in self._futures:
                yield from future.result()
            return
        known = self._cache.contents()
        for start in range(0, len(self._todo), _BATCH):
            batch = self._todo[start : start + _BATCH]
            yield from check_images(self._store, batch, known, self._settings.max_image_bytes)

    def _note(self, image: str, facts: ImageFacts) -> None:
        known = self._cache.content(facts.sha256)
        if (
            known is not None and facts.changed is None
        ):  # a worker does not decode what was decoded before under another name or time
            facts = ImageFacts(**known)
        self._facts[image] = facts
        if facts.sha256 and image in self._stamps:
            self._cache.put(self._stamps[image], {name: getattr(facts, name) for name in ImageFacts.__slots__})


def stamp_of(store: ImageStore, image: str) -> Stamp | None:
    """What tells that an image's file has not changed; None for a file that cannot be looked at."""
    name = store.name(image)
    try:
        status = os.stat(name.removesuffix(f": {image}"))  # noqa: PTH116 (of a shard the name goes on with the id)
    except OSError:
        return None
    return Stamp(f"{name}{store.place(image)}", status.st_size, status.st_mtime_ns)


def image_table(
    listed: Mapping[str, Listed], store: ImageStore, facts: Mapping[str, ImageFacts], data: Path
) -> pd.DataFrame:
    """One row per image for the expectations.

    Args:
        listed: every image that annotations list.
        store: where the images are.
        facts: of those that are there.
        data: the data root, which names are relative to.

    Returns:
        Columns file (its own, or the list that names a missing one), row (where it is listed), image, splits, found,
        beside (where a file of that name lies that is not looked at), refused, unreadable, changed, damaged, blank,
        width, height, short_side, aspect (long / short side), bytes (of the file), sha256, pixels, phash, colours;
        None where unknown.
    """
    rows, below = [], f"{data}{os.sep}"
    missing = [image for image in listed if image not in facts]
    beside = _beside(store, missing, data) if missing else {}
    for image, place in listed.items():
        known = facts.get(image)
        listing = f"{place.file} row {place.row}"
        row: dict[str, Any] = {"image": image, "splits": place.splits, "found": None}
        if known is None:
            rows.append({**row, "file": place.file, "row": place.row, "beside": beside.get(image)})
            continue
        name = store.name(image)
        file = name.removeprefix(below)
        row |= {"file": file, "row": listing, "found": True, "sha256": known.sha256 or None}
        row["bytes"] = _file_size(store, image)
        row |= {name: getattr(known, name) or None for name in _AS_FOUND}
        if known.width:
            short, long = sorted((known.width, known.height))
            row |= {"width": known.width, "height": known.height, "short_side": short, "aspect": long / short}
        rows.append(row)
    return pd.DataFrame({column: pd.Series([row.get(column) for row in rows], dtype=object) for column in _COLUMNS})


def _beside(store: ImageStore, missing: Sequence[str], data: Path) -> dict[str, str]:
    """Missing image -> where a file of its name lies, in a layout one folder deeper or flatter than expected."""
    wanted, found = {name: image for image in missing for name in store.stems(image)}, {}
    for folder, _, names in os.walk(store.root) if wanted else ():
        for name in names:
            image = wanted.get(Path(name).stem) if name.lower().endswith(IMAGE_SUFFIXES) else None
            if image is not None and Path(folder, name).is_file():  # a pipe or a folder is no file of its name
                found[image] = os.path.relpath(Path(folder, name), data)
    return found


def _file_size(store: ImageStore, image: str) -> int | None:
    try:
        return store.size(image)
    except BadInput:  # removed since it was checked
        return None


def content_table(images: pd.DataFrame) -> pd.DataFrame:
    """One row per image and split that lists it, of the images that are usable.

    Two empty files are equal byte for byte too, but what they have in common is that they are empty.

    Returns:
        the image table's columns, `split` instead of `splits`, and for rows of the training split: `twin`, where the
        same picture is of another split, `near`, where one that looks like it is, and `other`, that picture's id.
    """
    usable = images["sha256"].notna() & images["refused"].isna() & images["unreadable"].isna()
    read = images[usable].drop(columns=["found", "refused", "unreadable"])
    table = read.explode("splits").rename(columns={"splits": "split"}).reset_index(drop=True)
    return _with_pairs(table)


def _with_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns twin, near and other. A picture that shows nothing is like every other such picture."""
    twin: list[str | None] = [None] * len(table)
    near, other = list(twin), list(twin)
    image, pixels = table["image"].to_numpy(), table["pixels"].to_numpy()
    is_train, shows = (table["split"] == TRAIN).to_numpy(), table["blank"].isna().to_numpy()
    known = table["pixels"].notna().to_numpy()
    judging: list[int] = table.index[~is_train & known][~table["image"][~is_train & known].duplicated()].tolist()
    same: dict[str, list[int]] = {}
    for row in judging:
        same.setdefault(pixels[row], []).append(row)
    left: list[int] = []
    for row in np.flatnonzero(is_train & known).tolist():
        match = next((one for one in same.get(pixels[row], ()) if image[one] != image[row]), None)
        if match is not None:
            twin[row], other[row] = _place(table, match), image[match]
        elif shows[row]:
            left.append(row)
    against = [row for row in judging if shows[row]]
    if left and against:
        for first, second in near_pairs(*_hashes(table.iloc[left]), *_hashes(table.iloc[against])):
            row, match = left[first], against[second]
            if image[row] != image[match]:
                near[row], other[row] = _place(table, match), image[match]
    found = {"twin": twin, "near": near, "other": other}
    return table.assign(**{name: pd.Series(cells, dtype=object) for name, cells in found.items()})


def _place(table: pd.DataFrame, row: int) -> str:
    return f"{table['image'].iloc[row]} of {table['split'].iloc[row]} ({table['file'].iloc[row]})"


def _hashes(table: pd.DataFrame) -> tuple[Any, Any]:
    colours = np.frombuffer(bytes.fromhex("".join(table["colours"])), dtype=np.uint8)
    return as_words(list(table["phash"])), colours.reshape(len(table), -1)
