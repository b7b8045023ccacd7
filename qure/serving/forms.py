"""Forms of a request that MLflow's server cannot read for these models, read for it; and how a request is refused.

MLflow 3 parses a request before any code of a model runs. Its CSV parser takes no signature with a column of any type,
which `reference` and `top_k` must have (`qure.registry.packaging`), and `instances` with different fields in some rows
is refused as columns of different length. So where a model is loaded by that server, the two parsers are replaced:
`read_csv` takes the first, and the second is `dataframe_records` by another name. Other forms go MLflow's way.
"""

import sys
from io import StringIO
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException

from qure.errors import BadInput
from qure.images import ImageError

_SERVER = "mlflow.pyfunc.scoring_server"
_REMEDY = 'Send a header line (reference, text, ...) and one line per query, or JSON: {"dataframe_records": [...]}'


class InvalidQuery(BadInput, MlflowException):
    """A mistake in the request, as MLflow's server passes it on: status 400 and the sentence, no traceback."""

    def __init__(self, error: BadInput) -> None:
        if isinstance(error, ImageError):  # its name is row and field; nothing but the image can be replaced here
            super().__init__(f"{error.name}: {error.reason}", remedy="Send another image")
        else:
            super().__init__(error.problem, row=error.row, field=error.field, remedy=error.remedy)
        self.error_code = "INVALID_PARAMETER_VALUE"

    @property
    def message(self) -> str:
        """The sentence alone: MLflow would write the request's table in front of it, base64 and all."""
        return str(self)

    @message.setter
    def message(self, value: str) -> None:
        pass


def teach_server() -> None:
    """Lets MLflow's server, where this process is one, read CSV and uneven `instances`; twice is as good as once."""
    server = sys.modules.get(_SERVER)
    infer = getattr(server, "infer_and_parse_data", None)
    if server is None or infer is None or getattr(infer, "is_taught", False):
        return

    def infer_and_parse_data(data: dict[str, Any], schema: Any = None) -> Any:
        rows = data.get("instances")
        if list(data) == ["instances"] and isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            data = {"dataframe_records": rows}
        return infer(data, schema)

    infer_and_parse_data.is_taught = True  # type: ignore[attr-defined]
    server.infer_and_parse_data = infer_and_parse_data  # type: ignore[attr-defined]
    server.parse_csv_input = lambda csv_input, schema=None: read_csv(csv_input)  # type: ignore[attr-defined]


def read_csv(file: StringIO) -> pd.DataFrame:
    """Queries as lines of CSV, images as base64.

    Returns:
        A row per line. Empty cells are missing, those of `text` excepted, which may be empty; `top_k` is a whole number
        where it reads as one.

    Raises:
        InvalidQuery: no CSV.
    """
    try:
        # As text: a dress described by the word "null" has a text. The header is a line like the others, so that pandas
        # names a line with more cells instead of taking the first ones for an index.
        lines = pd.read_csv(file, header=None, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors are of this kind
        raise InvalidQuery(BadInput(f"cannot be read as CSV: {error}".strip(), remedy=_REMEDY)) from None
    twice = lines.iloc[0][lines.iloc[0].duplicated()].tolist()
    if twice:
        raise InvalidQuery(BadInput("the column stands there twice", field=twice[0], remedy=_REMEDY))
    table = pd.DataFrame(lines.to_numpy()[1:], columns=list(lines.iloc[0]), dtype=object)
    table = table.where(table.notna(), None)
    for name in table.columns.drop("text", errors="ignore"):
        table[name] = pd.Series([cell or None for cell in table[name]], dtype=object)
    if "top_k" in table:
        table["top_k"] = pd.Series([_number(cell) for cell in table["top_k"]], dtype=object)
    return table


def _number(cell: str | None) -> int | str | None:
    """What is no number, or longer than any that is meant, stays a text, which is refused with its row."""
    return int(cell) if cell and len(cell) <= 9 and cell.isascii() and cell.isdigit() else cell
