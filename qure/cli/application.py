"""The application `qure`: how it is put together, its global options, and how errors end it."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qure import __version__
from qure.cli.errors import ending
from qure.environment import naming_damage
from qure.profile import use_profile

# Off before any library can look: nothing here reports usage to anyone.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


class Group(TyperGroup):
    """Names a damaged file of the environment; outside of it typer has made "Aborted." of that error."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with naming_damage():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with naming_damage():
            return super().invoke(ctx)


class Commands(typer.Typer):
    """A typer application that ends with one message and an exit code (`qure.cli.errors`)."""

    #: Whether errors show their traceback too.
    verbose = False

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            use_profile()
            return super().__call__(*args, **kwargs)
        except Exception as error:
            end = ending(error)
            if end is None:
                raise
            if self.verbose:
                traceback.print_exc()
            typer.secho(f"error: {end.message}", err=True, fg=typer.colors.RED)
            sys.exit(end.exit_code)


app = Commands(
    help="Retrain, judge and promote composed-image-retrieval models.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"qure {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more; show tracebacks of errors.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")] = False,
) -> None:
    """What holds for all commands."""
    from qure.progress import inherited_verbosity, log_to_terminal

    verbosity = 1 if verbose else -1 if quiet else inherited_verbosity()
    app.verbose = verbosity > 0
    log_to_terminal(verbosity)
