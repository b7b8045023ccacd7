"""Versions become champion or are refused: through the stage functions, with real models on MLflow with SQLite."""

import json
import shutil
from pathlib import Path

import pytest
from registry_world import World

from qure.errors import BadInput, StageFailed
from qure.registry import stage
from qure.tracking import connect


def test_the_report_beside_the_champion_is_kept_with_the_promotion(world: World, catalogue: Path) -> None:
    world.enter(1, 0.2)
    world.register(2, 0.5)
    told = stage.promote(
        world.settings,
        "fashioniq",
        registration=world.folder / "registration-2.json",
        evaluation=world.judged(world.model_of(2), 0.5),
        output=world.folder / "promotion.json",
        data=catalogue,
    )
    assert told["champion_before"] == 1
    client = connect(world.settings.tracking)
    experiment = client.get_experiment_by_name("qure").experiment_id
    kept = {
        Path(client.download_artifacts(run.info.run_id, "report/report.html"))
        for run in client.search_runs([experiment], "tags.`qure.stage` = 'promote'")
        if client.list_artifacts(run.info.run_id, "report")
    }
    (report,) = kept
    page = report.read_text()
    assert "<th>champion</th>" in page
    first = world.judged(world.model_of(1), 0.2) / "metrics.json"
    assert f"{json.loads(first.read_text())['fashioniq']['recall_at_10']:.1f}" in page
    assert "/#/models/qure-fashioniq/versions/2" in page


def test_the_first_version_that_answers_is_champion(world: World) -> None:
    told = world.enter(1, 0.3)
    assert (told["promoted"], told["outcome"], told["champion_before"]) == (True, "promoted", None)
    assert json.loads((world.folder / "promotion-1.json").read_text()) == told
    assert world.champions.current() == 1
    again = world.promote(1, 0.3)
    assert (again["promoted"], again["outcome"]) == (False, "champion already")
    card = connect(world.settings.tracking).get_model_version("qure-fashioniq", "1").description
    assert card.count("## Decision") == 1
    assert "**champion already**: it is champion already" in card
    assert card.startswith("**QuRe, trained on fashioniq.**")


def test_the_better_one_is_champion_in_either_order(world: World) -> None:
    """Different results on each side: a gate that compared a model with itself would let both pass."""
    assert world.enter(1, 0.35)["promoted"]
    better = world.enter(2, 0.5)
    assert better["promoted"]
    assert better["comparison"]["a"] > better["comparison"]["b"]
    assert better["comparison"]["b"] == pytest.approx(
        json.loads((world.folder / "registration-1.json").read_text())["metrics"]["fashioniq/recall_at_10"]
    )
    worse = world.enter(3, 0.3)
    assert (worse["promoted"], worse["outcome"]) == (False, "refused")
    assert "worse than the champion: recall_at_10" in worse["reason"]
    assert worse["comparison"]["risk"] > 0.5
    assert world.champions.current() == 2


def test_one_with_the_same_answers_follows(world: World) -> None:
    world.enter(1, 0.4)
    told = world.enter(2, 0.4)
    assert told["promoted"]
    assert told["comparison"]["risk"] == 0.5


def test_required_means_red(world: World) -> None:
    world.enter(1, 0.5)
    strict = world.changed(required=True)
    strict.register(2, 0.3)
    with pytest.raises(StageFailed, match="version 2 was not promoted: worse than the champion"):
        strict.promote(2, 0.3)
    assert not json.loads((world.folder / "promotion-2.json").read_text())["promoted"]
    client = connect(world.settings.tracking)
    (run,) = client.search_runs(
        [client.get_experiment_by_name("qure").experiment_id], "tags.`qure.error` LIKE '%was not promoted%'"
    )
    assert run.info.status == "FAILED"
    assert strict.promote(1, 0.5)["outcome"] == "champion already"


