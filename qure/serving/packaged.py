"""The file that MLflow runs to load a registered model ("models from code": nothing is pickled).

Input, a DataFrame with one row per query:

| column | type | meaning |
|---|---|---|
| reference | binary | the reference image's file, as bytes (base64 in JSON) |
| text | string | the modification text; not needed to embed images |
| top_k | long, optional | how many results this query gets; else the parameter `top_k` |
| group | string, optional | the part of the gallery to search, for example FashionIQ's "dress"; else all of it |
| exclude | string, optional | an image id to leave out, for example the reference's own |

Parameters: `top_k` (10) and `mode`:

| mode | output, a DataFrame with one row per query |
|---|---|
| retrieve | `ids`: image ids, best first; `scores`: their relevance, the largest dot product over T tokens |
| embed_queries | `embedding`: D numbers, unit length |
| embed_images | `embedding`: T lists of D numbers, each of unit length (columns other than `reference` are ignored) |
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from qure.errors import BadInput

MODES = ("retrieve", "embed_queries", "embed_images")


class ComposedImageRetrieval(PythonModel):
    """The model with its gallery; computes on the GPU when there is one."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads model and gallery from the package."""
        from qure.models.precision import default_device
        from qure.serving.retriever import Retriever

        self._retriever = Retriever.load(context.artifacts["model"], context.artifacts["gallery"], default_device())

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Ranks the gallery, or embeds; see the module.

        Raises:
            BadInput: names row and column.
        """
        wanted: dict[str, Any] = {"mode": "retrieve", "top_k": 10} | (params or {})
        if wanted["mode"] not in MODES:
            raise BadInput(f"no mode {wanted['mode']!r}", field="mode", remedy=f"Modes: {', '.join(MODES)}")
        references = list(model_input["reference"])
        if not references:
            return pd.DataFrame({"ids": [], "scores": []} if wanted["mode"] == "retrieve" else {"embedding": []})
        if wanted["mode"] == "embed_images":
            return pd.DataFrame({"embedding": self._retriever.embed_images(references).cpu().tolist()})
        texts = _column(model_input, "text")
        if wanted["mode"] == "embed_queries":
            return pd.DataFrame({"embedding": self._retriever.embed_queries(references, texts).cpu().tolist()})
        ranked = self._retriever.retrieve(
            references,
            texts,
            top_k=[int(wanted["top_k"] if count is None else count) for count in _column(model_input, "top_k")],
            groups=_column(model_input, "group"),
            exclude=_column(model_input, "exclude"),
        )
        return pd.DataFrame(
            {
                "ids": [[identifier for identifier, _ in best] for best in ranked],
                "scores": [[score for _, score in best] for best in ranked],
            }
        )


def _column(table: pd.DataFrame, name: str) -> list[Any]:
    if name not in table.columns:
        return [None] * len(table)
    return [None if pd.isna(value) else value for value in table[name]]


mlflow.models.set_model(ComposedImageRetrieval())
