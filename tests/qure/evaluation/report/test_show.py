"""Metrics files on a terminal."""

from typing import Any

from rich.console import Console

from qure.evaluation.report.show import metrics_table


def shown(metrics: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """What stands above the table, and the cells of every row."""
    console = Console(width=160)
    with console.capture() as written:
        console.print(metrics_table(metrics))
    lines = written.get().splitlines()
    above = next(number for number, line in enumerate(lines) if "━" in line)
    return " ".join(" ".join(lines[:above]).split()), [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line
    ]


def test_a_part_of_cocos_gallery_and_the_files_for_the_server_are_told() -> None:
    title, rows = shown(
        {
            "benchmark": "circo",
            "split": "test",
            "partial_gallery": True,
            "gallery_size": 12345,
            "seed": 0,
            "submissions": {"map": "circo_test.json"},
        }
    )
    assert title == "circo test (partial gallery, not COCO's whole index: numbers are too high)"
    assert rows == [["gallery_size", "12,345", ""], ["submission for map", "circo_test.json", ""]]


def test_a_number_stands_beside_its_interval() -> None:
    title, rows = shown(
        {
            "benchmark": "cirr",
            "split": "val",
            "confidence": 0.95,
            "recall_at_5": 12.3456,
            "intervals": {"recall_at_5": [10.0, 14.678]},
        }
    )
    assert title == "cirr val"
    assert ["recall_at_5", "12.35", "10.00 to 14.68"] in rows
