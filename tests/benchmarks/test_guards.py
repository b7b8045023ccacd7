"""The tests that guard a module: which are asked first, and how a run of them ends."""

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.guards import Known, telling

ROOT = Path(__file__).parents[2]

SOURCE = b'''"""A module."""

LIMIT = 3


def few(a):
    """Text."""
    if a > LIMIT:
        return [
            a
        ]
    for one in range(a):
        def inner():
            """Text of its own."""
            return one

        try:
            inner()
        finally:
            a -= 1
    return []
'''


def test_functions_say_which_of_their_statements_run() -> None:
    lines: list[int] = []
    space = {"_qure_reached": lines.append}
    exec(compile(telling(SOURCE), "few.py", "exec"), space)
    assert lines == [], "what a module does when it is imported, every test reaches"
    few = space["few"]
    assert few(4) == [4]  # type: ignore[func-returns-value, arg-type]
    assert lines == [8, 9]
    lines.clear()
    assert few(1) == []  # type: ignore[func-returns-value, arg-type]
    assert lines == [8, 12, 13, 17, 18, 15, 20, 21]
    assert few.__doc__ == "Text."
    found = [ast.get_docstring(one) for one in ast.walk(telling(SOURCE)) if isinstance(one, ast.FunctionDef)]
    assert found == ["Text.", "Text of its own."]


def test_those_that_reach_the_place_come_first_and_the_quick_ones_at_their_head() -> None:
    known = Known(
        {"a::slow": 9.0, "a::quick": 1.0, "b::one": 2.0, "b::two": 3.0, "c::away": 0.1},
        {"a::slow": {4, 7}, "a::quick": {7}, "b::one": {7}, "b::two": {4}, "c::away": {4}},
    )
    every = ["a::new", *known.seconds]
    assert known.ordered(every, 7) == ["b::one", "a::quick", "a::slow", "a::new", "c::away", "b::two"]
    assert known.ordered(every, 5) == ["c::away", "b::one", "b::two", "a::new", "a::quick", "a::slow"]


def test_a_fault_is_killed_by_the_test_that_reaches_it_and_a_test_that_hangs_ends(tmp_path: Path) -> None:
    (tmp_path / "qure").mkdir()
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --doctest-modules --strict-markers\n"
        "markers =\n    containers: one\n    kfp_local: two\n    integration: three\n"
    )
    (tmp_path / "qure" / "__init__.py").write_text("")
    module = tmp_path / "qure" / "few.py"
    source = "def double(a):\n    return a * 2\n\n\ndef down(a):\n    while a > 0:\n        a -= 1\n    return a\n"
    module.write_text(source)
    (tmp_path / "test_few.py").write_text(
        "import time\nfrom pathlib import Path\nfrom qure import few\n\n\n"
        "def note(name):\n    with Path('asked').open('a') as stream:\n        stream.write(name + ' ')\n\n\n"
        "def test_away():\n    note('away')\n\n\n"
        "def test_slow():\n    note('slow')\n    time.sleep(0.3)\n    assert few.double(2) == 4\n\n\n"
        "def test_quick():\n    note('quick')\n    assert few.double(3) == 6\n\n\n"
        "def test_down():\n    note('down')\n    assert few.down(3) == 0\n"
    )
    code = f"""
import json, sys
from pathlib import Path
from benchmarks import guards
guards._LEAST_PATIENCE = 2.0
folder, told = Path(sys.argv[1]), []
module, asked = folder / "qure" / "few.py", folder / "asked"
tests = guards.Guards("qure/few.py", folder, ["qure/few.py", "test_few.py"])
for change, line in (("", None), ("a * 2->a / 2", 2), ("a -= 1->pass", 7), ("", 2)):
    before, _, after = change.partition("->")
    module.write_text({source!r}.replace(before, after) if change else {source!r})
    asked.write_text("")
    ended = tests.run(100, line=line)
    names = asked.read_text().split()
    told.append([*ended, names[:2], sorted(names[2:])])
print("RESULT", json.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.split("RESULT ")[1]) == [
        ["passed", "", ["away", "slow"], ["down", "quick"]],
        ["failed", "test_few.py::test_quick", ["quick"], []],
        ["timed out", "", ["down"], []],
        ["passed", "", ["quick", "slow"], ["away", "down"]],
    ]


def test_whoever_is_told_to_end_ends_the_tests_too(tmp_path: Path) -> None:
    """They are a group of their own, which no signal to the program's group reaches."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "few.py").write_text("")
    (tmp_path / "test_few.py").write_text(
        "import os, time\nfrom pathlib import Path\n\n\n"
        "def test_long():\n    Path(f'number.{os.getpid()}').touch()\n    time.sleep(100)\n"
    )
    code = """
import signal, sys
from pathlib import Path
from benchmarks.guards import Guards
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
Guards("few.py", Path(sys.argv[1]), ["test_few.py"]).run(100)
"""
    program = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not (found := list(tmp_path.glob("number.*"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        program.terminate()
        assert program.wait(30) == 143
        assert len(found) == 1
        with pytest.raises(ProcessLookupError):
            os.kill(int(found[0].suffix[1:]), 0)
    finally:
        program.kill()
