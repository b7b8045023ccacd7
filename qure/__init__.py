"""qure: retrain, judge and promote composed-image-retrieval models (QuRe, ICML 2025)."""

__version__ = "0.1.0"
