"""Where results go, and what must be known to read them: machine, commit, date, versions."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qure.files import write_json

RESULTS = Path(os.environ.get("QURE_BENCH_RESULTS") or Path(__file__).parent / "results")
CHECKOUT = Path(__file__).resolve().parents[1]


def write_result(name: str, payload: dict[str, Any], checkout: Path = CHECKOUT) -> Path:
    """Writes benchmarks/results/{name}.json with everything that the numbers depend on.

    Args:
        name: the benchmark's name.
        payload: what was measured; JSON-able.
        checkout: of the code that was measured.
    """
    path = RESULTS / f"{name}.json"
    write_json(path, {"benchmark": name, **payload, "measured": circumstances(checkout)})
    return path


def circumstances(checkout: Path = CHECKOUT) -> dict[str, Any]:
    """Machine, commit, date and versions."""
    return {
        "date": datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat(),
        "commit": _commit(checkout),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": f"{platform.system()} {platform.machine()}",
            "accelerator": _accelerator(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "transformers")},
        },
    }


def _commit(checkout: Path) -> str | None:
    """The commit, with "+changes" where the working tree differs from it; outside a repository QURE_COMMIT."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return os.environ.get("QURE_COMMIT")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
