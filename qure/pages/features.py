"""The page of a share of feature computation, and a table of all shares together."""

from collections.abc import Mapping
from typing import Any

from qure.datasets.validated import ValidatedData
from qure.pages.markdown import Page, Part, code, table
from qure.progress import counted


def features_page(image_set: str, shard: int, shards: int, summary: Mapping[str, Any], passed: ValidatedData) -> Page:
    """One share of an image set's features.

    Args:
        image_set: which.
        shard, shards: share `shard`, from 0, of `shards`.
        summary: what `qure.features.stage.precompute` returns.
        passed: what passed validation: what that excludes was skipped.
    """
    skipped, reused = len(passed.exclusions(image_set).images), int(summary["reused_images"])
    rate = float(summary["images_per_second"])
    speed = f"{rate:,.1f} images/s" if reused < summary["images"] else "nothing had to be computed"
    return Page(
        f"Features of {image_set}, share {shard + 1} of {shards}",
        f"{counted(int(summary['images']), 'image')} in {summary['seconds']:.0f} s: {speed}.",
        [
            ("Computed now", f"{int(summary['images']) - reused:,}"),
            ("Kept from an earlier attempt", f"{reused:,}"),
            ("Skipped in the whole image set", f"{skipped:,}, as validation excluded them"),
            ("Size", f"{int(summary['bytes']) / 2**20:,.1f} MiB"),
            ("Fingerprint", str(summary["fingerprint"])[:16]),
        ],
    )


def features_table(found: Mapping[str, Mapping[str, Any]]) -> Part:
    """All shares together.

    Args:
        found: image set -> what `qure.features.stage.collect` returns.
    """
    rows = [
        [code(name), f"{int(one['images']):,}", f"{int(one['bytes']) / 2**20:,.1f}", code(str(one["fingerprint"])[:16])]
        for name, one in found.items()
    ]
    return table(["image set", "images", "MiB", "fingerprint"], rows)
