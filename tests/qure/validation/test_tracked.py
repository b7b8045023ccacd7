"""The validate stage's MLflow run keeps what was found, also of data that did not pass; the output stays the same."""

from typing import Any

import pytest

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.tracking import connect
from qure.validation.stage import validate


def runs(settings: Settings) -> list[Any]:
    client = connect(settings.tracking)
    experiment = client.get_experiment_by_name("qure").experiment_id
    found = client.search_runs([experiment], "tags.`qure.stage` = 'validate'", order_by=["attributes.start_time ASC"])
    return [(run, {file.path for file in client.list_artifacts(run.info.run_id, "validation")}) for run in found]


def test_what_was_found_is_kept_with_a_run(new_workplace: Any, sqlite_uri: str) -> None:
    place = new_workplace()
    untracked = place.validate("fashioniq")
    settings = Settings.model_validate(
        {
            "training": {name: {"recipe": "catalogue"} for name in ("fashioniq", "cirr")},
            "validation": {"workers": 1},
            "tracking": {"uri": sqlite_uri},
        }
    )

    def run() -> dict[str, Any]:
        return validate(settings, "fashioniq", data=place.data, output=place.output, work=place.work)

    assert run() == untracked
    ((passed, kept),) = runs(settings)
    assert passed.info.status == "FINISHED"
    assert passed.data.metrics["validation/success"] == 1
    assert passed.data.metrics["validation/hp-fashioniq/inconsistent_preference"] == 2
    listed = {"result.json", "bad_rows.csv", "statistics.json", "data_docs"}
    assert kept == {f"validation/{name}" for name in listed}

    image = next((place.data / "fashioniq" / "images").iterdir())
    image.write_bytes(b"")
    with pytest.raises(StageFailed):
        run()
    failed, kept = runs(settings)[1]
    assert failed.info.status == "FAILED"
    assert failed.data.metrics["validation/fashioniq/image_unreadable"] == 1
    assert kept == {f"validation/{name}" for name in listed}

    place.edit("fashioniq/captions/cap.dress.train.json", lambda rows: rows[0].update(target="nobody"))
    with pytest.raises(BadInput):
        run()
    failed, kept = runs(settings)[2]
    assert failed.info.status == "FAILED"
    assert "nobody" in failed.data.tags["qure.error"]
    assert "validation/bad_rows.csv" in kept
    assert not place.output.exists()
