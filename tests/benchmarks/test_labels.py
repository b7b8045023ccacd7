"""The labels benchmark, tiny: shares differ only in labels, and the simulated person says what is true."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qure.config import Settings
from qure.datasets.truth import read_truth
from qure.layout import Layout


@pytest.mark.integration
def test_a_tiny_run_corrects_and_trains(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    from benchmarks import labels
    from qure.backbone.stage import prepare_backbone
    from qure.features.stage import precompute

    settings = Settings.model_validate(
        {
            "backbone": {
                "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
                "qformer": {
                    "hidden": 16,
                    "layers": 2,
                    "heads": 2,
                    "intermediate": 32,
                    "query_tokens": 4,
                    "embedding": 8,
                },
                "pretraining": {"steps": 2, "batch_size": 8, "least_recall_at_5": 0.0},
            },
            "training": {"fashioniq": {"recipe": "catalogue"}},
        }
    )
    layout = Layout(catalogue, tmp_path / "artifacts", tmp_path / ".work").of("fashioniq")
    prepare_backbone(settings, catalogue, layout.backbone)
    precompute(
        settings, "fashioniq", data=catalogue, backbone=layout.backbone, output=layout.training_features, device="cpu"
    )
    _check_the_person(monkeypatch, labels, catalogue)
    monkeypatch.setattr(labels, "SHARES", (0.0, 1.0))  # of so few queries a tenth has nothing to mark
    found = labels.measure(settings, layout, [0], epochs=3)
    before, after = found["shares"]
    assert before["labelled"] == [{"corrected": 0, "further_right": 0}]
    assert after["labelled"][0]["corrected"] > 0
    assert after["labelled"][0]["further_right"] > 0
    assert before["recall_at_10_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for metric in labels.METRICS:
        assert after[metric]["low"] <= after[metric]["value"] <= after[metric]["high"]
        assert after[f"{metric}_difference"]["value"] == pytest.approx(after[metric]["value"] - before[metric]["value"])
    assert not (catalogue / "fashioniq" / "labels.train.json").exists()


def _check_the_person(monkeypatch: pytest.MonkeyPatch, labels: object, catalogue: Path) -> None:
    truth = read_truth(catalogue / "fashioniq", "train")
    assert truth is not None
    written: list[list[dict[str, list[str]]]] = []
    write: Callable[..., None] = labels.write_json  # type: ignore[attr-defined]

    def remember(path: Path, rows: list[dict[str, list[str]]]) -> None:
        written.append(rows)
        write(path, rows)
        for row in rows:
            met = truth.relevance(str(row["id"]), row["gt_img_ids"][1:])
            assert met.tolist() == [1.0] * len(met)

    monkeypatch.setattr(labels, "write_json", remember)
