"""Compare: one query to two versions side by side, and the queries for which their evaluations differ most."""

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation
from qure.serving.searcher import Result
from qure.studio.pages.search import ANSWERS, GALLERY, MOST_ANSWERS, Asked, found, read_address
from qure.studio.project import Project, Version
from qure.studio.studio import Studio, address, picture_address

#: Queries listed that differ most.
LISTED = 20


def routes(studio: Studio) -> list[Route]:
    """/compare."""

    def page(request: Request) -> Response:
        asked = read_address(request.query_params)
        versions = studio.project.versions()
        pair = _pair(studio.project, request, versions)
        sides: list[dict[str, Any]] = []
        if asked.step is not None and asked.step.text:
            answers = [found(studio, studio.project.searcher(one.number), asked, MOST_ANSWERS) for one in pair]
            sides = [
                {"version": one, "answers": _moves(own[: asked.count], other)}
                for one, own, other in zip(pair, answers, answers[::-1], strict=True)
            ]
        return studio.page(
            "compare",
            asked=asked,
            versions=versions,
            pair=pair,
            sides=sides,
            groups=tuple(name for name in studio.project.gallery if name),
            difference=None if sides else _difference(studio.project, *pair),
        )

    return [Route("/compare", page)]


def _pair(project: Project, request: Request, versions: list[Version]) -> tuple[Version, Version]:
    """The versions that are asked for; else champion and challenger, else the two newest."""
    wanted = [request.query_params.get(name) for name in ("a", "b")]
    first = project.version(wanted[0], versions)
    others = [one for one in versions if one.number != first.number] or [first]
    challenger = next((one for one in others if "challenger" in one.aliases), others[0])
    return first, project.version(wanted[1], versions) if wanted[1] else challenger


def _moves(own: list[Result], other: list[Result]) -> list[dict[str, Any]]:
    """One side's answers, each with how many ranks higher or lower it stands than on the other side."""
    rank_there = {one.image_id: rank for rank, one in enumerate(other, start=1)}
    return [
        {
            "rank": rank,
            "id": one.image_id,
            "relevance": one.relevance,
            "move": rank_there[one.image_id] - rank if one.image_id in rank_there else None,
        }
        for rank, one in enumerate(own, start=1)
    ]


def _difference(project: Project, a: Version, b: Version) -> dict[str, Any] | None:
    """What the two evaluations on the same queries say; None where there are none on the same."""
    common = sorted(a.evaluated & b.evaluated)
    if not common or a.number == b.number:
        return None
    of_a, of_b = (project.evaluation(one, common[-1]) for one in (a, b))
    if of_a is None or of_b is None:
        return None
    metric = str(project.benchmark.compared_by)
    return {
        "metric": metric,
        "paired": paired_difference(of_a, of_b, metric),
        "rows": _most_different(of_a, of_b, a, b),
    }


def _most_different(of_a: Evaluation, of_b: Evaluation, a: Version, b: Version) -> list[dict[str, Any]]:
    """Queries by how many times further down the target stands with one of the two."""
    table = of_a.per_query.merge(of_b.per_query[["query_id", "rank"]], on="query_id", suffixes=("", "_b"))
    ratio = table["rank"].to_numpy(dtype=float) / table["rank_b"].to_numpy(dtype=float)
    order = np.argsort(-np.abs(np.log(ratio)), kind="stable")[:LISTED]
    rows = []
    for row in table.iloc[order].to_dict("records"):
        category = row["category"]
        parts = Asked((), category if isinstance(category, str) else None, ANSWERS).parts()
        place = [("r", f"{GALLERY}:{row['reference']}"), ("t", row["text"]), *parts]
        rows.append(
            {
                "text": row["text"],
                "reference": picture_address(row["reference"]),
                "target": picture_address(row["target"]),
                "ranks": (int(row["rank"]), int(row["rank_b"])),
                "address": address("/compare", *place, a=a.number, b=b.number),
            }
        )
    return rows
