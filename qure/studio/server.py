"""Serving the page: one process, threads for requests, and the champion loaded before anybody asks."""

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from qure.errors import QureError
from qure.studio.application import application, studio_of
from qure.studio.project import Project
from qure.studio.protection import LOOPBACK, is_loopback

logger = logging.getLogger(__name__)


def serve(
    project: Project,
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    allowed: Iterable[str] = (),
    read_only: bool = False,
) -> None:
    """Serves until it is interrupted.

    Args:
        project: what is shown.
        folder: where answers, visitors' pictures and the survey lie.
        host, port: where to listen.
        allowed: names under which the page may be asked for, beside `host` and, on loopback, this machine's own.
        read_only: take nothing.

    Raises:
        BadInput: no version is registered, no images, or a folder of something else.
        StageFailed: MLflow does not answer.
        OSError: the port is taken.
    """
    import socket

    import uvicorn

    studio = studio_of(project, folder, read_only=read_only)
    champion = project.version(None, project.versions())
    own = LOOPBACK if is_loopback(host) else ()
    app = application(studio, hosts=[host, *own, *allowed])
    threading.Thread(target=_warm, args=(project, champion.number), daemon=True).start()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))  # before uvicorn, which would end without saying why in one line
        shown = f"[{host}]" if ":" in host else host
        logger.info("the page is at http://%s:%d; end it with Ctrl-C", shown, listening.getsockname()[1])
        if not is_loopback(host):
            logger.warning(
                "everybody who reaches %s can read this page%s", host, "" if read_only else " and write to it"
            )
        settings = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        uvicorn.Server(settings).run(sockets=[listening])


def _warm(project: Project, number: int) -> None:
    """Loads a version, so that the first visitor does not wait; what is wrong is told to whoever asks for it."""
    try:
        project.searcher(number)
        logger.info("%s version %d is loaded", project.name, number)
    except QureError as error:
        logger.warning("%s version %d does not load: %s", project.name, number, error)
