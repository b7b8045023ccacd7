"""How much of everything: the real run and the tiny one."""

from dataclasses import dataclass

from qure.models.config import BLIP2_VITL, QFormerConfig, QureConfig, VisionConfig

SMALL = QureConfig(
    backbone="catalogue",
    vision=VisionConfig(image_size=32, patch_size=8, width=32, layers=2, heads=4, intermediate=64),
    qformer=QFormerConfig(vocabulary=200, hidden=32, layers=2, heads=4, intermediate=64, max_positions=64),
    query_tokens=4,
    embedding=16,
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything; FashionIQ's recipe is what training and mining are projected to."""

    config: QureConfig
    batch: int
    images: int
    steps: dict[str, int]
    large_batch: int
    minings: dict[str, tuple[int, int]]
    compared_queries: int
    tokens: int
    dimensions: int
    pictures: int
    picture: tuple[int, int]


FULL = Sizes(
    config=BLIP2_VITL,
    batch=32,
    images=2048,
    steps={"launched": 30, "eager": 30, "graph": 30},
    large_batch=128,
    minings={"fashioniq_category": (6000, 6000), "cirr": (28225, 16939)},
    compared_queries=128,
    tokens=32,
    dimensions=256,
    pictures=2048,
    picture=(512, 683),
)


TINY = Sizes(
    config=SMALL,
    batch=8,
    images=64,
    steps={"launched": 3, "eager": 3, "graph": 3},
    large_batch=0,
    minings={"fashioniq_category": (150, 200)},
    compared_queries=150,
    tokens=4,
    dimensions=16,
    pictures=20,
    picture=(40, 56),
)


#: FashionIQ, train split: triplets, images in the joint corpus, and the published recipe's epochs and minings.
RECIPE = {"triplets": 18000, "corpus": 18000, "categories": 3, "epochs": 30, "minings": 5}
