"""Published results (percent), for the report to set beside: other data and other backbones than a catalogue run.

Source: Kwak et al., "QuRe", ICML 2025, tables of FashionIQ val (original gallery), CIRR test1, HP-FashionIQ and
CIRCO test.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table of the paper: where it was measured, the metrics' keys, and a row of numbers per method."""

    measured_on: str
    metrics: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]


PUBLISHED: dict[str, PublishedTable] = {
    "fashioniq": PublishedTable(
        measured_on="FashionIQ val, original gallery",
        metrics=(
            "dress_recall_at_10",
            "dress_recall_at_50",
            "shirt_recall_at_10",
            "shirt_recall_at_50",
            "toptee_recall_at_10",
            "toptee_recall_at_50",
            "recall_at_10",
            "recall_at_50",
            "average",
        ),
        rows={
            "CLIP4CIR": (38.32, 63.90, 44.31, 65.41, 47.27, 70.98, 43.30, 66.76, 55.03),
            "Bi-BLIP4CIR": (39.12, 62.92, 39.21, 62.81, 44.37, 67.06, 40.90, 64.26, 52.58),
            "CoVR-BLIP": (44.55, 69.03, 48.43, 67.42, 52.60, 74.31, 48.53, 70.25, 60.24),
            "SPRC": (45.71, 70.00, 51.37, 72.77, 55.48, 77.46, 50.86, 73.41, 62.13),
            "QuRe": (46.80, 69.81, 53.53, 72.87, 57.47, 77.77, 52.60, 73.48, 63.04),
        },
    ),
    "cirr": PublishedTable(
        measured_on="CIRR test1 (the authors' server), not val",
        metrics=(
            "recall_at_1",
            "recall_at_5",
            "recall_at_10",
            "recall_at_50",
            "recall_subset_at_1",
            "recall_subset_at_2",
            "recall_subset_at_3",
            "average",
        ),
        rows={
            "SPRC": (50.75, 80.58, 88.72, 97.59, 79.57, 91.76, 96.70, 80.07),
            "QuRe": (52.22, 82.53, 90.31, 98.17, 78.51, 91.28, 96.48, 80.52),
        },
    ),
    "hp-fashioniq": PublishedTable(
        measured_on="HP-FashionIQ, 2,715 rows (307 flagged ones were dropped, whose flags are not public)",
        metrics=("preference_rate",),
        rows={
            "CoSMo": (72.96,),
            "MGUR": (73.99,),
            "CLIP4CIR": (74.45,),
            "Bi-BLIP4CIR": (67.33,),
            "CoVR-BLIP": (73.15,),
            "SPRC": (73.82,),
            "QuRe": (74.55,),
        },
    ),
    "circo": PublishedTable(
        measured_on="CIRCO test (the authors' server), not val",
        metrics=("map_at_5", "map_at_10", "map_at_25", "map_at_50"),
        rows={
            "CoVR-BLIP": (18.35, 19.25, 21.02, 21.88),
            "SPRC": (17.57, 18.48, 20.14, 20.98),
            "QuRe": (23.22, 24.23, 26.26, 27.24),
        },
    ),
}
