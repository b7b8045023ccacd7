"""Settings, recipes, submissions, and the JSON that stages hand on."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from qure_tests_fuzz_annotations import lay as lay_annotations
from qure_tests_fuzz_damage import damaged_json, damaged_yaml
from qure_tests_fuzz_target import Target

from components import settings as pipeline_settings
from qure.ablation.arms import read_arms
from qure.config import Settings, ValidationSettings, read_recipe
from qure.evaluation.submissions.checks import benchmark_of, check_submission
from qure.files import fingerprint, write_json
from qure.registry.stage import read_registration
from qure.validation.drift import compare, read_statistics
from qure.validation.statistics import ASPECT_EDGES, SIDE_EDGES, VERSION, WORD_EDGES, histogram

PARAMS = """\
backbone: {name: catalogue, vision: {width: 32}}
training:
  fashioniq:
    recipe: catalogue
    overrides: {epochs: 2, seed: null, negatives: {strategy: top_k, top_k: 10}}
  cirr: &cirr
    recipe: recipe.yaml
evaluation: {gallery_protocol: original, bootstrap_samples: 100}
promotion:
  thresholds: {fashioniq: {recall_at_10: 20.5}}   # percent
  compare: {cirr: average}
validation: {tolerate: {image_missing: 1}, expect_public: no}
tracking:
  uri: sqlite:///mlflow.db
  artifacts: ~
"""
RECIPE = """\
epochs: 3
batch_size: 4
learning_rate: 1.0e-3
loss: bradley_terry
negatives:
  strategy: mine.py:near
  options: {margin: 0.5}
"""
ARMS = """\
baseline: contrastive
base: {learning_rate: 0.001}
arms:
  contrastive: {title: In-batch contrast, group: objective, changes: {loss: contrastive}}
  steep: {title: Steep drops, group: negatives, changes: {negatives: {strategy: between_steep_drops}}}
  window: {title: In a window, group: negatives, like: steep, changes: {negatives: {search_window: 50}}, budget: 2}
"""
STRATEGY = "def near(ranking, *, margin: float = 0.1):\n    return ranking.scores > margin\n"


def lay_settings(folder: Path) -> None:
    """A recipe and the file of its strategy, beside params.yaml."""
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "mine.py").write_text(STRATEGY, encoding="utf-8")
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")


def _settings(folder: Path) -> Any:
    found = Settings.load(folder / "params.yaml")
    fingerprint(found.resolved())
    return [found.training_for(name) for name in found.training]


def _argument(folder: Path) -> Any:
    """The same text as a pipeline's argument."""
    text = (folder / "argument").read_text(encoding="utf-8")
    pipeline_settings.parse(text)
    return pipeline_settings.changed(text, "fashioniq", epochs=1)


def _arms(folder: Path) -> Any:
    settings = Settings.load(folder / "params.yaml")
    return read_arms(settings, "fashioniq", file=folder / "arms.yaml")


def texts(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Damaged YAML that still is UTF-8, as an argument is."""
    return damaged_yaml(seeds).map(lambda content: content.decode("utf-8", "replace").encode())


def lay_submissions(folder: Path) -> None:
    lay_annotations(folder)


def submissions() -> dict[str, Any]:
    """Good ones for the annotations of the corpus."""
    ids = [f"test1-7-{number}-img0" for number in range(6)]
    recall = {str(20 + number): [one for one in ids if one != ids[number]] for number in range(2)}
    return {
        "cirr": {"version": "rc2", "metric": "recall", **recall},
        "circo": {"0": [11, 12, 13, 14, "15", 16]},
    }


def _submission(folder: Path) -> Any:
    file = folder / "submission.json"
    return check_submission(benchmark_of(file), file, folder / benchmark_of(file))


def statistics() -> dict[str, Any]:
    """Of a handful of queries and images."""
    split = {
        "queries": 3,
        "images": 4,
        "categories": {"dress": 2, "shirt": 1},
        "caption_words": histogram([1.0, 2.0, 9.0], WORD_EDGES),
        "image_width": histogram([64.0, 64.0, 80.0, 90.0], SIDE_EDGES),
        "image_height": histogram([64.0, 64.0, 80.0, 99.0], SIDE_EDGES),
        "image_aspect": histogram([1.0, 1.0, 1.0, 0.9], ASPECT_EDGES),
        "embedding_centroid": {"fingerprint": "f", "vector": [0.5, 0.5, 0.1]},
    }
    return {"version": VERSION, "training_set": "fashioniq", "splits": {"fashioniq/train": split}}


def _drift(folder: Path) -> Any:
    found = compare(statistics(), read_statistics(folder / "statistics.json"), ValidationSettings())
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    return found


def _registration(folder: Path) -> Any:
    return read_registration(folder / "registration.json", "fashioniq")


def write_valid_settings(folder: Path) -> None:
    """For the corpus."""
    lay_settings(folder)
    write_json(folder / "statistics.json", statistics())


#: Settings find a recipe beside the file, or where the process is.
def _here(folder: Path) -> Any:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return read_recipe("recipe.yaml")
    finally:
        os.chdir(before)


TARGETS = [
    Target("params", "params.yaml", (_settings,), damaged_yaml, lay_settings, called=(".yaml", ".py", "recipe")),
    Target("recipe", "recipe.yaml", (_settings, _here), damaged_yaml, lay_settings, called=(".yaml", ".py", "recipe")),
    Target("argument", "argument", (_argument,), texts, called=("pipeline argument", "recipe", "training set")),
    Target("arms", "arms.yaml", (_arms,), damaged_yaml, lay_settings, called=("arms.yaml", "mine.py")),
    Target("submission", "submission.json", (_submission,), damaged_json, lay_submissions),
    Target("statistics", "statistics.json", (_drift,), damaged_json),
    Target("registration", "registration.json", (_registration,), damaged_json),
]
