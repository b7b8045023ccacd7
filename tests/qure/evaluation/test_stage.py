"""The evaluate stage on a small rendered catalogue: files, controls, champion, exclusions, submissions."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

from qure.benchmarks.fashioniq.files import read_gallery, read_triplets
from qure.config import Settings
from qure.datasets.truth import read_truth
from qure.errors import BadInput, StageFailed
from qure.evaluation.stage import evaluate, evaluate_benchmark, join_evaluations
from qure.evaluation.statistics.results import load_results
from qure.evaluation.submissions.checks import check_submission
from qure.features.stage import precompute
from qure.features.store import FeatureStore
from qure.models.build import build_catalogue_model
from qure.models.model import QureModel


@dataclass(frozen=True)
class Built:
    """Model folders with one vision tower, and the features of all images."""

    settings: Settings
    data: Path
    backbone: Path
    model: Path
    features: dict[str, Path]
    undrawn: Callable[[], AbstractContextManager[None]]

    def evaluate(self, training_set: str, output: Path, *, drawn: bool = False, **more: Path | None) -> dict:
        sets = {"fashioniq": ["fashioniq"], "cirr": ["cirr", "circo"]}[training_set]
        folders = {"data": self.data, "model": self.model, "backbone": self.backbone, "device": "cpu"}
        features = {name: self.features[name] for name in sets}
        with nullcontext() if drawn else self.undrawn():
            return evaluate(self.settings, training_set, output=output, features=features, **{**folders, **more})


@pytest.fixture(scope="module")
def built(catalogue: Path, helper: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Built:
    settings = Settings.model_validate(
        {
            "training": {"fashioniq": {"recipe": "catalogue"}, "cirr": {"recipe": "catalogue"}},
            "evaluation": {"bootstrap_samples": 100},
            "tracking": {"uri": None},
        }
    )
    folder = tmp_path_factory.mktemp("built")
    captions = [row["caption"] for row in json.loads((catalogue / "pretraining" / "captions.json").read_text())]
    start = build_catalogue_model(settings.backbone, captions, seed=0)
    start.save(folder / "backbone")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in start.trainable_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    start.save(folder / "model")
    features = {}
    for name in ("fashioniq", "cirr", "circo"):
        features[name] = folder / "features" / name
        precompute(settings, name, data=catalogue, backbone=folder / "backbone", output=features[name], device="cpu")
    undrawn = helper("small_project").undrawn
    return Built(settings, catalogue, folder / "backbone", folder / "model", features, undrawn)


@pytest.fixture(scope="module")
def evaluated(built: Built, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    output = tmp_path_factory.mktemp("evaluated") / "evaluation"
    return output, built.evaluate("fashioniq", output, drawn=True)


def test_writes_every_file(evaluated: tuple[Path, dict]) -> None:
    output, metrics = evaluated
    names = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert {"metrics.json", "intervals.json", "comparisons.json", "plots/recall_curve.csv", "report.html"} <= names
    assert {"results/fashioniq/per_query.parquet", "results/hp_fashioniq/evaluation.json", "summary.md"} <= names
    assert not [name for name in names if "scratch" in name or "submission" in name]
    assert json.loads((output / "metrics.json").read_text()) == metrics
    assert metrics.keys() == {"fashioniq", "hp_fashioniq", "controls"}


def test_metrics_are_those_of_the_model(built: Built, evaluated: tuple[Path, dict]) -> None:
    """Recall and true relevance, computed plainly from the model, the features and the truth."""
    _, metrics = evaluated
    model = QureModel.load(built.model)
    store = FeatureStore.open(built.features["fashioniq"])
    root = built.data / "fashioniq"
    truth = read_truth(root)
    assert truth is not None and model.tokenizer is not None  # noqa: PT018
    recalls, shares = [], []
    with torch.no_grad():
        for category in ("dress", "shirt", "toptee"):
            gallery = read_gallery(root, "val", category).ids
            images = model.encode_images(store.read(store.rows(gallery)))
            hits = []
            for one in read_triplets(root, "val", [category]):
                features = store.read(store.rows([one.reference]))
                query = model.encode_queries(features, *model.tokenizer([one.text]))
                order = torch.einsum("d,ntd->nt", query[0], images).amax(dim=1).argsort(descending=True)[:10]
                best = [gallery[place] for place in order]
                hits.append(one.target in best)
                shares.append(truth.relevance(one.query_id, best).mean())
            recalls.append(100 * np.mean(hits))
    assert metrics["fashioniq"]["recall_at_10"] == pytest.approx(np.mean(recalls))
    assert metrics["fashioniq"]["wanted_share_at_10"] == pytest.approx(100 * np.mean(shares), abs=0.01)
    assert metrics["fashioniq"]["queries"] == 60


def test_controls_are_shown_beside_the_model(evaluated: tuple[Path, dict]) -> None:
    output, metrics = evaluated
    controls = metrics["controls"]
    assert controls.keys() == {"untrained_backbone", "shuffled_references", "empty_text", "random"}
    shared = set(controls["random"])
    assert {"recall_at_10", "recall_at_50", "average", "ndcg_at_10"} <= shared
    assert all(set(values) == shared for values in controls.values())
    assert controls["random"]["recall_at_10"] == pytest.approx(100 * 10 / 40)
    distinct = {json.dumps(values, sort_keys=True) for values in controls.values()}
    assert len(distinct) == 4, "each control asks something else"
    intervals = json.loads((output / "intervals.json").read_text())
    assert intervals["controls"].keys() == controls.keys() - {"random"}
    compared = json.loads((output / "comparisons.json").read_text())
    found = compared["controls"]["empty_text"]["recall_at_10"]
    assert found["a"] == pytest.approx(metrics["fashioniq"]["recall_at_10"])
    assert found["b"] == pytest.approx(controls["empty_text"]["recall_at_10"])
    assert compared["champion"] == {}


def test_chance_is_what_random_embeddings_score(evaluated: tuple[Path, dict], built: Built) -> None:
    """The computed chance against the mean over many random rankings."""
    _, metrics = evaluated
    root = built.data / "fashioniq"
    truth = read_truth(root)
    assert truth is not None
    generator = np.random.default_rng(0)
    discounts = 1 / np.log2(np.arange(2, 12))
    found = []
    for category in ("dress", "shirt", "toptee"):
        gallery = read_gallery(root, "val", category).ids
        for one in read_triplets(root, "val", [category]):
            gains = truth.relevance(one.query_id, gallery).astype(float)
            ideal = (np.sort(gains)[::-1][:10] * discounts).sum()
            drawn = [(generator.permutation(gains)[:10] * discounts).sum() / ideal for _ in range(200)]
            found.append(np.mean(drawn))
    assert metrics["controls"]["random"]["ndcg_at_10"] == pytest.approx(100 * np.mean(found), abs=0.5)


def test_the_curve_goes_through_the_metrics(evaluated: tuple[Path, dict]) -> None:
    output, metrics = evaluated
    curve = pd.read_csv(output / "plots" / "recall_curve.csv").set_index("k")
    assert list(curve.columns) == ["trained", "untrained_backbone", "shuffled_references", "empty_text"]
    for depth in (1, 5, 10, 50):
        name = f"recall_at_{depth}"
        assert curve.loc[depth, "trained"] == pytest.approx(metrics["fashioniq"][name])
        assert curve.loc[depth, "empty_text"] == pytest.approx(metrics["controls"]["empty_text"][name])
    assert (np.diff(curve["trained"]) >= 0).all()


def test_again_gives_the_same_bytes(built: Built, evaluated: tuple[Path, dict], tmp_path: Path) -> None:
    output, _ = evaluated
    built.evaluate("fashioniq", tmp_path / "again", drawn=True)
    for path in sorted(output.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(output)).read_bytes() == path.read_bytes(), path


def test_compares_with_a_champion_that_was_asked_the_same(
    built: Built, evaluated: tuple[Path, dict], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    champion, metrics = evaluated
    built.evaluate("fashioniq", tmp_path / "same", model=built.backbone, backbone=None, champion=champion)
    found = json.loads((tmp_path / "same" / "comparisons.json").read_text())["champion"]
    assert found["fashioniq"]["recall_at_10"]["b"] == pytest.approx(metrics["fashioniq"]["recall_at_10"])
    untrained = metrics["controls"]["untrained_backbone"]["recall_at_10"]
    assert found["fashioniq"]["recall_at_10"]["a"] == pytest.approx(untrained)
    assert found["hp_fashioniq"].keys() >= {"agreement", "preference_rate"}
    narrow = built.settings.model_copy(
        update={"evaluation": built.settings.evaluation.model_copy(update={"gallery_protocol": "val"})}
    )
    other = replace(built, settings=narrow)
    other.evaluate("fashioniq", tmp_path / "other", backbone=None, champion=champion)
    found = json.loads((tmp_path / "other" / "comparisons.json").read_text())["champion"]
    assert found.keys() == {"hp_fashioniq"}
    assert "not evaluated on the same fashioniq data" in caplog.text


def test_a_model_that_beats_no_control_is_told(built: Built, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The fresh weights know nothing, so their texts and references cannot matter much."""
    with caplog.at_level(logging.WARNING, logger="qure"):
        built.evaluate("fashioniq", tmp_path / "evaluation", model=built.backbone)
    same = "R@10 is 25.0, the backbone before training 25.0, difference +0.0 (+0.0 to +0.0)"
    assert f"fashioniq: not above a control: {same}" in caplog.text
    assert "To mend it: training added nothing that can be measured" in caplog.text


