"""The file that MLflow runs to load a registered model ("models from code": nothing is pickled).

Input, a DataFrame with one row per query:

| column | type | meaning |
|---|---|---|
| reference | binary | the reference image's file, as bytes (base64 in JSON) |
| text | string | the modification text; empty where only images are embedded |
| top_k | whole number, optional | how many results this query gets; missing or null: the parameter `top_k` |
| group | string, optional | the part of the gallery to search, for example FashionIQ's "dress"; else all of it |
| exclude | string, optional | an image id to leave out, for example the reference's own |

Parameters, null for what stands here: `top_k` (10), `mode`, and `partial` (false):

| mode | output, a DataFrame with one row per query |
|---|---|
| retrieve | `ids`: image ids, best first; `scores`: their relevance, the largest dot product over T tokens |
| embed_queries | `embedding`: D numbers, unit length |
| embed_images | `embedding`: T lists of D numbers, each of unit length (columns other than `reference` are ignored) |

A row that cannot be answered voids the request, with one sentence that names row and field. With `partial` the others
are answered: its `ids` and `scores`, or its `embedding`, are empty, and the column `error` has the sentence (null for
the others). What a server lets in is bounded: `qure.serving.intake`.
"""

from collections.abc import Callable
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from qure.datasets.ids import shown
from qure.errors import BadInput
from qure.images import ImageError
from qure.serving.forms import InvalidQuery, teach_server

MODES = ("retrieve", "embed_queries", "embed_images")

#: Rows of a request, numbered as the sender counts them -> one answer per row.
_Answer = Callable[[pd.DataFrame, int], list[dict[str, Any]]]


class ComposedImageRetrieval(PythonModel):
    """The model with its gallery; computes on the GPU when there is one."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads model and gallery from the package."""
        from qure.models.precision import default_device
        from qure.serving.intake import Intake, Limits
        from qure.serving.retriever import Retriever

        teach_server()
        self._intake = Intake(Limits.of_environment())
        self._retriever = Retriever.load(context.artifacts["model"], context.artifacts["gallery"], default_device())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Ranks the gallery, or embeds; see the module.

        Raises:
            InvalidQuery: names row and column.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        wanted: dict[str, Any] = {"mode": "retrieve", "top_k": 10, "partial": False} | given
        columns = ["ids", "scores"] if wanted["mode"] == "retrieve" else ["embedding"]
        try:
            answer = self._answer(wanted)
            with self._intake.turn:
                if not wanted["partial"]:
                    return pd.DataFrame(answer(model_input, 0) if len(model_input) else [], columns=columns)
                answers = self._partial(wanted, model_input, {column: [] for column in columns})
            table = pd.DataFrame(answers, columns=columns)
            # Not a column of text, which would hold NaN for None, and NaN is no JSON.
            table["error"] = pd.Series([one["error"] for one in answers], dtype=object)
            return table
        except BadInput as error:
            raise InvalidQuery(error) from None

    def _answer(self, wanted: dict[str, Any]) -> _Answer:
        mode, top_k = wanted["mode"], int(wanted["top_k"])
        if mode not in MODES:
            raise BadInput(f"no mode {shown(mode)}", field="mode", remedy=f"Modes: {', '.join(MODES)}")
        budget = self._intake.budget()

        def images(rows: pd.DataFrame, first: int) -> list[bytes]:
            return self._intake.admitted(_column(rows, "reference"), first, budget)

        def embedded_images(rows: pd.DataFrame, first: int) -> list[dict[str, Any]]:
            found = self._retriever.embed_images(images(rows, first))
            return [{"embedding": one} for one in found.cpu().tolist()]

        def embedded_queries(rows: pd.DataFrame, first: int) -> list[dict[str, Any]]:
            found = self._retriever.embed_queries(images(rows, first), _column(rows, "text"))
            return [{"embedding": one} for one in found.cpu().tolist()]

        def ranked(rows: pd.DataFrame, first: int) -> list[dict[str, Any]]:
            found = self._retriever.retrieve(
                images(rows, first),
                _column(rows, "text"),
                top_k=[_count(count, top_k, row) for row, count in enumerate(_column(rows, "top_k"), start=first)],
                groups=_column(rows, "group"),
                exclude=_column(rows, "exclude"),
            )
            return [{"ids": [name for name, _ in best], "scores": [score for _, score in best]} for best in found]

        return {"retrieve": ranked, "embed_queries": embedded_queries, "embed_images": embedded_images}[mode]

    def _partial(self, wanted: dict[str, Any], rows: pd.DataFrame, empty: dict[str, Any]) -> list[dict[str, Any]]:
        """One answer per row, whatever the others are; all at once where all are good."""
        try:
            return [one | {"error": None} for one in self._answer(wanted)(rows, 0)] if len(rows) else []
        except BadInput:
            found, answer = [], self._answer(wanted)  # from the beginning, with the budget of one request
        for number in range(len(rows)):
            try:
                found.append(answer(rows.iloc[number : number + 1], number)[0] | {"error": None})
            except BadInput as error:
                found.append(empty | {"error": str(InvalidQuery(_numbered(error, number)))})
        return found


def _numbered(error: BadInput, number: int) -> BadInput:
    """The error of a row that was asked alone, which took it for the first."""
    if isinstance(error, ImageError):
        return BadInput(error.reason, row=number, field="reference", remedy="Send another image")
    return BadInput(error.problem, row=number, field=error.field, remedy=error.remedy)


def _count(value: Any, default: int, row: int) -> int:
    """How many results; JSON's null makes a column of numbers one of fractions."""
    if value is None:
        return default
    try:
        is_whole = not isinstance(value, bool | str) and int(value) == value
    except (TypeError, ValueError, OverflowError):  # a list, an object, an infinite number: any type passes MLflow
        is_whole = False
    if not is_whole:
        raise BadInput(f"{shown(value)} is not a number of results", row=row, field="top_k", remedy="Use 1 or more")
    return int(value)


def _column(table: pd.DataFrame, name: str) -> list[Any]:
    if name not in table.columns:
        return [None] * len(table)
    # `isna` of a list, which a column of any type may hold, is a list.
    return [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in table[name]]


mlflow.models.set_model(ComposedImageRetrieval())
