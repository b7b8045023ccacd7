"""Prepares the SQLite database that ./params.yaml names, for whoever starts MLflow's own commands on it.

    python -m qure.tracking

It is made when it is missing, and its artifact locations are led to where it is. Importing MLflow takes seconds and is
done only to make it; whether MLflow takes an existing one, MLflow says.
"""

import logging
import sys
from pathlib import Path

from qure.config import Settings
from qure.errors import QureError
from qure.tracking.connection import quiet_environment, sqlite_file, tracking_uri
from qure.tracking.database import ensure_database, is_empty
from qure.tracking.place import lead_artifacts_here


def main() -> int:
    """Exit code: 0, or the error's."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("qure").setLevel(logging.INFO)
    try:
        settings = Settings.load(Path("params.yaml")).tracking
        file = sqlite_file(tracking_uri(settings) or "")
        if file is not None:
            if is_empty(file):
                quiet_environment()
                ensure_database(file)
            lead_artifacts_here(file, settings.artifacts)
    except QureError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
