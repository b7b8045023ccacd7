"""Planted faults: each changes one place, and the tests of a small project kill what they should."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.faults import ACCEPTED, Accepted, mutants
from benchmarks.guards import GUARDING, guarding
from benchmarks.mutation import below_floor, changed

ROOT = Path(__file__).parents[2]

SOURCE = b'''"""A module."""

# Comments stay, and so does \xc3\xa9.
def larger(a: int, b: int = 2, *, note: str = "1 < 2") -> int:
    """The larger one, or 0 when both are negative."""
    if a < 0 and b < 0:
        print(f"{a - b}")
        return 0
    return a if a > b else b


@dataclass(frozen=True)
class Pair:
    a: int = -1
'''


def test_each_fault_changes_one_place() -> None:
    found = [(one.line, one.kind, one.before, one.after) for one in mutants(SOURCE)]
    assert found == [
        (4, "constant", "2", "3"),
        (6, "comparison", "a < 0", "(a <= 0)"),
        (6, "and/or", "a < 0 and b < 0", "(a < 0 or b < 0)"),
        (6, "condition", "a < 0 and b < 0", "(not (a < 0 and b < 0))"),
        (6, "constant", "0", "1"),
        (6, "comparison", "b < 0", "(b <= 0)"),
        (6, "constant", "0", "1"),
        (7, "statement left out", 'print(f"{a - b}")', "pass"),
        (8, "None returned", "return 0", "return None"),
        (8, "constant", "0", "1"),
        (9, "None returned", "return a if a > b else b", "return None"),
        (9, "comparison", "a > b", "(a >= b)"),
        (14, "sign", "-1", "(1)"),
        (14, "constant", "1", "2"),
    ]
    for one in mutants(SOURCE):
        planted = one.planted(SOURCE)
        assert planted != SOURCE
        assert planted.startswith(SOURCE[: one.start])
        assert planted.endswith(SOURCE[one.stop :])
        compile(planted, "planted", "exec")


def test_what_only_mypy_reads_is_left_alone() -> None:
    assert mutants(b"if TYPE_CHECKING:\n    from a import B\n") == []
    assert [one.after for one in mutants(b"if checking:\n    a = b\n")] == ["(not checking)"]


def test_nothing_is_not_returned_in_place_of_nothing() -> None:
    source = b"def f(a):\n    if a == 'x':\n        return None\n    if a:\n        return False\n    return True\n"
    assert [one.line for one in mutants(source) if one.kind == "None returned"] == [6]


def test_what_nobody_can_tell_is_named_by_its_text_and_where_it_matters_by_its_line() -> None:
    def accepted(**more: str) -> list[int]:
        row = {"before": "0", "after": "1", "reason": "for this test", **more}
        found = Accepted("qure/few.py", [row], SOURCE)
        return [one.line for one in mutants(SOURCE) if one in found]

    assert accepted() == [6, 6, 8]
    assert accepted(**{"in": "return 0"}) == [8]
    assert accepted(**{"in": "0"}) == [6, 6, 8]
    assert accepted(**{"in": "b < 0"}) == [6], "the other one of that line is outside"
    with pytest.raises(SystemExit, match=r"qure/few\.py has no fault '0' -> '1' any more"):
        accepted(**{"in": "return 1"})


def test_every_row_names_a_fault_that_can_be_planted_and_a_reason() -> None:
    for module, rows in yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")).items():
        Accepted.of(module, (ROOT / module).read_bytes())
        assert all(row["reason"] and row.keys() <= {"before", "after", "in", "reason"} for row in rows), module


def test_tests_that_guard_a_module_are_there() -> None:
    for module in yaml.safe_load(GUARDING.read_text(encoding="utf-8")):
        assert all((ROOT / one).is_file() for one in guarding(module)), module


def test_modules_that_changed_since_a_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    for name in ("old.py", "changed.py", "unguarded.py", "gone.py", "empty.py"):
        (tmp_path / "qure").mkdir(exist_ok=True)
        (tmp_path / "qure" / name).write_text("A = 1\n")
        (tmp_path / "tests" / "qure").mkdir(parents=True, exist_ok=True)
        if name != "unguarded.py":
            (tmp_path / "tests" / "qure" / f"test_{name}").write_text("")
    for folder in ("infra/trainer", "tests/infra/trainer", "tools", "tests/tools"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("infra/trainer/run.py", "tools/run.py"):
        (tmp_path / name).write_text("A = 1\n")
        (tmp_path / "tests" / name).with_name("test_run.py").write_text("")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    for name in ("infra/trainer/run.py", "tools/run.py"):
        (tmp_path / name).write_text("A = 2\n")
    for name in ("changed.py", "unguarded.py"):
        (tmp_path / "qure" / name).write_text("A = 2\n")
    (tmp_path / "qure" / "empty.py").write_text("")
    (tmp_path / "qure" / "gone.py").unlink()
    assert changed("HEAD", tmp_path) == ["infra/trainer/run.py", "qure/changed.py"]
    git("commit", "--all", "--quiet", "--message", "two")
    assert changed("HEAD", tmp_path) == []
    assert changed("HEAD~1", tmp_path) == ["infra/trainer/run.py", "qure/changed.py"]
    with pytest.raises(SystemExit, match="since nowhere cannot be told"):
        changed("nowhere", tmp_path)


@pytest.mark.parametrize(
    ("killed", "survived", "below"),
    # Of 5, tests that kill nine of ten let 3 live once in 117 draws and 2 once in 12; of 40, 10 once in 198, 9 in 65.
    [(0, 0, False), (3, 2, False), (2, 3, True), (31, 9, False), (30, 10, True), (0, 1, False), (100, 0, False)],
)
def test_the_floor_allows_for_chance(killed: int, survived: int, below: bool) -> None:
    parts = [{"killed": killed, "timed_out": 0, "survived": 0}, {"killed": 0, "timed_out": 0, "survived": survived}]
    assert below_floor(parts) is below


def test_a_small_project_is_examined(tmp_path: Path) -> None:
    """Nothing asks what LIMIT is: that fault lives on."""
    (tmp_path / "qure").mkdir()
    (tmp_path / "tests" / "qure").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --doctest-modules --strict-markers\n"
        "markers =\n    containers: one\n    kfp_local: two\n    integration: three\n"
    )
    (tmp_path / "qure" / "__init__.py").write_text("")
    (tmp_path / "qure" / "few.py").write_text("LIMIT = 7\n\n\ndef double(a):\n    return a * 2\n")
    (tmp_path / "tests" / "qure" / "test_few.py").write_text(
        "from qure.few import double\n\n\ndef test_doubles():\n    assert double(2) == 4\n"
    )
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom benchmarks.mutation import examined\n"
        "print('RESULT', json.dumps(examined('qure/few.py', Path(sys.argv[1]), sample=None, seed=0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.split("RESULT ")[1])
    assert (found["mutants"], found["killed"], found["survived"], found["kill_rate"]) == (4, 3, 1, 0.75)
    assert found["survivors"] == [{"line": 1, "kind": "constant", "before": "7", "after": "8"}]
    assert found["killers"] == {"tests/qure/test_few.py::test_doubles": 3}
    assert (tmp_path / "qure" / "few.py").read_text().startswith("LIMIT = 7"), "nothing is left planted"
