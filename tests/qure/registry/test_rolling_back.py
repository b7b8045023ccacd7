"""Rolling back: through the stage functions, with real models on MLflow with SQLite."""

import json
import logging

import pytest
from registry_world import World

from qure.errors import BadInput
from qure.registry import stage
from qure.tracking import connect


@pytest.mark.integration
def test_rolling_back_and_further_back(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for seed, quality in ((1, 0.3), (2, 0.4), (3, 0.5)):
        world.enter(seed, quality)
    assert stage.rollback(world.settings, "fashioniq") == {"name": "qure-fashioniq", "before": 3, "champion": 2}
    assert stage.rollback(world.settings, "fashioniq")["champion"] == 1
    with pytest.raises(BadInput, match="version 1 had no champion before it"):
        stage.rollback(world.settings, "fashioniq")
    assert world.champions.current() == 1
    with caplog.at_level(logging.WARNING):
        told = world.promote(3, 0.5)
    assert told["outcome"] == "refused"
    assert "rolled back" in told["reason"]
    assert "--to-version 3" in told["reason"]
    assert stage.rollback(world.settings, "fashioniq", to_version=3)["champion"] == 3
    with pytest.raises(BadInput, match=r"version 2 was rolled back, version 1 was rolled back.*--to-version N"):
        stage.rollback(world.settings, "fashioniq")
    assert stage.rollback(world.settings, "fashioniq", to_version=2)["champion"] == 2
    history = world.champions.history()
    assert [(entry.version, entry.reason) for entry in history] == [
        (1, "promoted"),
        (2, "promoted"),
        (3, "promoted"),
        (2, "rolled back"),
        (1, "rolled back"),
        (3, "rolled back"),
        (2, "rolled back"),
    ]
    assert history[2].command == "qure promote --training-set fashioniq"
    assert history[-1].command == "qure rollback --training-set fashioniq --to-version 2"
    (run,) = {one.run for one in history[1:2]}
    assert connect(world.settings.tracking).get_run(run).data.tags["qure.stage"] == "promote"
    assert history[1].difference == pytest.approx(
        json.loads((world.folder / "promotion-2.json").read_text())["comparison"]["difference"]
    )


def test_rolling_back_to_nothing(world: World) -> None:
    with pytest.raises(BadInput, match="qure-fashioniq has no champion"):
        stage.rollback(world.settings, "fashioniq")
    world.enter(1, 0.3)
    with pytest.raises(BadInput, match="has no version 7"):
        stage.rollback(world.settings, "fashioniq", to_version=7)
    with pytest.raises(BadInput, match=r"version 1 had no champion before it\. .*--to-version N"):
        stage.rollback(world.settings, "fashioniq")
    with pytest.raises(BadInput, match="version 1 is champion already"):
        stage.rollback(world.settings, "fashioniq", to_version=1)
