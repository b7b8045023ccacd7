"""The artifacts of a training run, of a second one against its champion, and of the champion's check and an ablation:
every component called as Kubeflow calls it, on a tiny catalogue whose data has a few defects."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from PIL import Image

from components import readme
from qure.files import write_json

PARAMS: dict[str, Any] = {
    "backbone": {
        "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
        "qformer": {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 32, "query_tokens": 4, "embedding": 8},
        "pretraining": {"steps": 1, "batch_size": 8, "least_recall_at_5": 0.0},
    },
    "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"batch_size": 64, "epochs": 2}}},
    "evaluation": {"bootstrap_samples": 100},
    "promotion": {
        "refuse_collapsed": False,
        "max_risk": 1.0,
        "max_loss": 100.0,
        "thresholds": {"fashioniq": {"recall_at_10": 0.1}},
    },
    "validation": {"tolerate": {"image_unreadable": 2, "image_aspect": 2}},
}


@dataclass
class Tasks:
    """What tasks have left: "run/task" -> port -> artifact; and what they have said."""

    root: Path
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def call(self, name: str, *, run: str = "first", task: str = "", params: Any = None, **arguments: Any) -> Any:
        """Calls a component; returns what it returns."""
        made = readme.component(name)
        task = task or name
        folder = self.root / run / task
        folder.mkdir(parents=True)
        outputs: dict[str, Any] = {}
        for port, stated in (made.component_spec.outputs or {}).items():
            kind = stated.type.split("@")[0].removeprefix("system.")
            if hasattr(dsl, kind):
                outputs[port] = getattr(dsl, kind)(name=port, uri=str(folder / port))
        self.artifacts[f"{run}/{task}"] = outputs
        text = params if params is not None else json.dumps(PARAMS)
        return made.python_func(params=text, **arguments, **outputs)

    def pages(self) -> dict[str, Path]:
        """Every Markdown artifact."""
        return {task: Path(made["summary"].path) for task, made in self.artifacts.items() if "summary" in made}


@pytest.fixture(scope="session")
def tasks(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    """All of it; about a minute."""
    root = tmp_path_factory.mktemp("tasks")
    done = Tasks(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("QURE_PIPELINE_RUN", "run-one")
        data = dsl.Dataset(name="data", uri=str(root / "data"))
        _defective(catalogue, root / "fetched" / "data")
        write_json(root / "data" / "location.json", {"folder": str(root / "fetched")})
        common = {"training_set": "fashioniq", "data": data}
        facts = {"data_fingerprint": "d", "workspace": "", "code_version": "c"}
        fingerprints = done.call("validate_dataset", **common, **facts)
        validation = done.artifacts["first/validate_dataset"]["validation"]
        done.call("prepare_backbone", fingerprints=fingerprints, data=data, validation=validation)
        common |= {"validation": validation}
        backbone = done.artifacts["first/prepare_backbone"]["backbone"]
        listed = done.call("list_shards", training_set="fashioniq", shards=2, fingerprints=fingerprints, model="")
        shares = []
        for item in listed:
            task = f"precompute {item['image_set']} {item['shard']}"
            inputs = {"data": data, "backbone": backbone, "validation": validation, "workspace": ""}
            done.call("precompute_embeddings", task=task, **item, **inputs)
            shares.append(done.artifacts[f"first/{task}"]["features"])
        done.call("collect_embeddings", listed=listed, workspace="", shards=shares)
        common |= {"features": done.artifacts["first/collect_embeddings"]["features"]}
        for run, seed in (("first", 0), ("second", 1)):
            patch.setenv("QURE_PIPELINE_RUN", f"run-{run}")
            _train_and_promote(done, run, seed, backbone, common)
        done.call("fetch_champion", training_set="fashioniq")
        _check(done, common)
        arguments = {"fingerprints": "f", "workspace": "", "arms": ["contrastive", "window"], "seeds": 1, "epochs": 1}
        done.call("ablate", backbone=backbone, **common, **arguments)
        yield done


def _defective(catalogue: Path, data: Path) -> None:
    """The catalogue with an image that cannot be read and one that is very wide, both of val's gallery."""
    import shutil

    shutil.copytree(catalogue, data)
    images = sorted((data / "fashioniq" / "images").glob("*.*"))
    images[0].write_bytes(b"no picture")
    Image.new("RGB", (960, 64), "red").save(images[1])


def _train_and_promote(done: Tasks, run: str, seed: int, backbone: Any, common: dict[str, Any]) -> None:
    values = PARAMS | {
        "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"batch_size": 64, "epochs": 2, "seed": seed}}}
    }
    params = yaml.safe_dump(values)
    one = {"run": run, "params": params}
    done.call("train_qure", **one, fingerprints="f", workspace="", distributed={}, backbone=backbone, **common)
    trained = done.artifacts[f"{run}/train_qure"]
    for number in (0, 1):
        arguments = {"number": number, "fingerprints": "f", "backbone": backbone, "model": trained["model"]}
        done.call("evaluate", **one, task=f"evaluate {number}", **arguments, **common)
    parts = {name: done.artifacts[f"{run}/evaluate {number}"]["part"] for number, name in enumerate(("own", "beside"))}
    plain = {key: common[key] for key in ("training_set", "data")}
    done.call("join_evaluations", **one, training=trained["training"], **parts, **plain)
    evaluation = done.artifacts[f"{run}/join_evaluations"]["evaluation"]
    done.call("find_champion", **one, training_set="fashioniq")
    champion = done.artifacts[f"{run}/find_champion"]["champion"]
    done.call("compare_data", **one, validation=common["validation"], champion=champion)
    done.call(
        "register_model", **one, evaluation=evaluation, **{key: trained[key] for key in ("model", "training")}, **common
    )
    registration = done.artifacts[f"{run}/register_model"]["registration"]
    done.call("promote_model", **one, registration=registration, evaluation=evaluation, **common)


def _check(done: Tasks, common: dict[str, Any]) -> None:
    fetched = done.artifacts["first/fetch_champion"]
    drift = done.artifacts["second/compare_data"]["drift"]
    done.call("evaluate_champion", model=fetched["model"], champion=fetched["champion"], drift=drift, **common)
