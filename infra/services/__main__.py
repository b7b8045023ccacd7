"""Starts, stops and looks at the services: `make services`, `make services-stop`, `make services-status`.

    python -m infra.services start|stop|status [--folder .work/services] [--json]

`status` ends with 1 where one does not answer.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.services.services import Services, Status
from qure.errors import QureError
from qure.profile import SERVICES


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.services", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("command", choices=("start", "stop", "status"))
    parser.add_argument("--folder", type=Path, default=Path(".work") / SERVICES, help="theirs (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")
    told = parser.parse_args(arguments)
    services = Services(told.folder)
    try:
        if told.command == "stop":
            print("stopped; data and passwords stay" if services.stop() else "nothing was running")
            return 0
        if told.command == "start":
            begun = services.start()
            print("started" if begun else "running already", file=sys.stderr)
        found = services.status()
    except QureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(_json(found) if told.json else _table(services, found))
    return 0 if all(not one.wrong for one in found) else 1


def _table(services: Services, found: list[Status]) -> str:
    width = max(len(one.name) for one in found)
    lines = [f"{one.name:{width}}  {one.address:21}  {one.wrong or 'answers'}" for one in found]
    if all(not one.wrong for one in found):
        lines += [
            "",
            f"In front of a command: QURE_PROFILE={services.folder.name} (qure demo, dvc repro, ...)",
            f"In a shell, for dvc push and others: set -a; . {services.profile}; set +a",
            f"MLflow's pages ask for user and password: both are in {services.profile}",
        ]
    return "\n".join(lines)


def _json(found: list[Status]) -> str:
    return json.dumps({one.name: {**one._asdict(), "answers": not one.wrong} for one in found}, indent=2)


if __name__ == "__main__":
    sys.exit(main())
