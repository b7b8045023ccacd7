"""Files for evaluation servers whose answers are withheld: what their writers and checks share.

A server says little about what is wrong with a file, and some allow few tries: the checks name query and field.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qure.benchmarks import get_benchmark
from qure.datasets.ids import first_few, shown
from qure.errors import BadInput
from qure.files import refuse_pipe


def check_submission(benchmark: str, path: Path | str, root: Path | str, *, split: str | None = None) -> str:
    """Checks a file against the rules of a benchmark's evaluation server.

    Args:
        benchmark: whose server.
        path: the file.
        root: the benchmark's own folder.
        split: whose queries the file answers; None for the one whose answers are withheld.

    Returns:
        the metric that the file is for.

    Raises:
        BadInput: no such benchmark, or it has no server; the file breaks a rule.
    """
    one = get_benchmark(benchmark)
    if one.withheld is None:
        raise BadInput(f"{one.name!r} has no evaluation server", field="benchmark")
    return one.check_submission(Path(path), Path(root), split=split)


def benchmark_of(path: Path) -> str:
    """Whose server a file is for: CIRR's files name a metric, CIRCO's hold queries alone.

    Raises:
        BadInput: not a readable JSON object.
    """
    return "cirr" if {"metric", "version"} & read_object(Path(path), Path(path)).keys() else "circo"


def check_queries(content: Mapping[str, Any], query_ids: Sequence[str], name: Path) -> None:
    """Refuses a file that does not answer exactly the split's queries."""
    missing = [query for query in query_ids if query not in content]
    if missing:
        raise BadInput(f"{len(missing)} of {len(query_ids)} queries are missing: {first_few(missing)}", file=name)
    unknown = sorted(content.keys() - set(query_ids))
    if unknown:
        raise BadInput(f"{len(unknown)} keys are no queries of the split: {first_few(unknown)}", file=name)


def check_list(value: object, count: int, kind: type, query: str, name: Path) -> list[Any]:
    """A query's answer: so many distinct entries of one type."""
    if not isinstance(value, list):
        raise BadInput(f"must be a list, not {type(value).__name__}", file=name, row=named_query(query))
    if len(value) != count:
        raise BadInput(f"{len(value)} entries, must be {count}", file=name, row=named_query(query))
    for entry in value:
        if not isinstance(entry, kind) or isinstance(entry, bool):
            expected = {str: "an image's name", int: "a whole number"}[kind]
            raise BadInput(f"{shown(entry)} is not {expected}", file=name, row=named_query(query))
    if len(set(value)) != len(value):
        repeated = next(entry for number, entry in enumerate(value) if entry in value[:number])
        raise BadInput(f"{shown(repeated)} occurs more than once", file=name, row=named_query(query))
    return value


def named_query(query_id: str) -> str:
    """A query as the row of an error message."""
    return f"query {query_id!r}"


def read_object(file: Path, name: Path) -> dict[str, Any]:
    """A JSON object; a key that occurs twice is an error rather than silently the last one."""
    repeated: list[str] = []

    def collect(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(entries)
        if len(content) != len(entries):
            keys = [key for key, _ in entries]
            repeated.extend(key for number, key in enumerate(keys) if key in keys[:number])
        return content

    refuse_pipe(file)
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=collect)
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=name) from None
    except (ValueError, OSError, RecursionError) as error:
        raise BadInput(f"not a readable JSON file: {error}", file=name) from None
    if repeated:
        raise BadInput(f"keys that occur more than once: {first_few(dict.fromkeys(repeated))}", file=name)
    if not isinstance(content, dict):
        raise BadInput(f"not a JSON object but {type(content).__name__}", file=name)
    return content


def write_compact(path: Path, content: Mapping[str, Any]) -> None:
    """JSON without blanks: servers bound a file's size."""
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")
