"""The ablation on a terminal."""

import pytest
from rich.console import Console

from qure.ablation.page import terminal_table

ARMS = [
    {"title": "The baseline", "metrics": {"ndcg_at_10": {"mean": 61.44}, "recall_at_10": {"mean": 48.0}}},
    {"title": "Mined", "metrics": {"ndcg_at_10": {"mean": 65.06}, "recall_at_10": {"mean": 47.96}}},
]


@pytest.mark.parametrize(
    ("differences", "shown"),
    [
        ({"ndcg_at_10": {"value": 3.62, "verdict": "above"}, "recall_at_10": {"value": -0.04}}, "+3.6, above"),
        ({"recall_at_10": {"value": -0.04, "verdict": "level"}}, "-0.0, level"),  # where the truth is unknown
    ],
)
def test_every_arm_with_its_numbers_and_its_difference(differences: dict[str, dict[str, object]], shown: str) -> None:
    arms = [ARMS[0] | {"differences": {}}, ARMS[1] | {"differences": differences}]
    console = Console(width=120)
    with console.capture() as written:
        console.print(terminal_table({"training_set": "fashioniq", "arms": arms}))
    assert "ablation, fashioniq" in written.get()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in written.get().splitlines() if "│" in line]
    assert rows == [["The baseline", "61.4", "48.0", ""], ["Mined", "65.1", "48.0", shown]]
