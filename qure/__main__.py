"""`qure ...` and `python -m qure ...`: the command line, in a fork of a process that is warm where there is one."""

import os
import sys

from qure.environment import naming_damage


def main() -> None:
    """Runs the command line; never returns."""
    from qure.forking import ADDRESS, run_in_fork

    address = os.environ.get(ADDRESS)
    try:
        status = run_in_fork(address) if address else None
    except KeyboardInterrupt:  # while it waited for the server
        status = 130
    if status is not None:
        sys.exit(status)
    with naming_damage():
        from qure.cli import app
    app(prog_name="qure")


if __name__ == "__main__":
    main()
