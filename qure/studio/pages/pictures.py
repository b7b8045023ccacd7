"""Small copies of images, visitors' pictures, and the style and script of the page."""

import logging
from importlib.resources import files

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qure.errors import BadInput
from qure.studio.pictures import MOST_BYTES
from qure.studio.studio import Missing, Studio

logger = logging.getLogger(__name__)

_STATIC = {"studio.css": "text/css", "studio.js": "text/javascript"}
#: What is read on of a file that is too large, so that the browser hears why, in bytes.
_HEARD_OUT = 300_000_000
_KEEP = {"Cache-Control": "private, max-age=3600"}


def routes(studio: Studio) -> list[Route]:
    """/picture?id=, /uploads (POST: the file's bytes), /uploads/KEY, /static/NAME, /favicon.ico."""

    def picture(request: Request) -> Response:
        content = studio.thumbnails.of(request.query_params.get("id", ""))
        if content is None:
            raise Missing("There is no such image.")
        return Response(content, media_type="image/jpeg", headers=_KEEP)

    def uploaded(request: Request) -> Response:
        content = studio.uploads.read(request.path_params["key"])
        if content is None:
            raise Missing("There is no such picture.")
        return Response(content, media_type="image/png", headers=_KEEP)

    async def upload(request: Request) -> Response:
        try:
            content = await _body(request)
            key = await run_in_threadpool(studio.uploads.keep, content)
        except BadInput as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except OSError as error:
            logger.warning("a picture cannot be kept: %s", error)
            return JSONResponse({"error": f"the picture cannot be kept: {error.strerror}"}, status_code=503)
        return JSONResponse({"reference": f"upload:{key}"}, status_code=201)

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise Missing("There is no such file.")
        content = (files("qure.studio") / "static" / name).read_bytes()
        return Response(content, media_type=_STATIC[name])

    def icon(request: Request) -> Response:
        return Response(status_code=204)  # browsers ask for one beside whatever they show

    return [
        Route("/favicon.ico", icon),
        Route("/picture", picture),
        Route("/uploads", upload, methods=["POST"]),
        Route("/uploads/{key}", uploaded),
        Route("/static/{name}", static),
    ]


async def _body(request: Request) -> bytes:
    """A request's bytes.

    Raises:
        BadInput: more than `MOST_BYTES`. They are read on and thrown away, else browsers show a broken connection.
    """
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MOST_BYTES:
            content += chunk
        elif size > _HEARD_OUT:
            break
    if size > MOST_BYTES:
        raise BadInput(f"the file is larger than {MOST_BYTES // 1_000_000} MB", remedy="Choose a smaller picture")
    return bytes(content)
