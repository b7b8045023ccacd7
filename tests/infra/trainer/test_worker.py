"""torchrun for real: the exit status is that of the process that failed first."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

#: Programs of the workers, and how torchrun's process must end.
ENDINGS = {
    "": 0,
    "import os, sys, time; (time.sleep(60) if os.environ['RANK'] == '1' else sys.exit(2))": 2,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": 137,
}

IN_COPIES = """
import json, os, runpy, sys
import torch.distributed.run  # seconds

for script in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        sys.argv = ["worker", "--standalone", script]
        runpy.run_module("infra.trainer.worker", run_name="__main__")
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])), flush=True)
"""


def test_the_exit_status_is_the_first_failures(tmp_path: Path) -> None:
    """In copies of one process, which imports torch once."""
    scripts = [tmp_path / f"script{number}.py" for number in range(len(ENDINGS))]
    for script, program in zip(scripts, ENDINGS, strict=True):
        script.write_text(program)
    result = subprocess.run(
        [sys.executable, "-c", IN_COPIES, *map(str, scripts)],
        env={"PYTHONPATH": str(ROOT), "PET_NPROC_PER_NODE": "2", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line) for line in result.stdout.splitlines()] == list(ENDINGS.values()), result.stderr
    assert result.stderr.count("ended with exit status") == 2
