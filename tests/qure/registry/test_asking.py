"""Asking the champion by hand, and what is told when the registry was removed while DVC thinks everything is done."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import RestException

from qure.config import Settings
from qure.errors import BadInput
from qure.registry import asking
from qure.registry.asking import _ask_mlflow, _champion_folder, ask_champion, is_champion_gone
from qure.registry.stage import promote, register
from qure.tracking.connection import URI_VARIABLE, sqlite_file

REDO = "dvc repro --single-item --force register@fashioniq promote@fashioniq"


@pytest.fixture
def enter(
    packaged_once: None,
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    tmp_path: Path,
) -> Callable[..., None]:
    """Registers a model (unless told otherwise) and promotes it, as the stages do."""

    def run(settings: Settings, *, registering: bool = True) -> None:
        model, registration = model_of(1), tmp_path / "registration.json"
        evaluation = judged(model, 0.5)
        if registering:
            register(
                settings,
                "fashioniq",
                data=few_images,
                model=model,
                evaluation=evaluation,
                output=registration,
                data_fingerprint="md5:d",
            )
        promote(
            settings,
            "fashioniq",
            registration=registration,
            evaluation=evaluation,
            output=tmp_path / "promotion.json",
        )

    return run


@pytest.fixture
def picture(few_images: Path) -> Path:
    return min((few_images / "fashioniq" / "images").iterdir())


def tracked_at(settings: Settings, uri: str) -> Settings:
    return settings.model_copy(update={"tracking": settings.tracking.model_copy(update={"uri": uri})})


@pytest.mark.integration
def test_the_champion_is_asked_with_a_picture_and_words(
    settings: Settings, picture: Path, enter: Callable[..., None]
) -> None:
    enter(settings)
    answer = ask_champion(settings, "fashioniq", picture, "is red", 4, None)
    scores = [score for _, score in answer]
    assert len({image for image, _ in answer}) == 4
    assert scores == sorted(scores, reverse=True)
    assert not is_champion_gone(settings, "fashioniq")
    assert is_champion_gone(settings, "cirr")


@pytest.mark.integration
@pytest.mark.parametrize("group", [None, "dress"])
def test_an_embedded_registry_answers_as_mlflow_does_without_importing_it(
    settings: Settings, picture: Path, enter: Callable[..., None], group: str | None
) -> None:
    enter(settings)
    wanted = _ask_mlflow(settings, "fashioniq", picture, "is red", 4, group)
    code = f"""
import json, sys
from pathlib import Path
from qure.config import Settings
from qure.registry.asking import ask_champion
settings = Settings.model_validate_json(sys.argv[1])
found = ask_champion(settings, "fashioniq", Path({str(picture)!r}), "is red", 4, {group!r})
print(json.dumps([found, "mlflow" in sys.modules, "pandas" in sys.modules]))
"""
    environment = {name: value for name, value in os.environ.items() if name != URI_VARIABLE}
    command = [sys.executable, "-c", code, settings.model_dump_json()]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    found, *imported = json.loads(printed)
    assert [tuple(one) for one in found] == wanted
    assert imported == [False, False]


def test_a_registry_that_was_removed_is_told_with_the_way_back(
    settings: Settings, picture: Path, enter: Callable[..., None], tmp_path: Path
) -> None:
    """Another database stands for the one that was removed: this process keeps the first one open."""
    enter(settings)
    database = tmp_path / "removed" / "mlflow.db"
    database.parent.mkdir()
    removed = tracked_at(settings, f"sqlite:///{database}")
    assert is_champion_gone(removed, "fashioniq")
    assert not database.exists(), "looking made a database"
    with pytest.raises(BadInput, match=f"no champion.*{REDO}"):
        ask_champion(removed, "fashioniq", picture, "is red", 4, None)
    assert is_champion_gone(removed, "fashioniq"), "connecting has made an empty database"
    with pytest.raises(BadInput, match=f"has no version 1.*{REDO}"):
        enter(removed, registering=False)
    enter(removed)
    assert not is_champion_gone(removed, "fashioniq")
    assert ask_champion(removed, "fashioniq", picture, "is red", 1, None)


def test_a_champion_whose_files_are_gone_is_told(settings: Settings, picture: Path, enter: Callable[..., None]) -> None:
    enter(settings)
    database = sqlite_file(str(settings.tracking.uri))
    assert database is not None
    shutil.rmtree(database.parent / "mlruns")
    with pytest.raises(BadInput, match=r"version 1, does not load: .*qure rollback"):
        ask_champion(settings, "fashioniq", picture, "is red", 4, None)


def test_what_the_database_does_not_tell_mlflow_is_asked_for(settings: Settings) -> None:
    database = sqlite_file(str(settings.tracking.uri))
    assert database is not None
    assert _champion_folder(settings, "qure-fashioniq") is None, "there is no champion"
    database.write_text("no database" * 100)
    assert _champion_folder(settings, "qure-fashioniq") is None
    database.unlink()
    assert _champion_folder(settings, "qure-fashioniq") is None


def test_a_registry_that_is_not_well_is_told_from_one_without_a_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(code: str) -> Any:
        def current() -> int:
            raise RestException({"error_code": code, "message": "no such thing"})

        return lambda client, name: SimpleNamespace(current=current)

    client: Any = None
    monkeypatch.setattr(asking, "Champions", failing("RESOURCE_DOES_NOT_EXIST"))
    assert asking._champion(client, "qure-fashioniq") is None
    monkeypatch.setattr(asking, "Champions", failing("INTERNAL_ERROR"))
    with pytest.raises(RestException, match="no such thing"):
        asking._champion(client, "qure-fashioniq")


def test_a_server_is_not_asked_for_a_table_of_results(settings: Settings) -> None:
    """Results are shown without the seconds that connecting takes."""
    assert not is_champion_gone(tracked_at(settings, "http://127.0.0.1:1"), "fashioniq")
