"""`qure evaluate-embeddings`: files in, metrics.json out, and every mistake named before a number is written."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from qure.benchmarks.circo import files as circo_files
from qure.benchmarks.circo import protocol as circo
from qure.benchmarks.cirr import files as cirr_files
from qure.benchmarks.fashioniq import files as fashioniq_files
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq_files
from qure.config import EvaluationSettings
from qure.datasets.types import Gallery
from qure.errors import BadInput
from qure.evaluation import Evaluation, check_submission, evaluate_embeddings
from qure.evaluation.ranking.embeddings import Embeddings, write_embeddings
from qure.evaluation.report.show import metrics_table

CATEGORIES = ("dress", "shirt", "toptee")
Make = Callable[..., Embeddings]


def save(folder: Path, name: str, embeddings: Embeddings) -> Path:
    write_embeddings(folder / f"{name}.safetensors", embeddings.ids, embeddings.vectors)
    return folder / f"{name}.safetensors"


def fashioniq_inputs(folder: Path, make: Make) -> tuple[Path, Path]:
    asked = [f"{category}/{row}" for category in CATEGORIES for row in range(20)]
    images = [f"{category}{number:02d}" for category in CATEGORIES for number in range(30)]
    gallery = make([*images, "beyond", "the", "protocol"], 2, 3)
    return save(folder, "queries", make(asked, 1)), save(folder, "gallery", gallery)


def test_fashioniq(fashioniq_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings) -> None:
    queries, gallery = fashioniq_inputs(tmp_path, unit_embeddings)
    output = tmp_path / "out" / "metrics.json"
    found = evaluate_embeddings("fashioniq", fashioniq_root, "val", queries, gallery, output, settings=settings)
    assert json.loads(output.read_text()) == found
    assert found["benchmark"] == "fashioniq"
    assert found["gallery_size"] == 90, "embeddings beyond the protocol's gallery are ignored"
    low, high = found["intervals"]["recall_at_10"]
    assert low < found["recall_at_10"] < high
    by_category = [
        evaluate_embeddings(
            "fashioniq", fashioniq_root, "val", queries, gallery, output, category=category, settings=settings
        )
        for category in CATEGORIES
    ]
    for category, own in zip(CATEGORIES, by_category, strict=True):
        assert own["recall_at_10"] == own[f"{category}_recall_at_10"] == found[f"{category}_recall_at_10"]
        assert own["gallery_size"] == 30
    assert found["recall_at_10"] == pytest.approx(np.mean([own["recall_at_10"] for own in by_category]))
    assert not any(key.startswith("shirt") for key in by_category[0])
    narrow = evaluate_embeddings(
        "fashioniq", fashioniq_root, "val", queries, gallery, output, gallery_protocol="val", settings=settings
    )
    assert narrow["gallery_protocol"] == "val"
    assert narrow["gallery_size"] < 90
    assert narrow["recall_at_10"] >= found["recall_at_10"]


def test_one_category_needs_only_its_own_embeddings(
    fashioniq_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings
) -> None:
    queries = save(tmp_path, "queries", unit_embeddings([f"shirt/{row}" for row in range(20)], 1))
    gallery = save(tmp_path, "gallery", unit_embeddings([f"shirt{number:02d}" for number in range(30)], 2))
    arguments = ("fashioniq", fashioniq_root, "val", queries, gallery, tmp_path / "metrics.json")
    assert evaluate_embeddings(*arguments, category="shirt", settings=settings)["queries"] == 20
    with pytest.raises(BadInput, match=r"queries.safetensors: 40 of 60 needed ids have no embedding: 'dress/0'"):
        evaluate_embeddings(*arguments, settings=settings)


def test_cirr(cirr_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings) -> None:
    asked = [one.query_id for split in ("val", "test1") for one in cirr_files.read_triplets(cirr_root, split)]
    images = [image for split in ("val", "test1") for image in cirr_files.read_gallery(cirr_root, split).ids]
    queries = save(tmp_path, "queries", unit_embeddings(sorted(set(asked)), 1))
    gallery = save(tmp_path, "gallery", unit_embeddings(images, 2))
    output, results = tmp_path / "out" / "metrics.json", tmp_path / "results"
    found = evaluate_embeddings("cirr", cirr_root, "val", queries, gallery, output, settings=settings, results=results)
    assert {"recall_at_1", "recall_at_50", "recall_subset_at_1", "recall_subset_at_3", "average"} <= found.keys()
    assert Evaluation.load(results).metrics["average"] == found["average"]
    test = evaluate_embeddings("cirr", cirr_root, "test1", queries, gallery, output, settings=settings)
    assert json.loads(output.read_text()) == test
    assert "recall_at_1" not in test
    for metric, name in test["submissions"].items():
        assert check_submission("cirr", output.parent / name, cirr_root) == metric


def test_hp_fashioniq(
    hp_fashioniq_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings
) -> None:
    pairs = hp_fashioniq_files.read_pairs(hp_fashioniq_root)
    images = sorted({image for pair in pairs for image in (*pair.set_1, *pair.set_2)})
    queries = save(tmp_path, "queries", unit_embeddings([pair.query_id for pair in pairs], 1))
    gallery = save(tmp_path, "gallery", unit_embeddings(images, 2))
    found = evaluate_embeddings(
        "hp-fashioniq", hp_fashioniq_root, "val", queries, gallery, tmp_path / "metrics.json", settings=settings
    )
    wanted = {"preference_rate", "agreement", "preference_rate_consistent", "agreement_consistent"}
    assert wanted <= found.keys()
    assert wanted <= found["intervals"].keys()
    assert {f"shirt_{name}" for name in wanted} <= found.keys()


@pytest.mark.parametrize("form", ["{}", "{:>012}"])
def test_circo(
    circo_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings, form: str
) -> None:
    triplets, whole = circo_files.read_triplets(circo_root, "val"), circo_files.read_gallery(circo_root)
    asked, images = unit_embeddings([one.query_id for one in triplets], 1), unit_embeddings(whole.ids, 2)
    queries = save(tmp_path, "queries", asked)
    named = Embeddings([form.format(identifier) for identifier in images.ids], images.vectors)
    gallery = save(tmp_path, "gallery", named)
    output = tmp_path / "out" / "metrics.json"
    found = evaluate_embeddings("circo", circo_root, "val", queries, gallery, output, settings=settings)
    expected = circo.evaluate(triplets, whole, asked, images, settings=settings)
    assert found["partial_gallery"] is False
    assert {name: found[name] for name in expected.metrics} == expected.metrics
    evaluate_embeddings("circo", circo_root, "test", queries, gallery, output, settings=settings)
    check_submission("circo", output.parent / "circo_test.json", circo_root)


def test_circo_without_cocos_index_has_a_partial_gallery(
    circo_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings
) -> None:
    triplets = circo_files.read_triplets(circo_root, "val")
    answers = list(dict.fromkeys(answer for one in triplets for answer in one.answers))
    asked, images = unit_embeddings([one.query_id for one in triplets], 1), unit_embeddings(answers, 2)
    queries, gallery = save(tmp_path, "queries", asked), save(tmp_path, "gallery", images)
    arguments = ("circo", circo_root, "val", queries, gallery, tmp_path / "metrics.json")
    with pytest.raises(BadInput, match=r"gallery.safetensors: \d+ of 80 needed ids have no embedding"):
        evaluate_embeddings(*arguments, settings=settings)
    shutil.rmtree(circo_root / "COCO2017_unlabeled")
    found = evaluate_embeddings(*arguments, settings=settings)
    assert found["partial_gallery"] is True
    assert found["gallery_size"] == len(answers)
    expected = circo.evaluate(triplets, Gallery("partial", tuple(answers)), asked, images, settings=settings)
    assert found["map_at_5"] == expected.metrics["map_at_5"]
    save(tmp_path, "gallery", unit_embeddings([*answers[1:], "cat"], 2))
    with pytest.raises(BadInput, match="no COCO image numbers: 'cat'"):
        evaluate_embeddings(*arguments, settings=settings)
    save(tmp_path, "gallery", unit_embeddings([*answers, "0" + answers[0]], 2))
    with pytest.raises(BadInput, match=f"more than once: '{answers[0]}'"):
        evaluate_embeddings(*arguments, settings=settings)
    save(tmp_path, "gallery", unit_embeddings(answers[1:], 2))
    with pytest.raises(BadInput, match=f"right answers are not in the gallery .*'{answers[0]}'"):
        evaluate_embeddings(*arguments, settings=settings)


def test_nothing_is_written_when_the_last_block_holds_nan(
    fashioniq_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings
) -> None:
    from safetensors.numpy import save_file

    queries, gallery = fashioniq_inputs(tmp_path, unit_embeddings)
    images = [f"{category}{number:02d}" for category in CATEGORIES for number in range(30)]
    values = unit_embeddings(images, 2).vectors.copy()
    values[-1, 0, 0] = np.nan
    save_file({"embeddings": values}, gallery, metadata={"ids": json.dumps(images)})
    output = tmp_path / "out" / "metrics.json"
    with pytest.raises(BadInput, match=r"row 89.*NaN or infinity in the embedding of 'toptee29'"):
        evaluate_embeddings("fashioniq", fashioniq_root, "val", queries, gallery, output, settings=settings)
    assert not output.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("imagenet", "val"), {}, "no benchmark 'imagenet'"),
        (("fashioniq", "dev"), {}, "dev"),
        (("fashioniq", "val"), {"category": "sock"}, "no category 'sock'"),
        (("fashioniq", "val"), {"gallery_protocol": "all"}, "no gallery protocol 'all'"),
        (("cirr", "val"), {"category": "dress"}, "'cirr' is not evaluated by category"),
        (("cirr", "val"), {}, r"split\.rc2\.val\.json|cap\.rc2\.val\.json"),
    ],
)
def test_wrong_arguments_are_named(
    fashioniq_root: Path,
    tmp_path: Path,
    unit_embeddings: Make,
    arguments: tuple[str, str],
    options: dict[str, str],
    message: str,
) -> None:
    queries, gallery = fashioniq_inputs(tmp_path, unit_embeddings)
    benchmark, split = arguments
    with pytest.raises(BadInput, match=message):
        evaluate_embeddings(benchmark, fashioniq_root, split, queries, gallery, tmp_path / "metrics.json", **options)
    assert not (tmp_path / "metrics.json").exists()


def test_the_table_shows_values_and_intervals(
    fashioniq_root: Path, tmp_path: Path, unit_embeddings: Make, settings: EvaluationSettings
) -> None:
    assert fashioniq_files.CATEGORIES == CATEGORIES
    queries, gallery = fashioniq_inputs(tmp_path, unit_embeddings)
    found = evaluate_embeddings(
        "fashioniq", fashioniq_root, "val", queries, gallery, tmp_path / "metrics.json", settings=settings
    )
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(metrics_table(found))
    text = console.export_text()
    low, high = found["intervals"]["dress_recall_at_50"]
    assert "95% interval" in text
    assert f"{low:.2f} to {high:.2f}" in text
    assert "dress_recall_at_50" in text


def test_the_package_is_light_until_it_is_used() -> None:
    program = "import sys, qure.evaluation; print([m for m in ('torch', 'pandas', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
