"""The ablate component called as Kubeflow calls it, on a tiny catalogue and two arms."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from components import readme
from qure.backbone.stage import prepare_backbone
from qure.config import Settings
from qure.features.stage import precompute
from qure.files import write_json
from qure.validation.stage import validate

PARAMS: dict[str, Any] = {
    "backbone": {
        "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
        "qformer": {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 32, "query_tokens": 4, "embedding": 8},
        "pretraining": {"steps": 1, "batch_size": 8, "least_recall_at_5": 0.0},
    },
    "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"batch_size": 64}}},
    "evaluation": {"bootstrap_samples": 100},
    "tracking": {"uri": None},
}


@pytest.fixture(scope="module")
def inputs(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The artifacts of the tasks before it; the data's is a pointer, as with a workspace."""
    root = tmp_path_factory.mktemp("before")
    settings = Settings.model_validate(PARAMS)
    validation = root / "validation"
    validate(settings, "fashioniq", data=catalogue, output=validation, work=root / "work")
    prepare_backbone(settings, catalogue, root / "backbone")
    common: dict[str, Any] = {"data": catalogue, "backbone": root / "backbone", "validation": validation}
    for number in (0, 1):
        share = root / f"share{number}"
        precompute(settings, "fashioniq", output=share, device="cpu", shard=(number, 2), **common)
    (root / "fetched").mkdir()
    (root / "fetched" / "data").symlink_to(catalogue)
    write_json(root / "data" / "location.json", {"folder": str(root / "fetched")})
    told = {"image_set": "fashioniq", "key": "f"}
    return {
        "data": dsl.Dataset(name="data", uri=str(root / "data")),
        "validation": dsl.Dataset(name="validation", uri=str(validation), metadata={"fingerprint": "v"}),
        "backbone": dsl.Model(name="backbone", uri=str(root / "backbone"), metadata={"fingerprint": "b"}),
        "shares": [dsl.Dataset(name="features", uri=str(root / f"share{number}"), metadata=told) for number in (1, 0)],
    }


def call(inputs: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    outputs: dict[str, Any] = {
        "ablation": dsl.Dataset(name="ablation", uri=str(folder / "ablation")),
        "metrics": dsl.Metrics(name="metrics", uri=str(folder / "metrics")),
        "summary": dsl.Markdown(name="summary", uri=str(folder / "summary")),
    }
    arguments = {
        "params": yaml.safe_dump(PARAMS),
        "training_set": "fashioniq",
        "workspace": "",
        "arms": ["contrastive", "window"],
        "seeds": 1,
        "epochs": 1,
    }
    readme.component("ablate").python_func(**(arguments | changes), **inputs, **outputs)
    return outputs


def test_arms_become_a_table_metrics_and_results(inputs: dict[str, Any], tmp_path: Path) -> None:
    outputs = call(inputs, tmp_path, workspace=str(tmp_path / "shared"))
    results = json.loads((Path(outputs["ablation"].path) / "results.json").read_text())
    assert [arm["arm"] for arm in results["arms"]] == ["contrastive", "window"]
    assert outputs["metrics"].metadata["window"] == round(results["arms"][1]["metrics"]["ndcg_at_10"]["mean"], 2)
    assert "## Arms, best first" in Path(outputs["summary"].path).read_text()
    kept = list((tmp_path / "shared" / "scratch" / "ablate" / "fashioniq").glob("*/runs/*/0/result.json"))
    assert len(kept) == 2
    assert (tmp_path / "shared" / "features" / "f" / "collected" / "fashioniq" / "manifest.json").is_file()


def test_an_unknown_arm_is_bad_input_and_names_those_there_are(
    inputs: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        call(inputs, tmp_path, arms=["windw"])
    assert stop.value.code == 2
    assert "no arm 'windw'; there are contrastive" in capsys.readouterr().err
