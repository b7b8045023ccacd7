"""Search: a reference picture and a change in words, the ranked answers, and the path of a dialogue.

The whole state is in the address: `r` and `t`, once for each step, then version, group and number of answers. So an
address can be shared, and the browser's Back goes back a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qure.errors import BadInput
from qure.serving.searcher import Result, Searcher
from qure.studio.project import Version
from qure.studio.studio import Missing, Studio, address, picture_address, whole_number

ANSWERS, MOST_ANSWERS = 10, 50
MOST_STEPS, MOST_CHARACTERS = 30, 500
#: Images of the gallery on one page; example queries.
PAGE, EXAMPLES = 60, 4

GALLERY, UPLOAD = "gallery", "upload"


@dataclass(frozen=True)
class Step:
    """One query of a dialogue.

    Attributes:
        reference: "gallery:ID" or "upload:KEY".
        text: the change; empty while it is being written.
    """

    reference: str
    text: str

    @property
    def image_id(self) -> str | None:
        """The gallery's id of the reference; None for a visitor's picture."""
        kind, _, key = self.reference.partition(":")
        return key if kind == GALLERY else None

    @property
    def picture(self) -> str:
        """Where the page shows the reference."""
        _, _, key = self.reference.partition(":")
        return picture_address(key) if self.image_id is not None else address(f"/uploads/{key}")


@dataclass(frozen=True)
class Asked:
    """What an address asks."""

    steps: tuple[Step, ...]
    group: str | None
    count: int

    @property
    def step(self) -> Step | None:
        """The last step: the query itself."""
        return self.steps[-1] if self.steps else None

    def parts(self, steps: Sequence[Step] | None = None) -> list[tuple[str, Any]]:
        """The address's parts, with these steps instead of its own."""
        shown = self.steps if steps is None else steps
        pairs = [pair for step in shown for pair in (("r", step.reference), ("t", step.text))]
        return [*pairs, ("group", self.group), ("k", self.count if self.count != ANSWERS else None)]


def read_address(values: QueryParams) -> Asked:
    """What an address asks.

    Raises:
        BadInput: too many steps, too long a text, or a number that is none.
    """
    references, texts = values.getlist("r"), values.getlist("t")
    if len(references) > MOST_STEPS:
        raise BadInput(f"a dialogue of more than {MOST_STEPS} steps", remedy="Begin a new one")
    texts += [""] * (len(references) - len(texts))
    if any(len(text) > MOST_CHARACTERS for text in texts):
        raise BadInput(f"a text of more than {MOST_CHARACTERS} characters", remedy="Say it shorter")
    count = values.get("k") or str(ANSWERS)
    number = whole_number(count)
    if number is None or not 1 <= number <= MOST_ANSWERS:
        raise BadInput(f"{count[:20]!r} is not a number of answers from 1 to {MOST_ANSWERS}", field="k")
    steps = tuple(Step(one, text.strip()) for one, text in zip(references, texts, strict=False))
    return Asked(steps, values.get("group") or None, number)


def reference_bytes(studio: Studio, step: Step) -> bytes:
    """The file of a step's reference.

    Raises:
        Missing: there is no such image.
    """
    kind, _, key = step.reference.partition(":")
    if kind == GALLERY and key in studio.project.images:
        return studio.project.images.read(key)
    content = studio.uploads.read(key) if kind == UPLOAD else None
    if content is None:
        raise Missing("The reference picture of this address is not here.")
    return content


def found(studio: Studio, searcher: Searcher, asked: Asked, count: int) -> list[Result]:
    """A version's answers to the last step, without the reference itself."""
    step = asked.step
    assert step is not None
    return searcher.search(
        reference_bytes(studio, step), step.text, top_k=count, group=asked.group, exclude=step.image_id
    )


def routes(studio: Studio) -> list[Route]:
    """/ searches."""

    def search(request: Request) -> Response:
        asked = read_address(request.query_params)
        versions = studio.project.versions()
        version = studio.project.version(request.query_params.get("model"), versions)
        if asked.step is not None:
            reference_bytes(studio, asked.step)
        groups = tuple(name for name in studio.project.gallery if name)
        results: list[Result] = []
        if asked.step is not None and asked.step.text:
            searcher = studio.project.searcher(version.number)
            results = found(studio, searcher, asked, asked.count)
        return studio.page(
            "search",
            asked=asked,
            version=version,
            versions=versions,
            groups=groups,
            results=[_shown(one, rank, asked, version) for rank, one in enumerate(results, start=1)],
            path=[_link(asked, place, version) for place in range(len(asked.steps))],
            gallery=_gallery(studio, asked, version, request.query_params) if not results else None,
            examples=_examples(studio, version) if asked.step is None else [],
        )

    return [Route("/", search)]


def _shown(result: Result, rank: int, asked: Asked, version: Version) -> dict[str, Any]:
    onward = (*asked.steps, Step(f"{GALLERY}:{result.image_id}", ""))
    return {
        "rank": rank,
        "id": result.image_id,
        "relevance": result.relevance,
        "picture": picture_address(result.image_id),
        "onward": address("/", *asked.parts(onward[-MOST_STEPS:]), model=version.number),
    }


def _link(asked: Asked, place: int, version: Version) -> dict[str, Any]:
    step = asked.steps[place]
    return {
        "picture": step.picture,
        "text": step.text,
        "address": address("/", *asked.parts(asked.steps[: place + 1]), model=version.number),
    }


def _gallery(studio: Studio, asked: Asked, version: Version, values: QueryParams) -> dict[str, Any]:
    """One page of the images that can be picked."""
    galleries = studio.project.gallery
    if asked.group is not None and asked.group not in galleries:
        raise BadInput(f"no group {asked.group[:40]!r}", field="group", remedy=f"Groups: {', '.join(galleries)}")
    chosen = [asked.group] if asked.group is not None else list(galleries)
    ids = list(dict.fromkeys(image for name in chosen for image in galleries[name]))
    pages = max(1, -(-len(ids) // PAGE))
    page = min(whole_number(values.get("page", "")) or 1, pages)

    def turned(number: int) -> str:
        return address("/", *asked.parts(), model=version.number, page=number) if 1 <= number <= pages else ""

    return {
        "images": [
            {
                "id": image,
                "picture": picture_address(image),
                "address": address("/", *asked.parts([Step(f"{GALLERY}:{image}", "")]), model=version.number),
            }
            for image in ids[(page - 1) * PAGE : page * PAGE]
        ],
        "page": page,
        "pages": pages,
        "count": len(ids),
        "before": turned(page - 1),
        "after": turned(page + 1),
    }


def _examples(studio: Studio, version: Version) -> list[dict[str, Any]]:
    """A few queries of the benchmark, spread over it, to begin with."""
    queries = list(studio.project.queries.values())
    step = max(1, len(queries) // EXAMPLES)
    asked = Asked((), None, ANSWERS)
    return [
        {
            "picture": picture_address(one.reference),
            "text": one.text,
            "address": address(
                "/",
                *asked.parts([Step(f"{GALLERY}:{one.reference}", one.text)]),
                group=one.category,
                model=version.number,
            ),
        }
        for one in queries[::step][:EXAMPLES]
    ]
