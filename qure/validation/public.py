"""How many entries the published annotation files have (counted in them; CIRR's train captions as its paper says)."""

FASHIONIQ_CAPTIONS = {
    "dress": {"train": 5985, "val": 2017, "test": 2024},
    "shirt": {"train": 5988, "val": 2038, "test": 2038},
    "toptee": {"train": 6027, "val": 1961, "test": 2056},
}
FASHIONIQ_IMAGES = {
    "dress": {"train": 11452, "val": 3817, "test": 3818},
    "shirt": {"train": 19036, "val": 6346, "test": 6346},
    "toptee": {"train": 16121, "val": 5373, "test": 5374},
}
CIRR_CAPTIONS = {"train": 28225, "val": 4181, "test1": 4148}
CIRR_IMAGES = {"train": 16939, "val": 2297, "test1": 2315}
CIRCO_QUERIES = {"val": 220, "test": 800}
CIRCO_IMAGES = 123_403
HP_FASHIONIQ_ANSWERS = 3050

_ENTRIES: dict[str, int] = {
    **{
        f"fashioniq/captions/cap.{category}.{split}.json": entries
        for category, splits in FASHIONIQ_CAPTIONS.items()
        for split, entries in splits.items()
    },
    **{
        f"fashioniq/image_splits/split.{category}.{split}.json": entries
        for category, splits in FASHIONIQ_IMAGES.items()
        for split, entries in splits.items()
    },
    **{f"cirr/captions/cap.rc2.{split}.json": entries for split, entries in CIRR_CAPTIONS.items()},
    **{f"cirr/image_splits/split.rc2.{split}.json": entries for split, entries in CIRR_IMAGES.items()},
    **{f"circo/annotations/{split}.json": entries for split, entries in CIRCO_QUERIES.items()},
    "circo/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json": CIRCO_IMAGES,
    "hp_fashioniq/hpfiq.json": HP_FASHIONIQ_ANSWERS,
}


def public_entries(file: str) -> int | None:
    """How many entries the published file of that name has; None for a file that was not published.

    >>> public_entries("cirr/captions/cap.rc2.val.json")
    4181
    """
    return _ENTRIES.get(file)
