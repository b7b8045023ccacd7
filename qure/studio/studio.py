"""What every page stands on: the project, people's answers, pictures, templates."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from qure.errors import BadInput
from qure.studio.answers import Answers, is_token, new_token, person_of
from qure.studio.pictures import MOST_BYTES, SmallCopies, Uploads
from qure.studio.project import Project

#: Bytes of a form.
MOST_FORM = 64_000
COOKIE = "qure-studio"
#: How long a browser remembers its person's token, in seconds.
_REMEMBERED = 90 * 24 * 3600


class Missing(Exception):
    """What was asked for is not there; the page says so in a sentence."""


@dataclass
class Studio:
    """Args:
    project: what is shown.
    answers: what people say.
    uploads: the pictures they bring.
    thumbnails: small copies of the benchmark's images.
    survey_file: the survey that people answer, where there is one.
    read_only: nothing is taken.
    """

    project: Project
    answers: Answers
    uploads: Uploads
    thumbnails: SmallCopies
    survey_file: Path
    read_only: bool = False

    def __post_init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("qure.studio", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"picture": picture_address, "address": address}

    def page(self, name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Renders a template."""
        shared = {"read_only": self.read_only, "training_set": self.project.training_set, "here": name}
        shared |= {"most_bytes": MOST_BYTES}
        return HTMLResponse(self._templates.get_template(f"{name}.html.j2").render(shared | values), status)

    def sentence(self, title: str, text: str, *, status: int) -> HTMLResponse:
        """A page with one sentence on it."""
        return self.page("sentence", status=status, title=title, text=text)


def address(path: str, *parts: tuple[str, Any], **more: Any) -> str:
    """An address of this page; None is left out.

    >>> address("/", ("r", "gallery:a b"), ("t", ""), model=3, group=None)
    '/?r=gallery%3Aa+b&t=&model=3'
    """
    given = [(name, str(value)) for name, value in (*parts, *more.items()) if value is not None]
    return f"{path}?{urlencode(given)}" if given else path


def picture_address(image_id: str) -> str:
    """Where the small copy of an image is."""
    return address("/picture", id=image_id)


def whole_number(text: str) -> int | None:
    """A number of an address; None for what is none, or longer than any that is meant: Python refuses thousands.

    >>> whole_number("12"), whole_number("\u00b2"), whole_number("-1"), whole_number("9" * 5000)
    (12, None, None, None)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form (urlencoded), each once.

    Raises:
        BadInput: too large, or no text.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MOST_FORM:
            raise BadInput(f"a form of more than {MOST_FORM:,} bytes is not taken")
    try:
        return dict(parse_qsl(content.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise BadInput("this is no form") from None


def token_of(request: Request) -> str | None:
    """The token that the browser remembers; something else under that name is none."""
    token = request.cookies.get(COOKIE, "")
    return token if is_token(token) else None


def known_person(request: Request) -> str | None:
    """The person behind the browser's token."""
    token = token_of(request)
    return None if token is None else person_of(token)


def see_other(place: str, *, token: str | None = None, request: Request | None = None) -> Response:
    """Leads the browser to another page after a form; `token` is what it shall remember."""
    response = RedirectResponse(place, status_code=303)
    if token is not None:
        secure = request is not None and request.url.scheme == "https"
        response.set_cookie(COOKIE, token, max_age=_REMEMBERED, httponly=True, samesite="strict", secure=secure)
    return response


def token_for_writing(request: Request, form: dict[str, str]) -> str:
    """The token of whoever sends a form: the browser's, else the one that came with the page.

    So a form that is sent again, because the server died before it could answer, comes from the same person.
    """
    fresh = form.get("fresh", "")
    return token_of(request) or (fresh if is_token(fresh) else new_token())
