"""The registry as it is in production: an MLflow server on PostgreSQL, artifacts on S3, promoters in processes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qure.config import Settings
from qure.registry.champions import Champions
from qure.registry.stage import register, rollback
from qure.tracking import connect

PROMOTE = """
import json, sys
from pathlib import Path
from qure.config import Settings
from qure.registry.stage import promote

settings, folder, evaluation = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
promote(
    Settings.model_validate(settings),
    "fashioniq",
    registration=folder / "registration.json",
    evaluation=evaluation,
    output=folder / "promotion.json",
)
"""


@pytest.mark.integration
def test_racing_promotions_end_with_the_best_version(
    mlflow_server: Callable[[], str],
    settings_for: Callable[[str], Settings],
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_for(mlflow_server())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)  # the server alone speaks to S3
    qualities = {1: 0.3, 2: 0.5, 3: 0.2}
    for seed, quality in qualities.items():
        register(
            settings,
            "fashioniq",
            data=few_images,
            model=model_of(seed),
            evaluation=judged(model_of(seed), quality),
            output=tmp_path / str(seed) / "registration.json",
            data_fingerprint="md5:d",
        )
    told = settings.model_dump_json()
    promoters = {
        seed: subprocess.Popen(
            [sys.executable, "-c", PROMOTE, told, str(tmp_path / str(seed)), str(judged(model_of(seed), quality))],
            stderr=subprocess.PIPE,
        )
        for seed, quality in qualities.items()
    }
    for promoter in promoters.values():
        _, errors = promoter.communicate(timeout=400)
        assert promoter.returncode == 0, errors.decode()
    outcomes = {seed: json.loads((tmp_path / str(seed) / "promotion.json").read_text()) for seed in qualities}
    assert outcomes[2]["promoted"]
    champions = Champions(connect(settings.tracking), "qure-fashioniq")
    assert champions.current() == 2
    assert [entry.version for entry in champions.history()][-1] == 2
    order = [entry.version for entry in champions.history()]
    if len(order) > 1:
        assert rollback(settings, "fashioniq")["champion"] == order[-2]
