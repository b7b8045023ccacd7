"""Planted faults: each changes one place, and the tests of a small project kill what they should."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCE = b'''"""A module."""

# Comments stay, and so does \xc3\xa9.
def larger(a: int, b: int = 2, *, note: str = "1 < 2") -> int:
    """The larger one, or 0 when both are negative."""
    if a < 0 and b < 0:
        print(f"{a - b}")
        return 0
    return a if a > b else b
'''


def test_each_fault_changes_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.mutation import mutants

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
    ]
    for one in mutants(SOURCE):
        planted = one.planted(SOURCE)
        assert planted != SOURCE
        assert planted.startswith(SOURCE[: one.start])
        assert planted.endswith(SOURCE[one.stop :])
        compile(planted, "planted", "exec")


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
