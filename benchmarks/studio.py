"""How long a visitor of `qure studio` waits: a page of answers of the demo's champion, first and later.

    python -m benchmarks.studio [--queries 50]

Starts the page on a finished demo with two threads, waits until the champion is loaded, then asks validation queries
one after the other over HTTP. Writes results/studio.json: seconds until it is loaded, of the first answer, of the rest.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks.common import write_result
from qure.benchmarks import get_benchmark
from qure.studio.studio import address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=50)
    count = parser.parse_args().queries
    triplets = get_benchmark("fashioniq").read(Path("data") / "fashioniq", "val").triplets
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "qure.cli", "studio", "--port", f"{port}", "--folder", folder],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "2"},
        )
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "is loaded" in line:
                    break
            loaded = time.perf_counter() - started
            step = max(1, len(triplets) // count)
            seconds = [_asked(port, one.reference, one.text, one.category) for one in triplets[::step][:count]]
        finally:
            server.kill()
            server.wait()
    later = np.quantile(seconds[1:], [0.5, 0.95])
    print(
        write_result(
            "studio",
            {
                "queries": len(seconds),
                "loaded_seconds": loaded,
                "first_answer_seconds": seconds[0],
                "later_median_seconds": float(later[0]),
                "later_95_percent_seconds": float(later[1]),
            },
        )
    )


def _asked(port: int, reference: str, text: str, group: str | None) -> float:
    place = address(f"http://127.0.0.1:{port}/", ("r", f"gallery:{reference}"), ("t", text), group=group)
    started = time.perf_counter()
    with urllib.request.urlopen(place, timeout=60) as page:
        assert b'id="answers"' in page.read()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