def test_thresholds_are_absolute(world: World) -> None:
    high = world.changed(thresholds={"fashioniq": {"recall_at_10": 99.9, "fashioniq/recall_at_50": 1.0}})
    told = high.enter(1, 0.3)
    assert told["outcome"] == "refused"
    assert "fashioniq/recall_at_10 is" in told["reason"]
    assert "required are 99.9" in told["reason"]
    assert told["checks"]["thresholds"]["fashioniq/recall_at_50"]["least"] == 1.0
    assert world.champions.current() is None
    with pytest.raises(BadInput, match=r"no metric 'recall_at_11'.*fashioniq/recall_at_10"):
        world.changed(thresholds={"fashioniq": {"recall_at_11": 1.0}}).promote(1, 0.3)
    with pytest.raises(BadInput, match=r"fashioniq/recall_at_10 is a percentage and never reaches 101"):
        world.changed(thresholds={"fashioniq": {"recall_at_10": 101.0}}).promote(1, 0.3)
    counted = world.changed(thresholds={"fashioniq": {"queries": 1_000_000}}).promote(1, 0.3)
    assert "fashioniq/queries is" in counted["reason"], "a number of queries is no percentage"


@pytest.mark.parametrize("part", ["queries", "candidates"])
def test_a_collapsed_model_is_registered_and_never_promoted(world: World, part: str) -> None:
    told = world.enter(1, 0.9, collapsed=part)
    assert (told["outcome"], told["champion_before"]) == ("refused", None)
    assert "collapsed: " in told["reason"]
    assert "train again" in told["reason"]
    kind = {"queries": "same ranking", "candidates": "level relevance"}[part]
    assert f"fashioniq: {kind}" in told["checks"]["collapsed"]
    assert world.champions.current() is None
    client = connect(world.settings.tracking)
    assert int(client.get_model_version_by_alias("qure-fashioniq", "challenger").version) == 1
    (run,) = client.search_runs([client.get_experiment_by_name("qure").experiment_id], "tags.`qure.stage` = 'promote'")
    assert "collapsed" in run.data.tags["qure.promotion.reason"]
    healthy = world.enter(2, 0.3)
    assert (healthy["outcome"], healthy["checks"]["collapsed"]) == ("promoted", [])


@pytest.mark.integration
def test_a_champion_that_was_asked_something_else_is_judged_again(world: World) -> None:
    world.enter(1, 0.6, images="old images")
    asked: list[Path] = []

    def reevaluate(model: Path, output: Path) -> None:
        from qure.models import QureModel

        assert QureModel.load(model).vision is not None, "the champion's whole model has come back"
        asked.append(model)
        world.judged(world.model_of(1), 0.3, images="new images").rename(output)

    # A tag that a person deletes on the version's page stops nothing.
    connect(world.settings.tracking).delete_model_version_tag("qure-fashioniq", "1", "qure.model_fingerprint")
    told = world.enter(2, 0.4, reevaluate, images="new images")
    assert len(asked) == 1
    assert told["promoted"], "on the present data it is the better one"
    again = world.enter(3, 0.2, reevaluate, images="new images")
    assert not again["promoted"]
    assert len(asked) == 1, "the new champion was asked the same"


def test_what_cannot_be_compared_is_refused(world: World) -> None:
    world.enter(1, 0.3, images="old images")
    told = world.enter(2, 0.9, images="new images")
    assert told["outcome"] == "refused"
    assert "judged on other data" in told["reason"]
    assert "qure promote --training-set fashioniq" in told["reason"]
    with pytest.raises(StageFailed, match="was not asked what the challenger was asked"):
        world.promote(
            2,
            0.9,
            lambda _, output: world.judged(world.model_of(1), 0.3, images="third").rename(output),
            images="new images",
        )
    assert world.champions.current() == 1


