"""What data must look like."""

from typing import Annotated

from pydantic import Field

from qure.config.base import Frozen


class ValidationSettings(Frozen):
    """What data must look like (owner: `qure.validation`; docs/validation.md explains every rule).

    Attributes:
        tolerate: rule -> how many rows may break it; they are left out of every later stage.
        expect_public: whether numbers of entries must be the published ones; None warns where the folder does not
            say that it is the rendered catalogue.
        max_text_characters: longest modification text (the published ones have up to 302).
        min_image_side: fewest pixels of an image's short side.
        max_image_aspect: long side / short side at most.
        max_image_bytes: larger files are not read.
        workers: processes that check images; None uses every core.
        drift_psi, drift_ks, drift_centroid: population stability index, Kolmogorov-Smirnov distance and cosine distance
            from which training data counts as shifted against the champion's.
    """

    tolerate: dict[str, Annotated[int, Field(ge=0)]] = {}
    expect_public: bool | None = None
    max_text_characters: int = Field(1000, ge=1)
    min_image_side: int = Field(16, ge=1)
    max_image_aspect: float = Field(10.0, ge=1)
    max_image_bytes: int = Field(64 * 2**20, ge=1)
    workers: int | None = Field(None, ge=1)
    drift_psi: float = Field(0.25, gt=0)
    drift_ks: float = Field(0.15, gt=0)
    drift_centroid: float = Field(0.1, gt=0)
