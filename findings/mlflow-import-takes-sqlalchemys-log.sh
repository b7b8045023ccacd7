#!/usr/bin/env bash
# Importing MLflow takes SQLAlchemy's, Alembic's and huey's log away from the program that had set it up.
#
# Valid input: a program that writes SQLAlchemy's statements into its own log (handler and level on "sqlalchemy.engine"),
# and that uses MLflow. Seen with mlflow-skinny 3.17.2: after `import mlflow` the logger has MLflow's handler in place of
# the program's, the level WARNING, and propagates no longer: no statement reaches the program's log, and nothing says so.
# "alembic" and "huey" go the same way. With MLFLOW_CONFIGURE_LOGGING=false before the import all of it stays.
#
# Exit 0: as described. Exit 1: MLflow behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9

cat >shop.py <<'PYTHON'
import io
import logging
from importlib import metadata

import sqlalchemy

print("mlflow-skinny", metadata.version("mlflow-skinny"), "sqlalchemy", sqlalchemy.__version__)
log = io.StringIO()
engine_log = logging.getLogger("sqlalchemy.engine")
engine_log.addHandler(logging.StreamHandler(log))
engine_log.setLevel(logging.INFO)


def order(colour):
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.execute(sqlalchemy.text(f"select '{colour}'"))
    return colour in log.getvalue()


print("before the import the statement is in the program's log:", order("blue"))
import mlflow

print("after it:", order("red"))
PYTHON
env/bin/python shop.py >plain.txt 2>&1
MLFLOW_CONFIGURE_LOGGING=false env/bin/python shop.py >told.txt 2>&1
cat plain.txt
echo "with MLFLOW_CONFIGURE_LOGGING=false:"
tail -1 told.txt
[[ $(grep -c True plain.txt) == 1 && $(tail -1 plain.txt) == "after it: False" && $(grep -c True told.txt) == 2 ]] ||
  { echo "MLflow behaves differently now" >&2; exit 1; }
