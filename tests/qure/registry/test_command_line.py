"""Bad input, last row, through the command line: a model that is worse or does not load is registered, not promoted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.cli import app
from qure.config import Settings
from qure.registry.champions import Champions
from qure.tracking import connect

SET = ("--training-set", "fashioniq")


class Candidates:
    """Puts a model where the evaluate stage leaves it, and registers and promotes it as a user does."""

    def __init__(self, root: Path, settings: Settings, data: Path) -> None:
        self.root, self.settings, self.data = root, settings, data
        self.folder = root / "artifacts" / "fashioniq"
        self.require(promotion=False)

    def require(self, *, promotion: bool) -> None:
        changed = self.settings.model_dump(mode="json") | {"promotion": {"required": promotion}}
        (self.root / "params.yaml").write_text(json.dumps(changed))

    def put(self, model: Path, evaluation: Path) -> None:
        for name, source in (("model", model), ("evaluation", evaluation)):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(source, self.folder / name)

    def run(self, command: str) -> int:
        with pytest.raises(SystemExit) as end:
            app([command, *SET, "--data", str(self.data)])
        return int(end.value.code or 0)

    def promotion(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "promotion.json").read_text())
        return value

    def champion(self) -> int | None:
        return Champions(connect(self.settings.tracking), "qure-fashioniq").current()


@pytest.fixture(scope="module")
def registered(
    _empty_database: Path,
    few_images: Path,
    model_of: Callable[[int], Path],
    judged_in: Callable[[Path], Callable[..., Path]],
    passed: Callable[..., Path],
    settings_for: Callable[[str], Settings],
    ask_by_fork: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Candidates:
    """With version 1 as champion, and version 2, whose results are given, registered."""
    from qure.features.stage import precompute

    root = tmp_path_factory.mktemp("candidates")
    shutil.copy(_empty_database, root / "mlflow.db")
    settings, judged = settings_for(f"sqlite:///{root / 'mlflow.db'}"), judged_in(root)
    made = Candidates(root, settings, few_images)
    passed(made.folder / "validation", few_images)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("qure.registry.packaging._ask", ask_by_fork)
        for seed, quality in ((1, 0.5), (2, 0.3)):
            made.put(model_of(seed), judged(model_of(seed), quality))
            features = made.folder / "features" / "fashioniq"
            precompute(settings, "fashioniq", data=few_images, backbone=model_of(seed), output=features)
            assert made.run("register") == 0
            if seed == 1:
                assert made.run("promote") == 0
    shutil.copytree(made.folder, root / "as registered")
    assert made.champion() == 1
    return made


@pytest.fixture
def candidates(registered: Candidates, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    """As they were registered; what tests do to the artifacts' folder is undone, and none promotes."""
    monkeypatch.chdir(registered.root)
    registered.require(promotion=False)
    shutil.rmtree(registered.folder)
    shutil.copytree(registered.root / "as registered", registered.folder)
    return registered


def test_a_worse_model_is_registered_and_not_promoted(candidates: Candidates, capsys: Any) -> None:
    assert candidates.run("promote") == 0
    told = candidates.promotion()
    assert (told["promoted"], told["outcome"]) == (False, "refused")
    assert "worse than the champion" in told["reason"]
    candidates.require(promotion=True)
    assert candidates.run("promote") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "error: qure-fashioniq version 2 was not promoted: worse than the champion" in said
    assert "promotion.required: false" in said
    assert candidates.champion() == 1
    client = connect(candidates.settings.tracking)
    assert int(client.get_model_version_by_alias("qure-fashioniq", "challenger").version) == 2


def test_a_model_that_does_not_load_is_not_promoted(
    candidates: Candidates, capsys: Any, model_of: Callable[[int], Path], judged: Callable[..., Path]
) -> None:
    """Better results, and weights that were damaged in the artifact store."""
    candidates.put(model_of(2), judged(model_of(2), 0.9))
    client = connect(candidates.settings.tracking)
    version = client.get_model_version("qure-fashioniq", "2")
    location = Path(client.get_logged_model(version.tags["qure.logged_model"]).artifact_location)
    weights = location / "artifacts" / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    candidates.require(promotion=True)
    assert candidates.run("promote") == 1
    weights.write_bytes(whole)
    assert "does not load or answer" in " ".join(capsys.readouterr().err.split())
    assert not candidates.promotion()["checks"]["loads"]
    assert candidates.champion() == 1


def test_a_damaged_registration_is_named(candidates: Candidates, capsys: Any) -> None:
    file = candidates.folder / "registration.json"
    content = file.read_bytes()
    before = candidates.promotion()
    for end in range(0, len(content) - 2, 40):
        file.write_bytes(content[:end])
        assert candidates.run("promote") == 2
        assert "error: artifacts/fashioniq/registration.json: not valid JSON at line" in capsys.readouterr().err
    assert candidates.promotion() == before
    assert candidates.champion() == 1