def test_cirr_and_circo_with_submissions(built: Built, tmp_path: Path) -> None:
    output = tmp_path / "evaluation"
    metrics = built.evaluate("cirr", output)
    assert metrics.keys() == {"cirr", "circo", "controls"}
    assert {"recall_subset_at_1", "average", "ndcg_at_10"} <= metrics["cirr"].keys()
    assert {"map_at_5", "map_at_50", "ndcg_at_10"} <= metrics["circo"].keys()
    assert metrics["controls"]["random"]["recall_subset_at_1"] == pytest.approx(20.0)
    folder = output / "submissions"
    assert check_submission("cirr", folder / "cirr_test1_recall.json", built.data / "cirr") == "recall"
    assert check_submission("cirr", folder / "cirr_test1_recall_subset.json", built.data / "cirr") == "recall_subset"
    check_submission("circo", folder / "circo_test.json", built.data / "circo")


def test_what_validation_excludes_is_left_out(
    built: Built,
    evaluated: tuple[Path, dict],
    passed: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    complete = load_results(evaluated[0] / "results")["fashioniq"]
    triplet = read_triplets(built.data / "fashioniq", "val", ["shirt"])[3]
    cirr_image = json.loads((built.data / "cirr" / "captions" / "cap.rc2.test1.json").read_text())[0]["reference"]
    excluded = {"fashioniq": {"images": [triplet.target], "queries": ["val/dress/2"]}, "cirr": {"images": [cirr_image]}}
    validation = passed(tmp_path / "validation", built.data, ("fashioniq", "cirr", "circo"), excluded)
    built.evaluate("fashioniq", tmp_path / "one", validation=validation, backbone=None)
    results = load_results(tmp_path / "one" / "results")
    left = results["fashioniq"]
    assert left.metrics["shirt_gallery_size"] == 39
    gone = set(complete.per_query["query_id"]) - set(left.per_query["query_id"])
    assert {"dress/2", "shirt/3"} <= gone
    assert not left.per_query["reference"].eq(triplet.target).any()
    assert left.data_fingerprint != complete.data_fingerprint
    shown = results["hp-fashioniq"].per_query
    assert not any(triplet.target in list(images) for images in (*shown["set_1"], *shown["set_2"]))
    built.evaluate("cirr", tmp_path / "two", validation=validation, backbone=None)
    names = {path.name for path in (tmp_path / "two" / "submissions").iterdir()}
    assert names == {"circo_test.json"}, "CIRR's server wants the whole split"
    assert "cirr: no submission" in caplog.text


def test_data_is_opened_once(built: Built, tmp_path: Path, passed: Callable[..., Path], reads: Counter[Path]) -> None:
    """An annotation file is read to see that it is what was validated, and to ask its queries.

    Val's hold the queries; train's tell which of them are leaked.
    """
    validation = passed(tmp_path / "validation", built.data)
    reads.clear()
    built.evaluate("fashioniq", tmp_path / "evaluation", validation=validation)
    assert {reads[(validation / name).resolve()] for name in ("result.json", "images.parquet")} == {1}
    captions = (built.data / "fashioniq" / "captions").resolve()
    expected = {file.name: 2 if ".val." in file.name or ".train." in file.name else 1 for file in captions.iterdir()}
    assert {name: reads[captions / name] for name in expected} == expected


def test_data_that_did_not_pass_is_not_judged_on(built: Built, tmp_path: Path) -> None:
    validation = tmp_path / "validation"
    validation.mkdir()
    (validation / "result.json").write_text(json.dumps({"success": False}))
    with pytest.raises(BadInput, match="did not pass validation"):
        built.evaluate("fashioniq", tmp_path / "evaluation", validation=validation)
    assert not (tmp_path / "evaluation").exists()


def test_features_of_another_vision_tower_are_refused(built: Built, tmp_path: Path) -> None:
    other = build_catalogue_model(built.settings.backbone, ["is red"], seed=9)
    other.save(tmp_path / "other")
    with pytest.raises(BadInput, match="another backbone"):
        built.evaluate("fashioniq", tmp_path / "evaluation", model=tmp_path / "other")
    assert not (tmp_path / "evaluation").exists()


def test_a_broken_model_fails_the_stage_and_leaves_nothing(built: Built, tmp_path: Path) -> None:
    model = QureModel.load(built.model)
    with torch.no_grad():
        model.vision_proj.weight[0, 0] = float("nan")
    model.save(tmp_path / "broken")
    with pytest.raises(StageFailed, match="NaN or infinity for gallery of fashioniq"):
        built.evaluate("fashioniq", tmp_path / "evaluation", model=tmp_path / "broken")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_large_galleries_go_through_a_file_and_give_the_same(
    built: Built, evaluated: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, metrics = evaluated
    monkeypatch.setattr("qure.evaluation.ranking.encoding.IN_MEMORY_BYTES", 1000)
    assert built.evaluate("fashioniq", tmp_path / "evaluation") == metrics
    assert (tmp_path / "evaluation" / "metrics.json").read_bytes() == (output / "metrics.json").read_bytes()


def judged_apart(built: Built, training_set: str, benchmarks: list[str], folder: Path) -> list[Path]:
    """The benchmarks of a training set as parts, judged one by one."""
    features = {name: built.features[name] for name in {"cirr": ["cirr", "circo"]}.get(training_set, [training_set])}
    inputs = {"data": built.data, "features": features, "model": built.model, "backbone": built.backbone}
    parts = {name: folder / name for name in benchmarks}
    for name, output in parts.items():
        evaluate_benchmark(built.settings, training_set, name, output=output, device="cpu", **inputs)
    return list(parts.values())


@pytest.mark.integration
@pytest.mark.parametrize(
    ("training_set", "benchmarks"), [("fashioniq", ["hp-fashioniq", "fashioniq"]), ("cirr", ["cirr", "circo"])]
)
def test_parts_judged_side_by_side_join_to_the_same_folder(
    built: Built, tmp_path: Path, training_set: str, benchmarks: list[str]
) -> None:
    """To the byte, and in whatever order the parts come."""
    metrics = built.evaluate(training_set, tmp_path / "whole", drawn=True)
    parts = judged_apart(built, training_set, benchmarks, tmp_path)
    again = join_evaluations(built.settings, training_set, parts=parts, data=built.data, output=tmp_path / "joined")
    assert again == metrics
    whole, joined = (
        {file.relative_to(tmp_path / name).as_posix(): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
        for name in ("whole", "joined")
    )
    assert len(whole) > 10
    assert whole.keys() == joined.keys()
    assert [name for name in whole if whole[name] != joined[name]] == []


def test_parts_that_do_not_belong_together_are_refused(built: Built, tmp_path: Path) -> None:
    own, other = judged_apart(built, "fashioniq", ["fashioniq", "hp-fashioniq"], tmp_path)
    (foreign,) = judged_apart(built, "cirr", ["circo"], tmp_path)

    def join(*parts: Path) -> None:
        join_evaluations(built.settings, "fashioniq", parts=parts, data=built.data, output=tmp_path / "joined")

    for parts in ((own,), (own, own), (own, foreign), (own, other, foreign)):
        with pytest.raises(BadInput, match="is made of fashioniq, hp-fashioniq"):
            join(*parts)
    changed = tmp_path / "of-another-model"
    inputs = {"data": built.data, "features": built.features, "model": built.backbone}
    evaluate_benchmark(built.settings, "fashioniq", "hp-fashioniq", output=changed, device="cpu", **inputs)
    with pytest.raises(BadInput, match="of several models"):
        join(own, changed)
    (other / "part.json").write_text("{}")
    with pytest.raises(BadInput, match="not a part of an evaluation"):
        join(own, other)
    with pytest.raises(BadInput, match="not judged on 'cirr'"):
        evaluate_benchmark(built.settings, "fashioniq", "cirr", output=changed, **inputs)
    assert not (tmp_path / "joined").exists()
