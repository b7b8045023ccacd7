"""torchrun for real: the exit status is that of the process that failed first."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("", 0),
        ("import os, sys, time; (time.sleep(60) if os.environ['RANK'] == '1' else sys.exit(2))", 2),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_the_exit_status_is_the_first_failures(program: str, status: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(program)
    result = subprocess.run(
        [sys.executable, "-m", "infra.trainer.worker", "--standalone", str(script)],
        env={"PYTHONPATH": str(ROOT), "PET_NPROC_PER_NODE": "2", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stderr
    if status:
        assert "ended with exit status" in result.stderr
