"""What a survey asks: the same queries to two versions, their top five side by side, and attention checks.

A survey is a file that never changes once people answer it: answers name its fingerprint.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.files import fingerprint, read_json, write_json
from qure.serving.searcher import Searcher
from qure.studio.project import Project, Version

SURVEY = "survey.json"
FORMAT = "qure-survey"
#: Images of one side, as published.
SIDE = 5
#: Highest score, as published.
LIKERT = 5

CONSENT = (
    "You will see a picture, a wish in words, and two rows of five pictures that two programs found for it. You say "
    "how well each row fits and which one you prefer. Only your answers are kept, each with its time and a number made "
    "of a random token instead of your name, and may be published in that form. Nothing else is asked or stored. You "
    "may stop at any time, and go on later with your token."
)


@dataclass(frozen=True, slots=True)
class SurveyQuestion:
    """One comparison.

    Attributes:
        id: in the survey.
        query_id, reference, target, text, category: the benchmark's query.
        a, b: the five best images of either version.
        check: what an attention check asks for: the side, 1 (left) or 2 (right), that gets the highest score and the
            preference while the other gets the lowest; 0: a real question.
    """

    id: str
    query_id: str
    reference: str
    target: str
    text: str
    category: str
    a: tuple[str, ...]
    b: tuple[str, ...]
    check: int = 0


@dataclass(frozen=True)
class Survey:
    """A survey.

    Attributes:
        training_set: whose queries and images.
        versions: the registered versions a and b, by number.
        consent: what people agree to.
        sets: question sets; a person answers one, whose checks lie between its questions.
        seed: of the choice.
    """

    training_set: str
    versions: tuple[int, int]
    consent: str
    sets: tuple[tuple[SurveyQuestion, ...], ...]
    seed: int = 0

    @property
    def fingerprint(self) -> str:
        """Names the survey in answers."""
        return fingerprint(self._content())[:16]

    def save(self, file: Path) -> None:
        """Writes the survey, whole or not at all."""
        write_json(file, self._content())

    @classmethod
    def load(cls, file: Path) -> "Survey":
        """Reads what `save` wrote.

        Raises:
            BadInput: missing, damaged or of another version.
        """
        content = read_json(file, remedy="Make a survey: qure survey new")
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != 1:
            raise BadInput("is no survey of version 1", file=file, remedy="Make a survey: qure survey new")
        try:
            return cls(
                training_set=content["training_set"],
                versions=(int(content["versions"][0]), int(content["versions"][1])),
                consent=str(content["consent"]),
                sets=tuple(tuple(_question(one) for one in chosen) for chosen in content["sets"]),
                seed=int(content["seed"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BadInput(f"not a whole survey: {error!r}", file=file) from None

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": 1,
            "training_set": self.training_set,
            "versions": list(self.versions),
            "seed": self.seed,
            "consent": self.consent,
            "sets": [[asdict(one) | {"a": list(one.a), "b": list(one.b)} for one in chosen] for chosen in self.sets],
        }


def new_survey(
    project: Project,
    a: Version,
    b: Version,
    *,
    sets: int = 4,
    questions: int = 20,
    checks: int = 2,
    seed: int = 0,
    consent: str = CONSENT,
) -> Survey:
    """Chooses queries at random among those for which the two versions' top five differ.

    Args:
        project: its queries have categories, as HP-FashionIQ's form asks.
        a, b: the versions.
        sets: question sets; each person answers one.
        questions, checks: in each set.
        seed: of the choice.
        consent: what people agree to.

    Raises:
        BadInput: no categories, one version twice, or too few queries whose answers differ.
    """
    if not any(project.gallery):
        raise BadInput(
            f"{project.training_set} has no categories, which HP-FashionIQ's form asks for",
            field="--training-set",
            remedy="Make the survey with fashioniq",
        )
    if a.number == b.number:
        raise BadInput(f"a survey compares two versions, not {a.number} with itself", field="--b")
    if min(sets, questions) < 1 or checks < 0:
        raise BadInput("a survey has at least one set of one question")
    generator = np.random.default_rng(seed)
    triplets = list(project.queries.values())
    searchers = project.searcher(a.number), project.searcher(b.number)
    chosen: list[SurveyQuestion] = []
    for place in generator.permutation(len(triplets)):
        one = triplets[place]
        top_a, top_b = (_top_five(project, searcher, one) for searcher in searchers)
        if set(top_a) != set(top_b) and min(len(top_a), len(top_b)) == SIDE:
            chosen.append(_of(one, top_a, top_b, f"q{len(chosen) + 1}"))
        if len(chosen) == sets * questions:
            break
    if len(chosen) < sets * questions:
        raise BadInput(
            f"the two versions differ in their top {SIDE} for {len(chosen)} of {len(triplets)} queries; "
            f"{sets} sets of {questions} take {sets * questions}",
            remedy="Ask for fewer sets or questions: --sets, --questions",
        )
    parts = [chosen[start : start + questions] for start in range(0, len(chosen), questions)]
    with_checks = tuple(_with_checks(part, checks, generator) for part in parts)
    return Survey(project.training_set, (a.number, b.number), consent, with_checks, seed)


def _top_five(project: Project, searcher: Searcher, query: Triplet) -> tuple[str, ...]:
    found = searcher.search(
        project.images.read(query.reference), query.text, top_k=SIDE, group=query.category, exclude=query.reference
    )
    return tuple(one.image_id for one in found)


def _of(query: Triplet, a: Sequence[str], b: Sequence[str], name: str) -> SurveyQuestion:
    return SurveyQuestion(
        name, query.query_id, query.reference, query.target or "", query.text, query.category or "", tuple(a), tuple(b)
    )


def _with_checks(
    part: Sequence[SurveyQuestion], checks: int, generator: np.random.Generator
) -> tuple[SurveyQuestion, ...]:
    """A set with its checks, evenly spread, never first; each shows a question's pictures and says what to answer."""
    result = list(part)
    for number in range(checks):
        model = part[int(generator.integers(len(part)))]
        side = int(generator.integers(1, 3))
        place = round((number + 1) * len(part) / (checks + 1)) + number
        result.insert(max(1, place), replace(model, id=f"{part[0].id}-check{number + 1}", check=side))
    return tuple(result)


def _question(content: dict[str, Any]) -> SurveyQuestion:
    return SurveyQuestion(**{**content, "a": tuple(content["a"]), "b": tuple(content["b"])})
