"""`QURE_PROFILE`: environment variables for every command, from a file that services leave when they have started.

    QURE_PROFILE=services make demo

`services` stands for `.work/services/profile.env`, in this folder or the nearest above it. Each line is NAME=VALUE as a
shell reads it, so that `set -a; . .work/services/profile.env` does the same for programs that are not qure's. What the
file says wins over the variables that are there: an address and its password belong together.
"""

import os
import re
import shlex
from pathlib import Path

from qure.errors import BadInput

VARIABLE = "QURE_PROFILE"
FILE = "profile.env"
#: The profile of `make services`.
SERVICES = "services"

_NAME = re.compile(r"[A-Za-z][\w-]*")


def use_profile() -> None:
    """Puts the variables of the profile that `QURE_PROFILE` names into the environment; none is named, none is put.

    Raises:
        BadInput: the profile's services are not started, or its file cannot be read; says what to do.
    """
    name = os.environ.get(VARIABLE, "").strip()
    if name:
        os.environ.update(read_profile(profile_file(name)))


def profile_file(name: str, folder: Path | None = None) -> Path:
    """The file of a profile.

    Args:
        name: of the profile.
        folder: where to begin to look; this one when left out.

    Raises:
        BadInput: there is none here or above, or this is no name.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"no profile {name!r}", field=VARIABLE, remedy=f"There is {SERVICES!r}; or leave it empty")
    here = (folder or Path.cwd()).resolve()
    for above in (here, *here.parents):
        if (above / ".work" / name / FILE).is_file():
            return above / ".work" / name / FILE
    remedy = "Start them: make services. To do without, leave the variable empty"
    if name != SERVICES:
        remedy = f"There is {SERVICES!r}, after `make services`; or leave the variable empty"
    raise BadInput(f"the services of the profile {name!r} are not started", field=VARIABLE, remedy=remedy)


def read_profile(file: Path) -> dict[str, str]:
    """The variables of a profile's file.

    Raises:
        BadInput: it cannot be read, or a line is none; names the line and shows no value.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is no text in UTF-8"
        raise BadInput(said, file=file, remedy="Start the services as this user: make services") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        name, given, value = line.partition("=")
        try:
            words = shlex.split(value)
        except ValueError:
            words = ["", ""]
        if not given or not name.isidentifier() or len(words) > 1:
            raise BadInput("no NAME=VALUE", file=file, row=f"line {number}", remedy="Write it anew: make services")
        found[name] = "".join(words)
    return found


def profile_text(variables: dict[str, str]) -> str:
    """A profile's file.

    >>> profile_text({"A": "x", "B": "two words"})
    "A=x\\nB='two words'\\n"
    """
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
