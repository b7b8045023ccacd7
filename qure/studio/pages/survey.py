"""The survey: consent, one question after the other, and the end; resumed by a token.

Forms only: an answer is on the disk before the next question is shown, and a form that is sent twice, from two tabs or
after a restart of the server, counts once.
"""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qure.errors import BadInput
from qure.studio.answers import is_token, new_token, person_of
from qure.studio.studio import Studio, address, form_of, known_person, see_other, token_for_writing, token_of
from qure.studio.survey.progress import Participation, answer, consent, participation
from qure.studio.survey.questions import Survey

_NOTES = {
    "kept": "Your answer is kept.",
    "earlier": "You had answered that question before, perhaps in another tab: your first answer stays.",
}


def routes(studio: Studio) -> list[Route]:
    """/survey shows where a person is; /survey/begin, /survey/resume and /survey/answer are its forms."""

    def page(request: Request) -> Response:
        if not studio.survey_file.is_file():
            return studio.page("survey_none", possible=any(studio.project.gallery))
        survey = _survey(studio)
        person = known_person(request)
        found = participation(studio.answers, survey, person) if person is not None else None
        if found is None:
            return studio.page("survey_begin", survey=survey, trouble=None, fresh=new_token())
        token = token_of(request)
        question = found.next
        if question is None:
            return studio.page("survey_end", token=token, count=_real(found))
        left, right = found.sides(question)
        return studio.page(
            "survey_question",
            question=question,
            sides=[("left", 1, left), ("right", 2, right)],
            done=len(found.answered),
            total=len(found.questions),
            token=token,
            note=_NOTES.get(request.query_params.get("note", "")),
        )

    async def begin(request: Request) -> Response:
        form = await form_of(request)
        if form.get("agree") != "yes":
            raise BadInput("without consent nobody is asked", remedy="Go back and tick the box, or close the page")
        survey = _survey(studio)
        token = token_for_writing(request, form)
        await run_in_threadpool(consent, studio.answers, survey, person_of(token))
        return see_other("/survey", token=token, request=request)

    async def resume(request: Request) -> Response:
        token = (await form_of(request)).get("token", "").strip()
        survey = _survey(studio)
        if not is_token(token) or participation(studio.answers, survey, person_of(token)) is None:
            trouble = "Nobody has begun this survey with that token."
            return studio.page("survey_begin", status=400, survey=survey, trouble=trouble, fresh=new_token())
        return see_other("/survey", token=token, request=request)

    async def answered(request: Request) -> Response:
        form = await form_of(request)
        survey, person = _survey(studio), known_person(request)
        found = participation(studio.answers, survey, person) if person is not None else None
        if found is None:
            return see_other("/survey")
        question = found.question(form.get("question", ""))
        scores = (_number(form, "score_1", "how well the left row fits"), _number(form, "score_2", "the right row"))
        preferred = _number(form, "preferred", "which row you prefer")
        kept = await run_in_threadpool(
            answer,
            studio.answers,
            found,
            question,
            scores=scores,
            preferred=preferred,
            nothing=form.get("nothing") == "yes",
        )
        return see_other(address("/survey", note="kept" if kept else "earlier"))

    return [
        Route("/survey", page),
        Route("/survey/begin", begin, methods=["POST"]),
        Route("/survey/resume", resume, methods=["POST"]),
        Route("/survey/answer", answered, methods=["POST"]),
    ]


def _survey(studio: Studio) -> Survey:
    """The survey that is asked here.

    Raises:
        BadInput: its file is missing or damaged, or it is about another training set's pictures.
    """
    survey, here = Survey.load(studio.survey_file), studio.project.training_set
    if survey.training_set != here:
        raise BadInput(
            f"the survey is about {survey.training_set}, and this page shows {here}",
            remedy=f"Start it with --training-set {survey.training_set}",
        )
    return survey


def _real(found: Participation) -> int:
    return sum(not one.check for one in found.questions)


def _number(form: dict[str, str], name: str, what: str) -> int:
    value = form.get(name, "")
    if len(value) != 1 or value not in "12345":
        raise BadInput(f"please say {what}", field=name, remedy="Go back: what you chose is still there")
    return int(value)
