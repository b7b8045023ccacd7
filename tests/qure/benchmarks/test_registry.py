"""Which benchmarks there are, and that one more is one module: found by settings, validation, evaluation and report."""

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from qure.benchmarks import get_benchmark, image_sets_of, judged_on, registry, training_sets
from qure.config import PromotionSettings, Settings
from qure.errors import BadInput

SHOES = Path(__file__).parent / "shoes.py"

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs the module `shoes` as a package would, with an entry point of that value."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(SHOES, site)
    metadata = site / "shoes-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shoes\nVersion: 1.0\n")

    def installed(value: str) -> None:
        (metadata / "entry_points.txt").write_text(f"[{registry.GROUP}]\nshoes = {value}\n")
        monkeypatch.syspath_prepend(site)
        registry._by_name.cache_clear()

    yield installed
    sys.modules.pop("shoes", None)
    registry._by_name.cache_clear()


def _add_shoes(data: Path) -> Path:
    """Forty of FashionIQ's pictures as a data set of its own, with 12 queries that have two right answers each."""
    root, drawn = data / "shoes", random.Random(0)
    images = sorted((data / "fashioniq" / "images").iterdir())[:40]
    (root / "images").mkdir(parents=True)
    for image in images:
        shutil.copy(image, root / "images" / f"shoe-{image.name}")
    ids = [f"shoe-{image.stem}" for image in images]
    (root / "gallery.json").write_text(json.dumps(ids))
    for split in ("val", "test"):
        rows = []
        for number in range(12):
            reference, *answers = drawn.sample(ids, 3)
            row = {"reference": reference, "captions": [f"is {number} sizes larger", "has laces"]}
            rows.append(row if split == "test" else row | {"answers": answers})
        (root / f"captions.{split}.json").write_text(json.dumps(rows))
    return root


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(BadInput, match="Benchmarks are fashioniq, hp-fashioniq, cirr, circo"):
        get_benchmark("imagenet")
    with pytest.raises(BadInput, match="Training sets are fashioniq, cirr"):
        judged_on("circo")
    with pytest.raises(ValueError, match="Input should be 'fashioniq' or 'cirr'"):
        PromotionSettings(compare={"circo": "map_at_5"})


def test_a_training_sets_own_benchmark_comes_first() -> None:
    for training_set in training_sets():
        assert judged_on(training_set)[0] == training_set
        assert image_sets_of(training_set)[0] == training_set


def test_an_entry_point_that_is_no_benchmark_or_repeats_one_is_refused(install: Install) -> None:
    install("shoes:SUBMITTED")
    with pytest.raises(BadInput, match="10 is no Benchmark"):
        get_benchmark("cirr")
    install("qure.benchmarks.cirr:BENCHMARK")
    with pytest.raises(BadInput, match="'cirr' has the name or the folder of 'cirr'"):
        get_benchmark("cirr")


def test_an_entry_point_that_names_images_or_a_training_set_that_is_none_is_refused(
    install: Install, tmp_path: Path
) -> None:
    module = tmp_path / "site" / "shoes.py"
    module.write_text(module.read_text().replace('judges = "fashioniq"', 'judges = "fashion"'))
    install("shoes:BENCHMARK")
    with pytest.raises(BadInput, match="'shoes' names 'fashion', which is none"):
        get_benchmark("cirr")


def test_a_benchmark_is_not_asked_for_what_it_says_it_has_not(tmp_path: Path) -> None:
    circo, people = get_benchmark("circo"), get_benchmark("hp-fashioniq")
    nothing = SimpleNamespace()
    asks: list[tuple[str, Callable[[], object]]] = [
        ("circo is no training set", lambda: circo.read_training(tmp_path)),
        ("hp-fashioniq is no training set", lambda: people.chance(nothing)),  # type: ignore[arg-type]
        ("hp-fashioniq has no evaluation server", lambda: people.check_submission(tmp_path / "x", tmp_path)),
        (
            "hp-fashioniq has no evaluation server",
            lambda: people.write_submissions(nothing, nothing, nothing, tmp_path, root=tmp_path),  # type: ignore[arg-type]
        ),
    ]
    for words, ask in asks:
        with pytest.raises(NotImplementedError, match=words):
            ask()


