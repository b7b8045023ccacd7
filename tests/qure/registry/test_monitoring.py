"""The champion judged again: what `promote` is given to do it with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qure.config import Settings
from qure.errors import BadInput
from qure.registry.evaluations import key_of, read_evaluations
from qure.registry.monitoring import fetch_champion, find_champion, reevaluation
from qure.registry.stage import promote, register
from qure.tracking import connect


@pytest.mark.integration
def test_a_champion_with_another_image_tower_is_judged_on_the_same_questions(
    settings: Settings, catalogue: Path, model_of: Callable[[int], Path], tmp_path: Path
) -> None:
    """Two models from two backbones, through the real evaluate stage."""
    from qure.evaluation.stage import evaluate
    from qure.features.stage import precompute
    from qure.models.manifest import read_manifest
    from qure.tracking import connect

    untrained = {"promotion": {"refuse_collapsed": False}}  # fresh weights answer everything alike
    settings = settings.model_validate(settings.model_dump() | untrained)
    assert read_manifest(model_of(1))["vision_fingerprint"] != read_manifest(model_of(2))["vision_fingerprint"]
    folders = {}
    for seed in (1, 2):
        folder = folders[seed] = tmp_path / str(seed)
        features = {"fashioniq": folder / "features" / "fashioniq"}
        precompute(settings, "fashioniq", data=catalogue, backbone=model_of(seed), output=features["fashioniq"])
        if seed == 2:  # the present data is judged by another gallery protocol
            settings = settings.model_validate(
                settings.model_dump() | {"evaluation": {"gallery_protocol": "val", "bootstrap_samples": 100}}
            )
        common = {"data": catalogue, "features": features, "model": model_of(seed)}
        evaluate(settings, "fashioniq", output=folder / "evaluation", **common)
        told = {"evaluation": folder / "evaluation", "output": folder / "registration.json"}
        register(settings, "fashioniq", **common, **told)
        again = reevaluation(settings, "fashioniq", data=catalogue, features=features, validation=None)
        decision = promote(
            settings,
            "fashioniq",
            registration=folder / "registration.json",
            evaluation=folder / "evaluation",
            output=folder / "promotion.json",
            reevaluate=again,
        )
    assert decision["comparison"]["queries"] > 0
    assert decision["champion_before"] == 1
    client = connect(settings.tracking)
    champion = client.get_model_version("qure-fashioniq", "1")
    present = read_evaluations(folders[2] / "evaluation", "fashioniq", read_manifest(model_of(2))["fingerprint"])
    assert f"qure.evaluation.{key_of(present, 'fashioniq')}" in champion.tags
    stages = client.search_runs(["1"], "tags.`qure.stage` = 'evaluate'")
    assert len(stages) == 2, "judging the champion again is no evaluate stage of this pipeline run"


def test_the_champion_comes_back_whole(
    settings: Settings, few_images: Path, model_of: Callable[[int], Path], judged: Callable[..., Path], tmp_path: Path
) -> None:
    from qure.models import QureModel
    from qure.models.manifest import read_manifest

    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "statistics.json").write_text('{"version": 1, "splits": {}}')
    (tmp_path / "validation" / "result.json").write_text('{"excluded": {}}')
    evaluation = judged(model_of(1), 0.5)
    registration = tmp_path / "registration.json"
    register(
        settings,
        "fashioniq",
        data=few_images,
        model=model_of(1),
        evaluation=evaluation,
        output=registration,
        validation=tmp_path / "validation",
        data_fingerprint="md5:d",
    )
    promote(settings, "fashioniq", registration=registration, evaluation=evaluation, output=tmp_path / "promotion.json")
    found = fetch_champion(settings, "fashioniq", model=tmp_path / "model", facts=tmp_path / "facts")
    assert (found["version"], found["data_fingerprint"], found["statistics"]) == (1, "md5:d", True)
    assert json.loads((tmp_path / "facts" / "statistics.json").read_text()) == {"version": 1, "splits": {}}
    assert read_manifest(tmp_path / "model") == read_manifest(model_of(1))
    assert QureModel.load(tmp_path / "model").vision is not None
    again = fetch_champion(settings, "fashioniq", model=None, facts=tmp_path / "alone", required=False)
    assert again == found
    told = find_champion(settings, "fashioniq")
    assert told == {name: found[name] for name in ("name", "version", "model_fingerprint", "data_fingerprint")}
    by_version = fetch_champion(settings, "fashioniq", version=1, model=None, facts=tmp_path / "by-version")
    assert by_version == found
    assert {file.name for file in (tmp_path / "alone").iterdir()} == {"champion.json", "statistics.json"}
    connect(settings.tracking).delete_model_version_tag("qure-fashioniq", "1", "qure.model_fingerprint")
    untold = fetch_champion(settings, "fashioniq", model=tmp_path / "untold", facts=tmp_path / "untold-facts")
    assert untold == found, "what a page has lost the model itself tells"


def test_where_there_is_no_champion_no_model_is_written(settings: Settings, tmp_path: Path) -> None:
    assert find_champion(settings, "fashioniq")["version"] is None
    with pytest.raises(BadInput, match="has no champion"):
        fetch_champion(settings, "fashioniq", version=0, model=tmp_path / "model", facts=tmp_path / "facts")
    found = fetch_champion(settings, "fashioniq", version=0, model=None, facts=tmp_path / "facts", required=False)
    assert (found["name"], found["version"]) == ("qure-fashioniq", None)
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith((".", "tracking"))] == ["facts"]
