"""What MLflow and its transports raise, in words that a person can act on: what failed, and the way out."""

import os
import re

from qure.profile import VARIABLE as PROFILE
from qure.tracking.redaction import redacted

#: How transports and databases say that the server is not there any more.
_GONE = re.compile(
    r"Connection ?refused|Connection ?reset|Connection aborted|RemoteDisconnected|Read timed out|timed out"
    r"|server closed the connection|connection to server .* failed: (?!FATAL)|terminating connection"
    r"|too many 50\d error responses",
    re.IGNORECASE,
)
#: How S3 says that a bucket is not there. MLflow's server answers with status 500 then, whatever is wrong behind it.
_BUCKET = re.compile(r"NoSuchBucket|specified bucket does not exist", re.IGNORECASE)
_STORAGE = re.compile(r"mlflow-artifacts/.*(too many 50\d error responses|\b50\d\b)", re.DOTALL)
_CLOCK = re.compile(r"RequestTimeTooSkewed|difference between the request time and the", re.IGNORECASE)

#: Somebody's clock is wrong by more than the quarter of an hour that S3 allows.
CLOCK_WAY_OUT = "Set this machine's clock (timedatectl set-ntp true), or the server's, then start the command again"
_AGAIN = "start the same command again: it goes on from what is whole"


def is_clock(said: str) -> bool:
    """Whether S3 refuses a request because two clocks differ."""
    return bool(_CLOCK.search(said))


def explained(error: BaseException) -> str:
    """What failed and what to do, in one line without credentials."""
    said = str(error)
    if is_clock(said):
        return f"the clocks of this machine and of the storage differ too much. {CLOCK_WAY_OUT}"
    if _BUCKET.search(said):
        return f"the bucket that keeps its artifacts is not there. Make it again{services_hint()}, then {_AGAIN}"
    if _STORAGE.search(said):
        return (
            "it cannot use the storage that keeps its artifacts; its log says why. Start the storage, or make its "
            f"bucket again{services_hint()}, then {_AGAIN}"
        )
    if remedy := _remedy(said):
        return f"{first_line(error)}. {remedy}"
    if found := _GONE.search(said):
        return f"it went away ({found[0]}). Start it again{services_hint()}, then {_AGAIN}"
    return first_line(error)


def first_line(error: BaseException) -> str:
    """An exception's first line, without credentials; its type where it says nothing.

    >>> first_line(ValueError("bad row 3\\nand a long traceback"))
    'bad row 3'
    >>> first_line(KeyboardInterrupt())
    'KeyboardInterrupt'
    """
    lines = redacted(str(error)).strip().splitlines()
    return lines[0][:500] if lines else type(error).__name__


def services_hint() -> str:
    """How what runs on this machine is started, where a profile says that it does; with a space before it."""
    return " (make services)" if os.environ.get(PROFILE, "").strip() else ""


def _remedy(said: str) -> str:
    if " 401" in said or " 403" in said or "UNAUTHENTICATED" in said or "PERMISSION_DENIED" in said:
        return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if "password authentication failed" in said:
        return "Correct user and password in MLFLOW_TRACKING_URI"
    if "No module named 'psycopg" in said:
        return "Install the driver with: pip install 'qure[postgres]'"
    return ""