@pytest.mark.usefixtures("checked_once")
def test_a_fifth_benchmark_is_one_module(
    install: Install, catalogue: Path, tmp_path: Path, helper: Callable[[str], ModuleType]
) -> None:
    from qure.evaluation.stage import evaluate
    from qure.features.stage import precompute
    from qure.models.build import build_catalogue_model
    from qure.validation.stage import validate

    install("shoes:BENCHMARK")
    assert judged_on("fashioniq") == ("fashioniq", "hp-fashioniq", "shoes")
    data = tmp_path / "data"
    shutil.copytree(catalogue, data)
    root = _add_shoes(data)
    settings = Settings.model_validate(
        {
            "backbone": {"vision": {"patch_size": 16}, "qformer": {"layers": 2, "intermediate": 64, "query_tokens": 4}},
            "training": {"fashioniq": {"recipe": "catalogue"}},
            "evaluation": {"bootstrap_samples": 100},
            "tracking": {"uri": None},
        }
    )

    result = validate(settings, "fashioniq", data=data, output=tmp_path / "validation", work=tmp_path / "work")
    assert result["queries"]["shoes/val"] == {"rows": 12, "kept": 12}
    assert result["statistics"]["shoes/val"]["queries"] == 12
    assert "shoes.queries" in result["suites"]
    assert "shoes.images" in result["suites"]

    build_catalogue_model(settings.backbone, ["is red and has laces"], seed=0).save(tmp_path / "model")
    features = {name: tmp_path / "features" / name for name in image_sets_of("fashioniq")}
    assert list(features) == ["fashioniq", "shoes"]
    for name, store in features.items():
        precompute(settings, name, data=data, backbone=tmp_path / "model", output=store, device="cpu")
    with helper("small_project").undrawn():
        metrics = evaluate(
            settings,
            "fashioniq",
            data=data,
            features=features,
            model=tmp_path / "model",
            validation=tmp_path / "validation",
            output=tmp_path / "evaluation",
            device="cpu",
        )
    assert metrics["shoes"]["queries"] == 12
    assert 0 <= metrics["shoes"]["map_at_10"] <= metrics["shoes"]["recall_at_10"] <= 100
    report = (tmp_path / "evaluation" / "report.html").read_text()
    assert "Shoes val" in report
    assert "Shoes have several right answers." in report
    assert "2 right answers, the first found at rank" in report
    written = tmp_path / "evaluation" / "submissions" / "shoes_test.json"
    assert get_benchmark("shoes").check_submission(written, root) == "map"


def test_a_fifth_benchmark_takes_foreign_embeddings(install: Install, catalogue: Path, tmp_path: Path) -> None:
    from qure.evaluation import check_submission, evaluate_embeddings, write_embeddings

    install("shoes:BENCHMARK")
    data = tmp_path / "data"
    shutil.copytree(catalogue / "fashioniq" / "images", data / "fashioniq" / "images")
    root = _add_shoes(data)
    ids = json.loads((root / "gallery.json").read_text())
    rows = json.loads((root / "captions.val.json").read_text())
    one_hot = np.eye(len(ids), dtype=np.float32)
    answer = np.array([one_hot[ids.index(row["answers"][1])] for row in rows])
    write_embeddings(tmp_path / "gallery.safetensors", ids, one_hot)
    write_embeddings(tmp_path / "queries.safetensors", [str(number) for number in range(12)], answer)
    files = (tmp_path / "queries.safetensors", tmp_path / "gallery.safetensors")

    found = evaluate_embeddings("shoes", root, "val", *files, tmp_path / "metrics.json")
    assert found["recall_at_1"] == 100.0  # the second answer is right as well
    assert 50.0 <= found["map_at_10"] < 100.0
    found = evaluate_embeddings("shoes", root, "test", *files, tmp_path / "metrics.json")
    assert found["submissions"] == {"map": "shoes_test.json"}
    assert check_submission("shoes", tmp_path / "shoes_test.json", root) == "map"
