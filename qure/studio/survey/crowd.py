"""Simulated people: they answer a survey through the page itself, by the catalogue's truth with noise.

They prove the loop end to end: the version that is truly better must be the one that they prefer. They are no people,
and what they say is worth nothing beside the catalogue.
"""

import html
import http.client
import http.cookiejar
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from qure.errors import BadInput, StageFailed
from qure.studio.project import Project
from qure.studio.studio import COOKIE

#: A row's mean true relevance that earns scores 2, 3, 4, 5.
STEPS = (0.4, 0.55, 0.7, 0.85)
#: Below this nobody finds anything relevant.
NOTHING = 0.25

Relevance = Callable[[str, str, list[str]], list[float]]


def simulate(address: str, relevance: Relevance, *, people: int, seed: int = 0, at_once: int = 4) -> int:
    """Lets people answer a running survey, some at once, and returns how many answers they gave.

    Args:
        address: of the page.
        relevance: what is true (`relevance_of`).
        people: how many.
        seed: person i draws from (seed, i).
        at_once: how many answer side by side.

    Raises:
        StageFailed: the server does not answer, or refuses.
    """
    crowd = [SimulatedPerson(address, relevance, [seed, number]) for number in range(people)]
    with ThreadPoolExecutor(at_once) as pool:
        return sum(pool.map(SimulatedPerson.answer_all, crowd))


def relevance_of(project: Project) -> Relevance:
    """The catalogue's truth about a project's validation queries.

    Raises:
        BadInput: the data is real: nobody knows its truth.
    """
    truth = project.truth
    if truth is None:
        raise BadInput(
            "this data has no known truth to simulate people by",
            file=project.benchmark.root(project.layout.data),
            remedy="Ask people",
        )
    query_of = {(one.reference, one.text): one.query_id for one in project.queries.values()}

    def relevance(reference: str, text: str, images: list[str]) -> list[float]:
        return [float(value) for value in truth.relevance(query_of[reference, text], images)]

    return relevance


@dataclass
class SimulatedPerson:
    """Someone who answers through HTTP as a browser does.

    Attributes:
        address: of the page, for example http://127.0.0.1:8765.
        relevance: reference id, text and image ids -> true relevance of each, 0..1.
        seed: decides everything that is random.
        doubt: standard deviation of what she sees in a row, in relevance.
        careless: probability that she answers a question, or a check, without looking.
        patience: seconds that she waits for a server that does not answer.
        token: under which she goes on; empty before she has begun.
        given: question id -> what the page acknowledged.
    """

    address: str
    relevance: Relevance
    seed: int | list[int]
    doubt: float = 0.08
    careless: float = 0.02
    patience: float = 60.0
    token: str = ""
    given: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))

    def answer_all(self) -> int:
        """Answers what is left, and returns how many questions she has answered in all.

        Raises:
            StageFailed: the server does not answer for longer than her patience, or refuses.
        """
        page = self._ask("/survey", None)
        if "/survey/begin" in page:
            fresh = re.search(r'name="fresh" value="([^"]*)"', page)
            page = self._ask("/survey/begin", {"agree": "yes", "fresh": fresh[1] if fresh else ""})
        self.token = next((str(one.value) for one in self._jar if one.name == COOKIE), self.token)
        while (asked := _question(page)) is not None:
            form = self._decide(asked)
            page = self._ask("/survey/answer", form)
            # The page that follows is the acknowledgement: the answer is on the server's disk.
            self.given[asked.id] = form
        return len(self.given)

    def _decide(self, asked: "_Asked") -> dict[str, str]:
        careless = self._generator.random() < self.careless
        if asked.check and not careless:
            return asked.form([5, 1] if asked.check == 1 else [1, 5], asked.check, nothing=False)
        true = [float(np.mean(self.relevance(asked.reference, asked.text, side))) for side in asked.sides]
        seen = [value + self.doubt * float(self._generator.normal()) for value in true]
        if careless:
            seen = self._generator.random(2).tolist()
        scores = [1 + sum(value >= step for step in STEPS) for value in seen]
        return asked.form(scores, 1 if seen[0] > seen[1] else 2, nothing=max(seen) < NOTHING)

    def _ask(self, place: str, form: dict[str, str] | None) -> str:
        """A page; a server that is away is asked again, with the same form, as a person would."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        deadline = time.monotonic() + self.patience
        while True:
            try:
                with self._opener.open(f"{self.address}{place}", data, timeout=self.patience) as answer:
                    return str(answer.read().decode("utf-8"))
            except urllib.error.HTTPError as error:
                text = re.sub(r"<[^>]+>", " ", error.read().decode("utf-8", "replace"))
                raise StageFailed(f"{place} is refused ({error.code}): {' '.join(text.split())[-300:]}") from None
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() > deadline:
                    raise StageFailed(f"{self.address} does not answer: {error}") from None
                time.sleep(0.1)


@dataclass(frozen=True)
class _Asked:
    id: str
    reference: str
    text: str
    sides: tuple[list[str], list[str]]
    check: int

    def form(self, scores: list[int], preferred: int, *, nothing: bool) -> dict[str, str]:
        given = {"question": self.id, "score_1": f"{scores[0]}", "score_2": f"{scores[1]}", "preferred": f"{preferred}"}
        return given | ({"nothing": "yes"} if nothing else {})


def _question(page: str) -> _Asked | None:
    """What a page asks, read off its form; None at the end."""
    found = re.search(r'name="question" value="([^"]*)"', page)
    if found is None:
        return None
    pictures = [
        urllib.parse.parse_qs(urllib.parse.urlsplit(html.unescape(place)).query)["id"][0]
        for place in re.findall(r'<img src="([^"]*)"', page)
    ]
    text = re.search(r"<q>(.*?)</q>", page, re.DOTALL)
    check = re.search(r'data-check="([12])"', page)
    assert text is not None
    return _Asked(
        html.unescape(found[1]),
        pictures[0],
        html.unescape(text[1]),
        (pictures[1:6], pictures[6:11]),
        int(check[1]) if check else 0,
    )
