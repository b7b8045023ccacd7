"""Which way to choose negatives works on the rendered catalogue: what `qure ablate` found, kept with its circumstances.

    qure ablate --training-set fashioniq --epochs 3
    python -m benchmarks.ablation [--ablation artifacts/fashioniq/ablation]

Writes results/ablation.json and docs/images/ablation.png; docs/ablation.md reads them.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from qure.ablation.stage import FIGURE, RESULTS
from qure.files import atomic_file, read_json

IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "ablation.png"

#: What is kept of a run: the whole recipes stand with the arms.
RUN = ("arm", "seed", "negatives", "training", "cpu_seconds")
METRICS = ("recall_at_10", "recall_at_50", "ndcg_at_10", "relevant_at_10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ablation", type=Path, default=Path("artifacts/fashioniq/ablation"))
    folder = parser.parse_args().ablation
    found = read_json(folder / RESULTS, remedy="Run 'qure ablate' first")
    print(write_result("ablation", found | {"runs": [_short(run) for run in found["runs"]]}))
    with atomic_file(IMAGE) as temporary:
        shutil.copyfile(folder / FIGURE, temporary)


def _short(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in RUN} | {name: run["metrics"][name] for name in METRICS}


if __name__ == "__main__":
    main()
