"""Parquet files: bytes of any kind, and whole files whose columns hold something else than they should."""

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st
from qure_tests_fuzz_damage import Draw, damaged_bytes, damaged_json
from qure_tests_fuzz_target import Target
from qure_tests_fuzz_tensors import lay_store

from qure.datasets.validated import ValidatedData, write_images
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation
from qure.features.store import FeatureStore
from qure.files import write_json

#: What a column may hold instead; one value for every row.
COLUMNS: tuple[Callable[[int], list[Any]], ...] = (
    lambda rows: [None] * rows,
    lambda rows: ["x"] * rows,
    lambda rows: [f"\x1b[2J{row}" for row in range(rows)],
    lambda rows: [b"\xff"] * rows,
    lambda rows: [-1] * rows,
    lambda rows: [2**62] * rows,
    lambda rows: [float("nan")] * rows,
    lambda rows: [0.5] * rows,
    lambda rows: [True] * rows,
    lambda rows: [["a", "b"]] * rows,
    lambda rows: [[0.5]] * rows,
    lambda rows: [{"a": 1}] * rows,
    lambda rows: [pd.Timestamp(0)] * rows,
    lambda rows: [1, *[None] * (rows - 1)][:rows],
)


@st.composite
def damaged_table(draw: Draw, seeds: Sequence[bytes]) -> bytes:
    """A whole file with other columns, or damaged bytes."""
    if draw(st.integers(0, 2)) == 2:
        return draw(damaged_bytes(seeds))
    try:
        table = pd.read_parquet(io.BytesIO(draw(st.sampled_from(seeds))))
    except Exception:  # a damaged one of the corpus
        return draw(damaged_bytes(seeds))
    for _ in range(draw(st.integers(1, 2))):
        names = [str(name) for name in table.columns]
        kind = draw(st.sampled_from(("column", "column", "drop", "twice", "rows", "none")))
        if kind == "column" and names:
            name, values = draw(st.sampled_from(names)), draw(st.sampled_from(COLUMNS))
            table = table.assign(**{name: pd.Series(values(len(table)), index=table.index, dtype=object)})
        elif kind == "drop" and names:
            table = table.drop(columns=draw(st.sampled_from(names)))
        elif kind == "twice":
            table = pd.concat([table, table], ignore_index=True)
        elif kind == "rows":
            table = table.iloc[: draw(st.integers(0, 1))]
        elif kind == "none" and names and len(table):
            name = draw(st.sampled_from(names))
            table = table.assign(**{name: [None, *table[name].tolist()[1:]]})
    return parquet(table)


def parquet(table: pd.DataFrame) -> bytes:
    output = io.BytesIO()
    table.to_parquet(output, index=False)
    return output.getvalue()


def lay_images(folder: Path) -> None:
    """A validation folder that passed, and the data that it passed."""
    (folder / "data/fashioniq/images").mkdir(parents=True)
    (folder / "data/fashioniq/images/a.png").write_bytes(b"x")
    (folder / "validation").mkdir()
    write_images(folder / "validation", [("fashioniq", "a", 1, "0" * 64)])
    write_json(
        folder / "validation/result.json",
        {"success": True, "annotations": {}, "excluded": {"fashioniq": {"images": ["b"], "queries": ["val/dress/0"]}}},
    )


def read_validated(folder: Path) -> Any:
    """Everything that a stage asks of it."""
    found = ValidatedData(folder / "data", folder / "validation")
    found.require_unchanged()
    return found.exclusions("fashioniq"), found.digests("fashioniq"), found.passed_images("fashioniq")


def lay_evaluation(folder: Path) -> None:
    """An evaluation of two queries."""
    table = pd.DataFrame(
        {"query_id": ["dress/0", "dress/1"], "reference": ["a", "b"], "text": ["x", "y"], "hit": [1.0, 0.0]}
    )
    Evaluation(
        benchmark="fashioniq",
        split="val",
        metrics={"recall_at_10": 50.0, "queries": 2},
        intervals={"recall_at_10": (0.0, 100.0)},
        per_query=table,
        top={"dress/0": [("a", 0.5), ("b", 0.25)], "dress/1": [("b", 0.5)]},
        measures=(Measure("recall_at_10", "hit"),),
        details={"model": "m"},
    ).save(folder / "results")


def _read_store(folder: Path) -> Any:
    store = FeatureStore.open(folder / "store")
    return store.read(store.rows(store.ids))


def _put(file: Path, content: bytes) -> None:
    """Evaluations and stores may be links of others: a new file takes the place."""
    shutil.rmtree(file, ignore_errors=True)
    file.write_bytes(content)


TARGETS = [
    Target("images-list", "validation/images.parquet", (read_validated,), damaged_table, lay_images, put=_put),
    Target("validation-result", "validation/result.json", (read_validated,), damaged_json, lay_images),
    Target(
        "feature-index",
        "store/index.parquet",
        (_read_store,),
        damaged_table,
        lay_store,
        put=_put,
    ),
    Target(
        "evaluation-queries",
        "results/per_query.parquet",
        (lambda folder: Evaluation.load(folder / "results"),),
        damaged_table,
        lay_evaluation,
    ),
    Target(
        "evaluation-best",
        "results/top.parquet",
        (lambda folder: Evaluation.load(folder / "results"),),
        damaged_table,
        lay_evaluation,
    ),
    Target(
        "evaluation-summary",
        "results/evaluation.json",
        (lambda folder: Evaluation.load(folder / "results"),),
        damaged_json,
        lay_evaluation,
    ),
]
