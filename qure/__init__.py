"""qure: retrain, judge and promote composed-image-retrieval models (QuRe, ICML 2025).

    import qure

    champion = qure.load("models:/qure-fashioniq@champion")
    for found in champion.search("dress.jpg", "is blue and longer", top_k=5):
        print(found.relevance, found.image_id, found.path)

`load`, `Searcher`, `Result`, `strategy` and `Ranking` are imported when they are first used: `import qure` stays light.
The rest is in the packages: `qure.evaluation` (judge any model's embeddings), `qure.negatives.mining`, `qure.config`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qure.registry.loading import load
    from qure.serving.searcher import Result, Searcher
    from qure.strategies import Ranking, strategy

__version__ = "0.1.0"

__all__ = ["Ranking", "Result", "Searcher", "__version__", "load", "strategy"]

_HOMES = {
    "load": "qure.registry.loading",
    "Searcher": "qure.serving.searcher",
    "Result": "qure.serving.searcher",
    "strategy": "qure.strategies",
    "Ranking": "qure.strategies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
