"""docs/evaluation.md: its examples run, and it explains every key that an evaluation writes."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.evaluation import Embeddings, evaluate_embeddings
from qure.evaluation.ranking.right_answers import right_measures
from qure.evaluation.stage import LOGGED
from qure.evaluation.statistics.results import load_results

PAGE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def here(catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the catalogue as data/, and the process in it."""
    (tmp_path / "data").symlink_to(catalogue)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random, comparison, _ = blocks("python")
    exec(compile(random, "random", "exec"), {})
    metrics = json.loads((here / "metrics.json").read_text())
    assert f"{metrics['recall_at_10']}" in capsys.readouterr().out
    (command,) = blocks("sh")
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    assert program == "qure"
    (here / "metrics.json").unlink()
    subprocess.run([sys.executable, "-m", "qure.cli", *arguments], check=True, capture_output=True)
    assert json.loads((here / "metrics.json").read_text()) == metrics
    for model in ("ours", "theirs"):
        for kind in ("queries", "gallery"):
            shutil.copy(here / f"{kind}.safetensors", here / f"{model}-{kind}.safetensors")
    exec(compile(comparison, "comparison", "exec"), {})
    assert capsys.readouterr().out.strip().startswith("0.0 (0.0, 0.0) 1.0"), "a model does not differ from itself"


def test_the_submission_example_checks_files(here: Path, unit_embeddings: Callable[..., Embeddings]) -> None:
    from qure.evaluation import write_embeddings

    _, _, check = blocks("python")
    scenes, photos = here / "data" / "cirr", here / "data" / "circo"
    for benchmark, root, split, triplets, images in (
        ("cirr", scenes, "test1", cirr.read_triplets(scenes, "test1"), cirr.read_gallery(scenes, "test1").ids),
        ("circo", photos, "test", circo.read_triplets(photos, "test"), circo.read_gallery(photos).ids),
    ):
        for name, ids in (("queries", [one.query_id for one in triplets]), ("gallery", list(images))):
            write_embeddings(f"{name}.safetensors", ids, unit_embeddings(ids, 1).vectors)
        evaluate_embeddings(benchmark, str(root), split, "queries.safetensors", "gallery.safetensors", "metrics.json")
    exec(compile(check, "check", "exec"), {})


def test_every_key_is_explained(evaluated: Any, scenes: Any) -> None:
    section = PAGE.read_text().split("## The metrics")[1].split("\n## ")[0]
    explained: set[str] = set()
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        first, *more = re.findall(r"`(.*?)`", row)
        explained |= {first, *(re.sub(r"_\d+$", one, first) if one[1:].isdigit() else one for one in more)}
    written: set[str] = set()
    for found in (evaluated, scenes):
        for evaluation in load_results(found.folder / "evaluation" / "results").values():
            own = {**evaluation.metrics, **evaluation.details}
            written |= {re.sub(r"^(dress|shirt|toptee)_", "", name) for name in own}
    # What is written only where people marked further right answers.
    written |= {one.name for one in right_measures()} | {"corrected_queries"}
    assert written - {"model"} <= explained
    leaked = {"..._without_leaked", "queries_without_leaked"}  # of public data; no rendered query is leaked
    asked = {"caption_order"}  # where another order than the published one is asked for
    aside = {"dress_...", "shirt_...", "toptee_...", "intervals", "data_fingerprint"}
    assert explained - written == aside | leaked | asked


def test_every_file_of_the_stage_is_named(evaluated: Any) -> None:
    text = PAGE.read_text()
    folder = evaluated.folder / "evaluation"
    assert [name for name in LOGGED if f"`{name}`" not in text] == []
    assert [path.name for path in (folder / "plots").iterdir() if f"`{path.name}`" not in text] == []
    assert [path.name for path in folder.iterdir() if path.is_dir() and f"`{path.name}/`" not in text] == []
