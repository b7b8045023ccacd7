"""The database of answers: only ever added to, by several at once, and whole after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from qure.errors import BadInput, StageFailed
from qure.studio import answers as module
from qure.studio.answers import Answers, new_token, person_of


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "studio" / "answers.db")


def test_what_was_said_is_read_back_in_order(answers: Answers) -> None:
    assert answers.of("mark") == []
    answers.add("mark", "ann", "dress/1", {"image": "ä<b>", "right": True})
    answers.add("mark", "bob", "dress/2", {"image": "b", "right": False})
    answers.add("consent", "ann", "s", {"set": 0})
    again = Answers(answers.file)
    assert [(one.person, one.subject, one.content["image"]) for one in again.of("mark")] == [
        ("ann", "dress/1", "ä<b>"),
        ("bob", "dress/2", "b"),
    ]
    assert [one.number for one in again.of("mark", person="bob")] == [2]
    assert again.of("mark", subject="dress/1")[0].at.endswith("+00:00")


def test_what_is_said_once_stays_as_it_was_said_first(answers: Answers) -> None:
    first = answers.add("preference", "ann", "s", {"preferred": 1}, once="ann/q1")
    assert first is not None
    assert answers.add("preference", "ann", "s", {"preferred": 2}, once="ann/q1") is None
    assert [one.content for one in answers.of("preference")] == [{"preferred": 1}]


@pytest.mark.parametrize("statement", ["UPDATE answers SET content = '{}'", "DELETE FROM answers"])
def test_the_table_itself_refuses_changes(answers: Answers, statement: str) -> None:
    answers.add("mark", "ann", "dress/1", {"right": True})
    with sqlite3.connect(answers.file) as database, pytest.raises(sqlite3.IntegrityError, match="only added"):
        database.execute(statement)


def test_several_at_once_lose_nothing_and_count_one_after_the_other(answers: Answers) -> None:
    def begin(number: int) -> int:
        found = Answers(answers.file).add_decided("consent", f"person {number}", "s", lambda before: {"set": before})
        assert found is not None
        return int(found.content["set"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(begin, range(40))) == list(range(40))


def test_it_is_in_wal_mode(answers: Answers) -> None:
    answers.add("mark", "ann", "dress/1", {})
    with sqlite3.connect(answers.file) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_read_only_shows_and_takes_nothing(answers: Answers) -> None:
    shown = Answers(answers.file, read_only=True)
    assert shown.of("mark") == []
    answers.add("mark", "ann", "dress/1", {"right": True})
    assert len(shown.of("mark")) == 1
    with pytest.raises(StageFailed, match="none are taken"):
        shown.add("mark", "bob", "dress/1", {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can become somebody else")
def test_whoever_may_only_read_the_folder_sees_the_answers(answers: Answers) -> None:
    """In WAL mode SQLite writes beside the file even to read it; an export in a colleague's folder must do without."""
    answers.add("mark", "ann", "dress/1", {"right": True})
    for folder in answers.file.parents:
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    answers.file.chmod(0o444)
    assert [file.name for file in answers.file.parent.iterdir()] == [answers.file.name]
    child = os.fork()
    if child == 0:
        found = -1
        try:
            os.setuid(65534)
            found = len(Answers(answers.file, read_only=True).of("mark"))
        finally:
            os._exit(found % 256)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1, "one mark is seen"


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "answers.db"
    text.write_text("no database, but long enough to look like something" * 100)
    with pytest.raises(BadInput, match="no database of answers"):
        Answers(text)
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 7")
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(BadInput, match="format 7"):
        Answers(newer)


def test_an_answer_that_cannot_be_kept_stands_in_nobodys_way(answers: Answers) -> None:
    def fail(before: int) -> dict[str, int]:
        raise KeyError(before)

    with pytest.raises(KeyError):
        answers.add_decided("mark", "ann", "dress/1", fail)
    with pytest.raises(ValueError, match="not JSON compliant"):
        answers.add("mark", "ann", "dress/1", {"score": float("nan")})
    answers.add("mark", "bob", "dress/1", {"right": True})
    assert [one.person for one in answers.of("mark")] == ["bob"]


def test_a_database_that_somebody_else_holds_is_said(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    answers.add("mark", "ann", "dress/1", {})
    monkeypatch.setattr(module, "_BUSY", 0.01)
    with closing(sqlite3.connect(answers.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StageFailed, match=r"answers\.db: .*written: database is locked\. Make .* --folder"):
            answers.add("mark", "bob", "dress/1", {})
        assert len(answers.of("mark")) == 1, "it can be read all the same"


def test_tokens_are_not_kept(answers: Answers) -> None:
    token = new_token()
    answers.add("consent", person_of(token), "s", {})
    assert token.encode() not in b"".join(file.read_bytes() for file in answers.file.parent.iterdir())


WRITER = """
import sys
from pathlib import Path
from qure.studio.answers import Answers
answers = Answers(Path(sys.argv[1]))
for number in range(100_000):
    answers.add("mark", "ann", "dress/1", {"number": number})
    print(number, flush=True)
"""


@pytest.mark.integration
def test_a_killed_writer_loses_nothing_that_it_acknowledged(answers: Answers, no_bytecode: None) -> None:
    expected = 0
    for _ in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(answers.file)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.2)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 1 + len(writer.stdout.read().splitlines())
        writer.wait()
        found = len(answers.of("mark")) - expected
        assert found - acknowledged in (0, 1)  # one may have been written and not yet been told
        expected += found
