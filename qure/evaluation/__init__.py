"""Judging composed image retrieval: metrics with intervals, paired comparison, submissions, reports.

Everything public is importable from here and is loaded when it is first used::

    from qure.evaluation import evaluate_embeddings, read_embeddings, write_embeddings
    from qure.evaluation import Evaluation, paired_difference, interval
    from qure.evaluation import check_submission

The protocols themselves are the benchmarks' own: `qure.benchmarks.cirr.protocol.evaluate` and its like.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qure.evaluation.external import evaluate_embeddings
    from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings, write_embeddings
    from qure.evaluation.statistics.bootstrap import Measure, interval
    from qure.evaluation.statistics.paired import PairedResult, paired_difference
    from qure.evaluation.statistics.results import Evaluation
    from qure.evaluation.submissions.checks import check_submission

__all__ = [
    "Embeddings",
    "Evaluation",
    "Measure",
    "PairedResult",
    "check_submission",
    "evaluate_embeddings",
    "interval",
    "paired_difference",
    "read_embeddings",
    "write_embeddings",
]

_MODULES = {
    "statistics.bootstrap": ("Measure", "interval"),
    "ranking.embeddings": ("Embeddings", "read_embeddings", "write_embeddings"),
    "external": ("evaluate_embeddings",),
    "statistics.paired": ("PairedResult", "paired_difference"),
    "statistics.results": ("Evaluation",),
    "submissions.checks": ("check_submission",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
