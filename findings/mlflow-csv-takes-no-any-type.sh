#!/usr/bin/env bash
# A field that may be null costs a served model two forms of a request: MLflow's server parses CSV by the signature's
# pandas types, and the only type that lets null stand among whole numbers, AnyType, has none.
#
# Valid input: a model whose signature is `text: string` and `top_k: any, optional` (as a request is JSON, {"top_k": null}
# in one row makes its column one of fractions, which `long` refuses and `double` refuses for whole numbers). Seen with
# mlflow-skinny 3.17.2, by the parsers that its scoring server calls: `dataframe_records` takes every row; `text/csv` is
# refused for the signature alone, whatever the file holds; of `instances` with the field in some rows only it makes a
# column with fewer cells than there are rows: whose they are is lost, and the request is refused for it later. The same
# rows are fine as `dataframe_records`.
#
# Exit 0: as described. Exit 1: MLflow behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 pandas==2.3.3

cat >ask.py <<'PYTHON'
from importlib import metadata
from io import StringIO

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType

print("mlflow-skinny", metadata.version("mlflow-skinny"))
schema = Schema([ColSpec("string", "text"), ColSpec(AnyType(), "top_k", required=False)])
even = [{"text": "is red", "top_k": 3}, {"text": "is blue", "top_k": 5}]
uneven = [{"text": "is red", "top_k": 3}, {"text": "is blue"}]


def tried(name, parse):
    try:
        columns = parse()
        print(f"{name}: columns of", *(len(columns[column]) for column in columns))
    except MlflowException as refused:
        print(f"{name}: refused: {refused.message.splitlines()[0][-70:]}")


def json_form(form, rows):
    return lambda: scoring_server.infer_and_parse_data({form: rows}, schema)


tried("dataframe_records, uneven", json_form("dataframe_records", uneven))
tried("instances, even", json_form("instances", even))
tried("instances, uneven", json_form("instances", uneven))
tried("csv", lambda: scoring_server.parse_csv_input(StringIO("text,top_k\nis red,3\nis blue,5\n"), schema))
tried("csv, the column left out", lambda: scoring_server.parse_csv_input(StringIO("text\nis red\n"), schema))
PYTHON
env/bin/python ask.py 2>/dev/null | tee told.txt
[[ $(grep -c refused told.txt) == 2 && $(grep -c "^csv.*refused" told.txt) == 2 ]] &&
  grep -q "^dataframe_records, uneven: columns of 2 2" told.txt && grep -q "^instances, even: columns of 2 2" told.txt &&
  grep -q "^instances, uneven: columns of 2 1" told.txt ||
  { echo "MLflow behaves differently now" >&2; exit 1; }
