"""The web application: its pages, and how errors become sentences."""

import logging
from collections.abc import Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from qure.errors import BadInput, StageFailed
from qure.studio.answers import Answers
from qure.studio.pages import compare, correct, minings, pictures, search, survey
from qure.studio.pictures import SmallCopies, Uploads
from qure.studio.project import Project
from qure.studio.protection import LOOPBACK, Protection
from qure.studio.studio import Missing, Studio
from qure.studio.survey.questions import SURVEY

logger = logging.getLogger(__name__)

ANSWERS, UPLOADS = "answers.db", "uploads"


def studio_of(project: Project, folder: Path, *, read_only: bool = False) -> Studio:
    """A studio that keeps what people say and bring in a folder.

    Raises:
        BadInput: the benchmark has no images, or the folder holds something else.
    """
    return Studio(
        project,
        Answers(folder / ANSWERS, read_only=read_only),
        Uploads(folder / UPLOADS),
        SmallCopies(project.images),
        folder / SURVEY,
        read_only,
    )


def application(studio: Studio, *, hosts: Iterable[str] = LOOPBACK) -> Starlette:
    """The application.

    Args:
        studio: what the pages stand on.
        hosts: names under which it may be asked for.
    """

    def refused(request: Request, error: Exception) -> Response:
        return studio.sentence("That does not work", f"{error}", status=400)

    def failed(request: Request, error: Exception) -> Response:
        logger.warning("%s: %s", request.url.path, error)
        return studio.sentence("That does not work now", f"{error}", status=503)

    def unwritable(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        logger.warning("%s: %s", request.url.path, error)
        text = f"What this page needs cannot be read or kept: {error.strerror or 'the system refuses'}."
        return studio.sentence("That does not work now", text, status=503)

    def missing(request: Request, error: Exception) -> Response:
        text = str(error) if isinstance(error, Missing) else "There is no such page."
        return studio.sentence("Not here", text, status=404)

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return missing(request, error)
        return studio.sentence("That does not work", f"{error.detail}.", status=error.status_code)

    def broken(request: Request, error: Exception) -> Response:
        return studio.sentence("A fault", "The page has a fault; the server's log has it.", status=500)

    return Starlette(
        routes=[
            route for page in (search, compare, survey, correct, minings, pictures) for route in page.routes(studio)
        ],
        middleware=[Middleware(Protection, hosts=hosts, read_only=studio.read_only)],
        exception_handlers={
            BadInput: refused,
            StageFailed: failed,
            OSError: unwritable,
            Missing: missing,
            HTTPException: http,
            Exception: broken,
        },
    )
