"""The artifacts of a training run, of a second one against its champion, and of the champion's check and an ablation:
every component called as Kubeflow calls it, on a tiny catalogue whose data has a few defects."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from PIL import Image

from components import readme
from qure.errors import StageFailed

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
        """Every Markdown artifact: of "run/task", or of "run/task port" where a task has several."""
        return {
            task if port == "summary" else f"{task} {port}": Path(artifact.path)
            for task, made in self.artifacts.items()
            for port, artifact in made.items()
            if isinstance(artifact, dsl.Markdown)
        }


@pytest.fixture(scope="session")
def tasks(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    """All of it; about a minute."""
    root = tmp_path_factory.mktemp("tasks")
    done = Tasks(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("QURE_PIPELINE_RUN", "run-one")
        patch.setattr("qure.catalogue.fetch.render", lambda settings, folder: _defective(catalogue, folder))
        source = {"training_set": "fashioniq", "repository": ""}
        _, commit, data_hash, listed = done.call("resolve_inputs", **source, revision="main", shards=2)
        pinned = {"commit": commit, "data_hash": data_hash, "workspace": "", "code_version": "c"}
        done.call("prepare_data", **source, **pinned)
        prepared = {name: done.artifacts["first/prepare_data"][name] for name in ("data", "validation")}
        done.call("prepare_backbone", **prepared)
        backbone = done.artifacts["first/prepare_backbone"]["backbone"]
        shares = []
        for item in listed:
            task = f"precompute {item['image_set']} {item['shard']}"
            done.call("precompute_embeddings", task=task, workspace="", backbone=backbone, **item, **prepared)
            shares.append(done.artifacts[f"first/{task}"]["features"])
        common = {"training_set": "fashioniq", **prepared}
        for run, seed in (("first", 0), ("second", 1)):
            patch.setenv("QURE_PIPELINE_RUN", f"run-{run}")
            _train_and_promote(done, run, seed, backbone, shares, common)
        _check(done, shares, common)
        arguments = {"workspace": "", "arms": ["contrastive", "window"], "seeds": 1, "epochs": 1}
        done.call("ablate", backbone=backbone, shares=shares, **common, **arguments)
    return done  # and not inside: what is patched would stay so for the tests of other folders


def _defective(catalogue: Path, data: Path) -> None:
    """The catalogue with an image that cannot be read and one that is very wide, both of val's gallery."""
    import shutil

    shutil.copytree(catalogue, data)
    images = sorted((data / "fashioniq" / "images").glob("*.*"))
    images[0].write_bytes(b"no picture")
    Image.new("RGB", (960, 64), "red").save(images[1])


def _train_and_promote(
    done: Tasks, run: str, seed: int, backbone: Any, shares: list[Any], common: dict[str, Any]
) -> None:
    values = PARAMS | {
        "training": {"fashioniq": {"recipe": "catalogue", "overrides": {"batch_size": 64, "epochs": 2, "seed": seed}}}
    }
    params = yaml.safe_dump(values)
    one = {"run": run, "params": params}
    champion = _champion(done, run)
    compared = {key: common[key] for key in ("training_set", "validation")}
    done.call("compare_data", **one, **champion, **compared)
    done.call("train_qure", **one, workspace="", distributed={}, backbone=backbone, shares=shares, **common)
    trained = done.artifacts[f"{run}/train_qure"]
    made = {name: trained[name] for name in ("model", "features")}
    for number in (0, 1):
        done.call("evaluate", **one, task=f"evaluate {number}", number=number, backbone=backbone, **made, **common)
    parts = {name: done.artifacts[f"{run}/evaluate {number}"]["part"] for number, name in enumerate(("own", "beside"))}
    arguments = {"training": trained["training"], **made, **parts, **common}
    if run == "second":
        _break_off(done, one | arguments)
    done.call("promote_model", **one, **arguments)


def _break_off(done: Tasks, arguments: dict[str, Any]) -> None:
    """A first attempt that ends between registration and promotion."""

    def lost(*_: Any, **__: Any) -> None:
        raise StageFailed("MLflow does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qure.registry.stage.promote", lost)
        with pytest.raises(SystemExit):
            done.call("promote_model", task="promote_model broken off", **arguments)
    del done.artifacts["second/promote_model broken off"]


def _champion(done: Tasks, run: str, task: str = "") -> dict[str, Any]:
    version, fingerprint = done.call("find_champion", run=run, task=task, training_set="fashioniq")
    return {"version": version, "fingerprint": fingerprint}


def _check(done: Tasks, shares: list[Any], common: dict[str, Any]) -> None:
    champion = _champion(done, "check")
    done.call("fetch_champion", run="check", training_set="fashioniq", **champion)
    fetched = done.artifacts["check/fetch_champion"]
    compared = {key: common[key] for key in ("training_set", "validation")}
    done.call("compare_data", run="check", **champion, **compared)
    made = {"model": fetched["model"], "champion": fetched["champion"]}
    made |= {"drift": done.artifacts["check/compare_data"]["drift"], "shares": shares, "workspace": ""}
    done.call("evaluate_champion", run="check", **made, **common)
