"""Whatever a file of strangers holds, its reader gives a value or one message that names the file.

`make test` tries a few damaged files of every kind, the same ones each time, and every file that was kept. With
QURE_FUZZ_SECONDS set, other ones are tried at random for that long, and one that is too much for a reader is kept in
corpus/ and stays a test.
"""

import hashlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import qure_tests_fuzz_annotations as annotations
import qure_tests_fuzz_documents as documents
import qure_tests_fuzz_pictures as pictures
import qure_tests_fuzz_served as served
import qure_tests_fuzz_tables as tables
import qure_tests_fuzz_tensors as tensors
from hypothesis import HealthCheck, Phase, given, seed, settings
from qure_tests_fuzz_target import CORPUS, Target

from qure.benchmarks import benchmarks

TARGETS: list[Target] = [
    target for module in (annotations, pictures, tensors, tables, documents, served) for target in module.TARGETS
]
BY_NAME = {target.name: target for target in TARGETS}

#: Damaged files of each kind in `make test`.
FEW = 12

SECONDS = float(os.environ.get("QURE_FUZZ_SECONDS") or 0)

Run = Callable[[bytes], Any]


@pytest.fixture
def ask(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Content -> what the readers of the parameter's target make of it."""
    target = BY_NAME[request.node.callspec.params["name"]]
    target.lay(tmp_path)
    return lambda content: target.ask(tmp_path, content)


@pytest.mark.parametrize("name", BY_NAME)
def test_whole_files_are_read_and_kept_ones_are_no_traceback(name: str, ask: Run) -> None:
    files = BY_NAME[name].corpus
    assert any(file.name.startswith("valid-") for file in files)
    for file in files:
        found = ask(file.read_bytes())
        assert not file.name.startswith("valid-") or not any(found), f"{file.name}: {found}"


@pytest.mark.parametrize("name", BY_NAME)
def test_damaged_files_are_a_value_or_one_message(name: str, ask: Run) -> None:
    _try(BY_NAME[name], ask, settings(derandomize=True, max_examples=FEW))


@pytest.mark.skipif(not SECONDS, reason="runs for as long as QURE_FUZZ_SECONDS says")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", BY_NAME)
def test_damaged_files_at_random(name: str, ask: Run) -> None:
    target, end, tried = BY_NAME[name], time.monotonic() + SECONDS / len(BY_NAME), 0
    while time.monotonic() < end:
        tried += _try(target, ask, settings(max_examples=100), seed(random.getrandbits(64)), end)
    print(f"{name}: {tried} files")


def test_every_benchmark_has_its_files_here() -> None:
    """A benchmark that comes with qure brings its files along."""
    folders = {target.file.split("/")[0] for target in annotations.TARGETS}
    own = {one.folder for one in benchmarks() if type(one).__module__.startswith("qure.")}
    assert folders == own


def test_nothing_lies_in_the_corpus_that_no_target_reads() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(BY_NAME)


def _try(target: Target, ask: Run, chosen: settings, seeded: Any = None, end: float | None = None) -> int:
    """Asks for damaged files; how many. With an end, a second of the clock, one that breaks the promise is kept."""
    asked: list[bytes] = []
    failing: list[bytes] = []

    @settings(
        chosen,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
    )
    @given(content=target.damaged([file.read_bytes() for file in target.corpus]))
    def attempt(content: bytes) -> None:
        if end is not None and not failing and time.monotonic() > end:
            return
        asked.append(content)
        try:
            ask(content)
        except BaseException:
            failing.append(content)
            raise

    try:
        (seeded(attempt) if seeded else attempt)()
    except BaseException as error:
        if end is not None and failing:  # the last one is the smallest
            file = CORPUS / target.name / f"found-{hashlib.sha256(failing[-1]).hexdigest()[:10]}"
            file.write_bytes(failing[-1])
            error.add_note(f"kept as {file}: {failing[-1][:1000]!r}")
        raise
    return len(asked)
