"""`qure demo`: the data, then every stage that has something to do, then the results, told to a person who watches.

DVC decides what runs; this follows what it says, names each stage before it starts, and tells how long it took.
"""

import json
import logging
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from qure.cli.application import app
from qure.cli.chain import Chain
from qure.cli.evaluation import results
from qure.cli.options import PARAMETERS, Parameters, require_installed, settings_for
from qure.errors import BadInput
from qure.layout import Layout

logger = logging.getLogger(__name__)

#: Seconds of each stage and of whole runs on the processors that it names; `python -m benchmarks.demo` measures them.
#: A processor that others use too takes twice as long at one hour as at another.
SECONDS = Path(__file__).parent / "demo_seconds.json"


@app.command()
def demo(
    params: Parameters = PARAMETERS,
    timings: Annotated[Path | None, typer.Option(help="JSON file for the seconds of each stage that ran.")] = None,
) -> None:
    """Everything at once: the data, every stage that has something to do (`dvc repro`), then the results."""
    if not Path("dvc.yaml").is_file():
        raise BadInput("there is no dvc.yaml in this folder", remedy="Start it in the project's own folder")
    require_installed("dvc", "great_expectations", "mlflow")
    settings = settings_for(params)
    begun = time.monotonic()
    from qure.catalogue.restore import restore
    from qure.training.speed import span

    logger.info("%s", announcement())
    if restore(settings, Layout.data) != "present":
        logger.info("the data is there after %s", span(time.monotonic() - begun))
    logger.info("asking DVC which stages have something to do")
    chain = Chain(read_seconds()["seconds"], {"data": time.monotonic() - begun}, len(settings.training))
    chain.run()
    if chain.ran:
        logger.info("done: %d of %d stages ran, in %s", len(chain.ran), chain.total, span(time.monotonic() - begun))
    else:
        logger.info("nothing had to be done: all %d stages are up to date", len(chain.kept))
    if timings is not None:
        from qure.files import write_json

        stages = {name: round(seconds, 1) for name, seconds in chain.seconds.items()}
        write_json(timings, {"whole": round(time.monotonic() - begun, 1), "seconds": stages})
    results(params=params, data=Layout.data, artifacts=Layout.artifacts)


def announcement() -> str:
    """How long a whole run takes, from measured ones on several processors.

    >>> announcement().startswith("the whole chain takes ")
    True
    """
    measured = read_seconds()
    minutes = sorted({max(1, round(seconds / 60)) for both in measured["whole"].values() for seconds in both})
    span = f"{minutes[0]} to {minutes[-1]}" if len(minutes) > 1 else f"about {minutes[0]}"
    return f"the whole chain takes {span} min on {measured['cores']} idle cores; what is done already is kept"


def read_seconds() -> dict[str, Any]:
    """`cores`, least and most `whole` seconds by processor, `seconds` by stage on the last of them."""
    return dict(json.loads(SECONDS.read_text(encoding="utf-8")))
