"""What every component does around its one library call: settings from the argument, errors as exit codes."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from components.settings import parse
from qure.config import Settings
from qure.errors import QureError

logger = logging.getLogger(__name__)

#: Off before any library can look: nothing here reports usage to anyone.
QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

#: Who speaks from INFO on.
OURS = ("qure", "components", "infra")
UNEXPECTED = "Nobody expected this: start the run again, and report it with the lines above when it comes back"


@contextmanager
def stage(params: str) -> Iterator[Settings]:
    """Runs a stage: yields the settings; an error ends the process with one message and the right exit code.

    Args:
        params: the text of params.yaml.

    Exit codes: 2 for bad input (a retry cannot help), 1 for every other failure. What is printed holds no secret
    that the environment knows of, tracebacks included. The log has lines of ours from INFO on, of others from WARNING
    on; its last line says how long the stage took, or what went wrong and what to do.
    """
    from qure.tracking import redacted

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout, force=True
    )
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    begun = time.monotonic()
    try:
        yield parse(params)
        logger.info("done in %.0f s", time.monotonic() - begun)
    except QureError as error:
        print(f"error: {redacted(str(error))}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        print(redacted(traceback.format_exc()), file=sys.stderr, flush=True)
        told = traceback.format_exception_only(error)[-1].strip()
        print(f"error: {redacted(told)}. {UNEXPECTED}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
