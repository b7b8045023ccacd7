"""docs/comparing.md, command by command: real git, real DVC, the real dvc.yaml and params.yaml.

In place of `qure` stands a script that leaves in milliseconds what a stage leaves, made from its settings.
tests/test_dvc_pipeline.py runs the real stages.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from qure.config import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
GUIDE = REPOSITORY / "docs" / "comparing.md"
EPOCHS = "training.fashioniq.overrides.epochs"

#: The recall is a function of the epochs that the settings ask for.
STAND_IN = """#!{python}
import json, sys, yaml
from pathlib import Path
stage, key = sys.argv[1], sys.argv[-1]
params = yaml.safe_load(Path("params.yaml").read_text())
def write(file, text):
    path = Path("artifacts", file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
def epochs():
    chosen = params["training"][key]
    return chosen["overrides"]["epochs"] or yaml.safe_load(Path(chosen["recipe"]).read_text())["epochs"]
if stage == "validate":
    write(f"{{key}}/validation/result.json", "{{}}")
elif stage == "backbone":
    write("backbone/manifest.json", json.dumps(params["backbone"]))
elif stage == "precompute":
    for images in ("fashioniq", "cirr"):
        write(f"{{key}}/features/{{images}}/index", "features")
elif stage == "train":
    write(f"{{key}}/model/weights", str(epochs()))
    write(f"{{key}}/training/summary.json", json.dumps(params["training"][key]))
elif stage == "evaluate":
    trained = int(Path("artifacts", key, "model", "weights").read_text())
    write(f"{{key}}/evaluation/metrics.json", json.dumps({{key: {{"recall_at_10": 10.0 * trained}}}}))
    controls = "trained,untrained_backbone,shuffled_references,empty_text"
    rows = [f"{{k}},{{k * trained}},{{k}},{{k}},{{k}}" for k in (1, 5, 10)]
    plots = f"{{key}}/evaluation/plots"
    write(f"{{plots}}/recall_curve.csv", "\\n".join(["k," + controls, *rows]))
    write(f"{{plots}}/loss.csv", "epoch,loss\\n" + "".join(f"{{n}},{{1 / n}}\\n" for n in range(1, trained + 1)))
    write(f"{{plots}}/set_size.csv", "epoch,mean,median\\n0,200,200\\n2,100,90\\n")
    for picture in ("steep-drops.png", "retrieval.png"):
        write(f"{{plots}}/{{picture}}", "a picture")
else:
    write(f"{{key}}/{{dict(register='registration', promote='promotion')[stage]}}.json", "{{}}")
"""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """A committed clone in which `dvc repro` has run once."""
    project = Project(tmp_path_factory.mktemp("comparing") / "project")
    project.run("dvc add --quiet data && git add . && git commit --quiet --message Project")
    project.run("dvc repro --quiet")
    return project


class Project:
    """A git and DVC project with the repository's pipeline and the stand-in as `qure`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/plots.html"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
        shutil.copytree(REPOSITORY / "qure", folder / "qure", ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("fashioniq", "hp_fashioniq", "cirr", "circo", "pretraining"):
            (folder / "data" / part).mkdir(parents=True)
            (folder / "data" / part / "file.json").write_text(part)
        stand_in = folder.parent / "bin" / "qure"
        stand_in.parent.mkdir()
        stand_in.write_text(STAND_IN.format(python=sys.executable))
        stand_in.chmod(0o755)
        self.run("git init --quiet && git config user.name Somebody && git config user.email somebody@example.org")

    def run(self, commands: str) -> str:
        path = os.pathsep.join([str(self.folder.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=self.folder, capture_output=True, text=True, check=False,
            env=os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull, "COLUMNS": "400"},
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def diff(self, what: str, *arguments: str) -> Any:
        return json.loads(self.run(f"dvc {what} diff --json {' '.join(arguments)}"))

    def running(self, command: str) -> list[str]:
        return re.findall(r"^Running stage '(.+)'", self.run(command), flags=re.MULTILINE)


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_a_changed_recipe_file_reruns_training_and_is_a_changed_parameter(first_run: Project) -> None:
    recipe = first_run.folder / "qure" / "recipes" / "catalogue.yaml"
    before = recipe.read_text()
    recipe.write_text(re.sub(r"^epochs: \d+", "epochs: 5", before, flags=re.MULTILINE))
    try:
        assert set(json.loads(first_run.run("dvc status --json"))) == {"train@fashioniq", "train@cirr"}
    finally:
        recipe.write_text(before)


def test_changed_code_reruns_the_stages_that_run_it(first_run: Project) -> None:
    promotion = first_run.folder / "qure" / "registry" / "promotion.py"
    before = promotion.read_text()
    promotion.write_text(f"{before}\n# a line more\n")
    try:
        stages = {stage.partition("@")[0] for stage in json.loads(first_run.run("dvc status --json"))}
        assert stages == {"register", "promote"}
    finally:
        promotion.write_text(before)


def test_the_guide_works_from_top_to_bottom(first_run: Project) -> None:
    start, one_setting, another, keep, back, own_recipe = blocks()
    assert first_run.run("git status --porcelain").split("\n") == ["?? dvc.lock", ""]
    assert first_run.running("dvc repro") == []

    assert start.startswith("make demo\n")
    first_run.run(start.removeprefix("make demo\n"))
    assert first_run.run("git status --porcelain") == ""

    run, *diffs = one_setting.splitlines()
    assert first_run.running(run) == ["train@fashioniq", "evaluate@fashioniq"]
    for command in diffs:
        first_run.run(command)
    assert first_run.diff("params") == {"params.yaml": {EPOCHS: {"old": None, "new": 2}}}
    metrics = first_run.diff("metrics")["artifacts/fashioniq/evaluation/metrics.json"]
    assert metrics["fashioniq.recall_at_10"] == {"old": 60.0, "new": 20.0, "diff": -40.0}
    assert first_run.run("git status --porcelain").split("\n") == [" M dvc.lock", " M params.yaml", ""]

    page = (first_run.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)\s*=\s*\"?(https?:)?//", page) == []
    assert all(revision in page for revision in ('"rev": "HEAD"', '"rev": "workspace"'))

    assert "learning_rate" in first_run.run(another)
    first_run.run(keep)
    assert first_run.run("git status --porcelain") == ""
    assert EPOCHS in first_run.diff("params", "HEAD~1")["params.yaml"]
    first_run.run(back)
    assert first_run.running("dvc repro evaluate@fashioniq evaluate@cirr") == []

    first_run.run(own_recipe)
    recipe = first_run.folder / "qure" / "recipes" / "catalogue.yaml"
    recipe.write_text(re.sub(r"^epochs: \d+", "epochs: 5", recipe.read_text(), flags=re.MULTILINE))
    found = first_run.diff("params", "HEAD~1")
    assert found["qure/recipes/catalogue.yaml"]["epochs"] == {"old": 6, "new": 5, "diff": -1}
    assert found["params.yaml"]["training.fashioniq.recipe"]["new"] == "my.yaml"
    assert found["my.yaml"]["epochs"]["new"] == 3
    assert (first_run.folder / "artifacts/fashioniq/model/weights").read_text() == "3"


def test_a_set_parameter_reaches_the_training(tmp_path: Path) -> None:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["training"]["fashioniq"]["overrides"] |= {"epochs": 1, "negatives": {"strategy": None, "top_k": 50}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    settings = Settings.load(tmp_path / "params.yaml")
    changed, unchanged = settings.training_for("fashioniq"), settings.training_for("cirr")
    assert (changed.epochs, changed.negatives.top_k, changed.negatives.strategy) == (1, 50, "top_k")
    assert changed.model_copy(update={"epochs": unchanged.epochs, "negatives": unchanged.negatives}) == unchanged
