"""Correct: for a query's ten best images, mark what is also right; first what is worth a person's minute."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.studio.answers import new_token, person_of
from qure.studio.labels import SHOWN, above_first_drops, mark, marks_of, proposals, subject_of
from qure.studio.project import Project
from qure.studio.studio import Missing, Studio, address, form_of, known_person, see_other, token_for_writing

#: Proposals on the page.
LISTED = 30
SPLITS = ("val", "train")

Ranked = Sequence[tuple[str, float]]


def routes(studio: Studio) -> list[Route]:
    """/correct lists queries; with `query` it shows one; /correct/mark keeps a mark."""

    def page(request: Request) -> Response:
        split = _split(request.query_params.get("split", "val"))
        rankings = _rankings(studio.project, split)
        query = request.query_params.get("query")
        if query is not None:
            return one(request, split, rankings, query)
        marks = marks_of(studio.answers, studio.project.training_set, split)
        queries = studio.project.queries_of(split)
        listed = proposals([(queries[name], ranked) for name, ranked in rankings.items() if name in queries], marks)
        return studio.page(
            "correct_list",
            split=split,
            rankings=len(rankings),
            looked_at=len(marks),
            right=sum(votes.is_right for images in marks.values() for votes in images.values()),
            left=len(listed),
            proposals=[
                {
                    "query": queries[found.query_id],
                    "images": found.images[:5],
                    "count": len(found.images),
                    "address": address("/correct", split=split, query=found.query_id),
                }
                for found in listed[:LISTED]
            ],
        )

    def one(request: Request, split: str, rankings: Mapping[str, Ranked], query_id: str) -> Response:
        query = studio.project.queries_of(split).get(query_id)
        if query is None or query_id not in rankings:
            raise Missing("There is no such query.")
        marks = marks_of(studio.answers, studio.project.training_set, split)
        votes = marks.get(query_id, {})
        person = known_person(request)
        ((above, _),) = above_first_drops([(query, rankings[query_id])])
        queries = studio.project.queries_of(split)
        others = proposals(
            [(queries[name], found) for name, found in rankings.items() if name in queries and name != query_id], marks
        )
        return studio.page(
            "correct_query",
            split=split,
            query=query,
            fresh=new_token() if person is None else None,
            images=[
                _shown(image, score, query, votes.get(image), person, above) for image, score in _ten(query, rankings)
            ],
            next=address("/correct", split=split, query=others[0].query_id) if others else "",
            listing=address("/correct", split=split),
        )

    async def marked(request: Request) -> Response:
        form = await form_of(request)
        split, query_id, image = _split(form.get("split", "")), form.get("query", ""), form.get("image", "")
        query = (await run_in_threadpool(studio.project.queries_of, split)).get(query_id)
        rankings = await run_in_threadpool(_rankings, studio.project, split)
        if query is None or query_id not in rankings or image not in dict(_ten(query, rankings)):
            raise Missing("That image does not answer that query.")
        if form.get("right") not in ("yes", "no"):
            raise BadInput("an image is right, or it is not", field="right")
        token = token_for_writing(request, form)
        subject = subject_of(studio.project.training_set, split, query_id)
        await run_in_threadpool(mark, studio.answers, person_of(token), subject, image, right=form["right"] == "yes")
        place = address("/correct", split=split, query=query_id)
        return see_other(f"{place}#{_anchor(query, rankings, image)}", token=token, request=request)

    return [Route("/correct", page), Route("/correct/mark", marked, methods=["POST"])]


def _split(name: str) -> str:
    if name not in SPLITS:
        raise BadInput(f"no split {name[:20]!r}", field="split", remedy=f"One of {', '.join(SPLITS)}")
    return name


def _rankings(project: Project, split: str) -> Mapping[str, Ranked]:
    """Query id -> its best images: of the champion's evaluation, or, for training queries, of the last mining."""
    return project.evaluated_rankings() if split == "val" else project.mined_rankings()


def _ten(query: Triplet, rankings: Mapping[str, Ranked]) -> list[tuple[str, float]]:
    """What a person is shown: the best ten without the reference."""
    return [(image, score) for image, score in rankings[query.query_id] if image != query.reference][:SHOWN]


def _anchor(query: Triplet, rankings: Mapping[str, Ranked], image: str) -> str:
    return f"image-{[one for one, _ in _ten(query, rankings)].index(image) + 1}"


def _shown(
    image: str, score: float, query: Triplet, votes: Any, person: str | None, above: Sequence[str]
) -> dict[str, Any]:
    own = votes.marks.get(person) if votes is not None and person is not None else None
    return {
        "id": image,
        "relevance": score,
        "target": image == query.target,
        "above": image in above,
        "own": None if own is None else own.content["right"],
        "right": votes.right if votes is not None else 0,
        "wrong": votes.wrong if votes is not None else 0,
    }