def test_a_model_that_does_not_load_is_registered_and_never_promoted(world: World) -> None:
    world.enter(1, 0.3)
    told = world.register(2, 0.9)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", str(told["version"]))
    location = Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location)
    weights = location / "artifacts" / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    told = world.promote(2, 0.9)
    assert told["outcome"] == "refused"
    assert "does not load or answer" in told["reason"]
    assert not told["checks"]["loads"]
    assert world.champions.current() == 1


def test_a_champion_that_no_longer_loads_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It keeps the alias, as nobody else was found better; but not in silence."""
    told = world.enter(1, 0.3)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", str(told["version"]))
    shutil.rmtree(Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location))
    again = world.promote(1, 0.3)
    assert again["outcome"] == "champion already"
    assert "would not be promoted today: " in again["reason"]
    assert not again["checks"]["loads"]
    assert "would not be promoted today" in caplog.text
    assert not world.register(1, 0.3)["created"]
    assert "uploading them again" in caplog.text
    assert world.promote(1, 0.3)["checks"]["loads"], "registering again brings the files back"


def test_a_model_that_answers_otherwise_is_not_promoted(world: World) -> None:
    world.enter(1, 0.3)
    told = world.register(2, 0.9)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", str(told["version"]))
    file = Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location) / "example_answer.json"
    answer = json.loads(file.read_text())
    answer["scores"][0] += 0.1
    file.write_text(json.dumps(answer))
    told = world.promote(2, 0.9)
    assert "when it was packaged they were" in told["reason"]
    assert world.champions.current() == 1


@pytest.mark.integration
@pytest.mark.parametrize("what", ["version", "alias"])
def test_a_champion_that_is_taken_away_opens_no_gate(world: World, what: str) -> None:
    """1 and 2 are better than 3, which is all that is promoted while nobody is champion."""
    world.enter(1, 0.45)
    world.enter(2, 0.5)
    client = connect(world.settings.tracking)
    if what == "version":
        client.delete_model_version("qure-fashioniq", "2")
    else:
        client.delete_registered_model_alias("qure-fashioniq", "champion")
    told = world.enter(3, 0.3)
    assert told["outcome"] == "refused"
    assert told["compared_with"] == (1 if what == "version" else 2)
    assert "worse than the champion: recall_at_10" in told["reason"]
    assert world.champions.current() == (1 if what == "version" else None)
    better = world.enter(4, 0.7)
    assert better["promoted"]
    assert world.champions.history()[-1].previous == told["compared_with"]


@pytest.mark.integration
@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_lost_evaluation_of_the_champion_is_made_again(
    world: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.enter(1, 0.2)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", "1")
    (place,) = (value for key, value in version.tags.items() if key.startswith("qure.evaluation."))
    artifacts = Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))
    if damage == "gone":
        shutil.rmtree(artifacts / "evaluations")
    else:
        file = artifacts / place / "results" / "fashioniq" / "per_query.parquet"
        file.write_bytes(file.read_bytes()[:100])
    told = world.enter(2, 0.3)
    assert told["outcome"] == "refused", "it cannot be compared here"
    assert "the evaluation of qure-fashioniq version 1 is gone or damaged" in told["reason"]
    assert "qure promote --training-set fashioniq" in told["reason"]
    assert world.champions.current() == 1

    def reevaluate(_: Path, output: Path) -> None:
        shutil.copytree(world.judged(world.model_of(1), 0.2), output)

    told = world.promote(2, 0.3, reevaluate)
    assert told["promoted"]
    assert told["comparison"]["b"] < told["comparison"]["a"]
    assert "keeping it again" in caplog.text
    again = world.enter(3, 0.15)
    assert again["outcome"] == "refused"
    assert "worse than the champion" in again["reason"]


def test_a_champion_whose_model_is_lost_too_names_the_ways_out(world: World) -> None:
    world.enter(1, 0.4, images="old images")
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", "1")
    shutil.rmtree(Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location))
    with pytest.raises(StageFailed, match=r"models:/qure-fashioniq/1/.*register@fashioniq.*qure rollback"):
        world.enter(2, 0.5, lambda *_: None, images="new images")
    assert world.champions.current() == 1


@pytest.mark.integration
def test_losses_that_add_up_end_at_the_bound(world: World) -> None:
    """Each is let through by `max_risk`, until the best champion is too far away."""
    lax = world.changed(max_risk=1.0, max_loss=6.0)
    assert lax.enter(1, 0.3)["promoted"]
    levels, ended = [0.0], None
    for seed in range(2, 7):
        told = lax.enter(seed, 0.3 - 0.03 * (seed - 1))
        levels.append(levels[-1] + told["comparison"]["difference"])
        assert told["comparison"]["loss"] == pytest.approx(max(0.0, max(levels[:-1]) - levels[-1]))
        if not told["promoted"]:
            ended = told
            break
    assert ended is not None
    assert levels[-1] < -6.0 <= min(levels[:-1])
    assert "losses have added up" in ended["reason"]
    assert "promotion.max_loss" in ended["reason"]
    assert ended["checks"]["not_worse"]
    assert not ended["checks"]["loss"]


@pytest.mark.integration
def test_queries_that_are_held_back_decide_nothing_and_are_reported(world: World) -> None:
    some = world.changed(held_back=0.3)
    some.enter(1, 0.2)
    told = some.enter(2, 0.3)
    decides, aside = told["comparison"]["queries"], told["comparison"]["held_back"]
    whole = world.judged(world.model_of(2), 0.3)
    from qure.registry.evaluations import read_evaluations
    from qure.registry.registration import FINGERPRINT

    client = connect(world.settings.tracking)
    fingerprint = client.get_model_version("qure-fashioniq", "2").tags[FINGERPRINT]
    queries = len(read_evaluations(whole, "fashioniq", fingerprint)["fashioniq"].per_query)
    assert decides + aside["queries"] == queries
    assert 0.2 < aside["queries"] / queries < 0.4
    assert aside["a"] != told["comparison"]["a"]
    assert "held back from the decision" in told["note"]
    assert "held back from the decision" in client.get_model_version("qure-fashioniq", "2").description


@pytest.mark.integration
def test_a_package_whose_code_raises_does_not_pass(world: World) -> None:
    """The promoter's own copy of the code is whole; the package's is not."""
    world.enter(1, 0.3)
    told = world.register(2, 0.9)
    client = connect(world.settings.tracking)
    version = client.get_model_version("qure-fashioniq", str(told["version"]))
    package = Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location)
    code = package / "code" / "qure" / "serving" / "retriever.py"
    whole = code.read_text()
    code.write_text("raise RuntimeError('broken code')\n" + whole)
    told = world.promote(2, 0.9)
    assert told["outcome"] == "refused"
    assert "RuntimeError: broken code (code/qure/serving/retriever.py, line 1)" in told["reason"]
    code.unlink()
    told = world.promote(2, 0.9)
    assert "No module named 'qure.serving.retriever'" in told["reason"]
    code.write_text(whole)
    assert world.promote(2, 0.9)["promoted"]


OF_ANOTHER = '{"name": "qure-cirr", "version": 1, "model_fingerprint": "a", "data_fingerprint": "b"}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not valid JSON"),
        ("[]", "not what the register stage writes. Register again"),
        ("{}", "field 'name': not what the register stage writes"),
        ('{"name": "qure-cirr", "version": "1"}', "field 'version': not what the register stage writes"),
        (OF_ANOTHER, "field 'name': this is 'qure-cirr', not 'qure-fashioniq'"),
    ],
)
def test_a_broken_registration_is_named(world: World, content: str, words: str) -> None:
    (world.folder / "registration-1.json").write_text(content)
    with pytest.raises(BadInput, match=r"registration-1\.json") as refusal:
        world.promote(1, 0.5)
    assert words in str(refusal.value)
