"""Readers of FashionIQ, CIRR, CIRCO and HP-FashionIQ: public files in, the same few types out."""

from qure.datasets.types import Gallery, PreferencePair, Triplet

__all__ = ["Gallery", "PreferencePair", "Triplet"]
