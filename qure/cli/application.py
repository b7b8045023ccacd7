"""The application `qure`: how it is put together, and how errors end it."""

import errno
import os
import sys
from typing import Any

import typer

from qure.errors import QureError

# Off before any library can look: nothing here reports usage to anyone.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


#: How the operating system says that nothing more can be written; libraries wrap it in errors of their own.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Commands(typer.Typer):
    """A typer application that prints a `QureError`, or a full disk, as one message and exits with its code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except QureError as error:
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            sys.exit(error.exit_code)
        except Exception as error:
            full = next((reason for reason in map(os.strerror, NO_SPACE) if reason in str(error)), None)
            if full is None:
                raise
            message = f"error: {full}. Make space and run the same command again: it goes on from what is whole"
            typer.secho(message, err=True, fg=typer.colors.RED)
            sys.exit(1)


app = Commands(
    help="Retrain, judge and promote composed-image-retrieval models.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
