"""The ablation's table stands in the docs once, and its numbers are those of the result that is kept."""

import json
import re
from pathlib import Path

from benchmarks.common import RESULTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ablation.md"


def test_every_arm_has_one_row_with_its_numbers() -> None:
    text = PAGE.read_text()
    for arm in json.loads((RESULTS / "ablation.json").read_text())["arms"]:
        title = re.escape(arm["title"].removesuffix(" (baseline)"))
        (row,) = re.findall(rf"^\| {title}(?: \(baseline\))? \| .*$", text, re.MULTILINE)
        for name in ("ndcg_at_10", "recall_at_10", "recall_at_50"):
            one = arm["metrics"][name]
            assert f"| {one['mean']:.1f} ({one['low']:.1f} to {one['high']:.1f}) |" in row
