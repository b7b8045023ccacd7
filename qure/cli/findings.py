"""What the stages of a training set have found, for `qure results`: numbers, who is champion, what to try next."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qure.cli.pictures import image_paths
from qure.layout import SetLayout

if TYPE_CHECKING:
    from qure.config import Settings


@dataclass(frozen=True)
class Findings:
    """What the last run of a training set has left.

    Attributes:
        layout: where.
        metrics, intervals: of the evaluation, keyed alike.
        promotion: what the promote stage has decided.
        way_to_champion: how to get a champion, where the registry has lost it; None where it has one.
    """

    layout: SetLayout
    metrics: dict[str, Any]
    intervals: dict[str, Any]
    promotion: dict[str, Any]
    way_to_champion: str | None

    @property
    def name(self) -> str:
        return f"qure-{self.layout.training_set}"

    @property
    def is_champion(self) -> bool:
        """Whether the model that was judged is the one that a search asks."""
        return self.promotion["outcome"] != "refused" and self.way_to_champion is None

    def verdict(self) -> str:
        """Who is champion, and why, in a sentence."""
        version, reason = self.promotion["version"], self.promotion["reason"]
        if self.way_to_champion is not None:
            return f"{self.name} has no champion: the registry is new or was removed. {self.way_to_champion}"
        if self.promotion["outcome"] == "promoted":
            return f"{self.name} version {version} is champion ({reason})"
        if self.promotion["outcome"] == "champion already":
            return f"{self.name} version {version} is champion, as before"
        before = self.promotion["champion_before"]
        stays = f"version {before} stays champion" if before is not None else "there is no champion"
        return f"{self.name} version {version} was not promoted, {stays}: {reason}"

    def lines(self) -> list[str]:
        """What stands below the tables."""
        return [self.verdict(), f"report: {self.layout.report}", ""]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "metrics": self.metrics,
            "intervals": self.intervals,
            "promotion": self.promotion,
            "verdict": self.verdict(),
            "report": str(self.layout.report),
        }


def findings(settings: "Settings", layout: SetLayout) -> Findings:
    """Reads what the stages have left.

    Raises:
        BadInput: a stage has not run; names the command that runs it.
    """
    from qure.files import read_json
    from qure.registry.asking import is_champion_gone
    from qure.registry.names import how_to_promote

    training_set = layout.training_set
    first = f"Run `dvc repro evaluate@{training_set}` first"
    metrics, intervals = read_json(layout.metrics, remedy=first), read_json(layout.intervals, remedy=first)
    promotion = read_json(layout.promotion, remedy=f"Run `dvc repro promote@{training_set}` first")
    gone = promotion["outcome"] != "refused" and is_champion_gone(settings, training_set)
    return Findings(layout, metrics, intervals, promotion, how_to_promote(training_set) if gone else None)


def search_line(layout: SetLayout) -> str | None:
    """A search that can be pasted, of a query that judged the model; None where its image is not a file in data/."""
    from qure.errors import BadInput
    from qure.files import read_json

    try:
        queries = read_json(layout.typical_queries)
    except BadInput:
        return None
    paths = image_paths(layout.data, layout.training_set, [query["reference"] for query in queries])
    for query in queries:
        if query["reference"] in paths:
            category, _, row = str(query["query_id"]).rpartition("/")
            group = ["--group", category] if category and row else []
            words = ["qure", "search", str(paths[query["reference"]]), query["text"]]
            return shlex.join([*words, "--training-set", layout.training_set, *group, "--sheet", "found.png"])
    return None
