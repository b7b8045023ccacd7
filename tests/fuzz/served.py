"""What strangers send to a served model, through MLflow's own parser and signature to the packaged model's code."""

import base64
import functools
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from qure_tests_fuzz_damage import damaged_json
from qure_tests_fuzz_pictures import pictures
from qure_tests_fuzz_target import Target
from qure_tests_fuzz_tensors import lay_model

from qure.errors import BadInput

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel


class _Served:
    """The packaged model's code as MLflow calls it; whatever it raises but its one error is kept."""

    def __init__(self, folder: Path) -> None:
        from qure.serving.packaged import ComposedImageRetrieval  # and with it MLflow, which takes seconds

        self._model = ComposedImageRetrieval()
        artifacts = {"model": str(folder / "model"), "gallery": str(folder / "gallery")}
        self._model.load_context(SimpleNamespace(artifacts=artifacts))  # type: ignore[arg-type]
        self.fault: Exception | None = None
        self.answered = False

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        self.answered = False
        try:
            found = self._model.predict(None, data, params)  # type: ignore[arg-type]
        except Exception as error:
            self.fault = None if isinstance(error, BadInput) else error
            raise
        self.answered = True
        return found


@functools.cache
def _served() -> "tuple[_Served, PyFuncModel]":
    import mlflow
    from mlflow.pyfunc import PyFuncModel

    from qure.registry.packaging import _signature

    with tempfile.TemporaryDirectory() as folder:
        lay_model(Path(folder))
        own = _Served(Path(folder))
    return own, PyFuncModel(mlflow.models.Model(signature=_signature()), own)


def _answer(folder: Path) -> Any:
    from mlflow.pyfunc import scoring_server

    own, model = _served()
    own.fault, own.answered = None, False
    try:
        found = scoring_server.invocations(
            (folder / "request").read_bytes(), "application/json", model, model.metadata.get_input_schema()
        )
    except BadInput as error:  # what the sender reads, behind words of MLflow's own
        raise BadInput(error.problem, row=error.row, field=error.field, remedy=error.remedy) from None
    except Exception:  # MLflow's parser and its look at the signature refuse what they cannot take
        if own.fault is not None:
            raise own.fault from None
        if own.answered:
            raise
        raise BadInput("MLflow refuses the request", field="request") from None
    assert found.status == 200
    return json.loads(found.response, parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise AssertionError(f"{name} in an answer is no JSON")


def requests() -> dict[str, Any]:
    """Good ones, in every form."""
    picture = base64.b64encode(next(content for _, content in pictures())).decode()
    row = {"reference": picture, "text": "is red"}
    split = {"columns": ["reference", "text", "top_k"], "data": [[picture, "is red", 2], [picture, "is blue", 1]]}
    return {
        "records": {"dataframe_records": [row, {**row, "top_k": 2, "group": "dress", "exclude": "a"}]},
        "split": {"dataframe_split": split, "params": {"top_k": 1}},
        "partial": {"dataframe_records": [row, {**row, "text": ""}], "params": {"partial": True}},
        "images": {"dataframe_records": [{**row, "text": ""}], "params": {"mode": "embed_images"}},
        "queries": {"dataframe_records": [row], "params": {"mode": "embed_queries"}},
        "inputs": {"inputs": {"reference": [picture], "text": ["is red"]}},
    }


TARGETS = [Target("requests", "request", (_answer,), damaged_json, called=("row", "field", "mode", "top_k"))]
