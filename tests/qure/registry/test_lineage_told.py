"""What lineage makes of a version's tags, its runs and a repository, each asked by itself."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import RestException
from mlflow.store.entities import PagedList

from qure.errors import BadInput
from qure.registry import lineage
from qure.registry.lineage import _Told, find

FINGERPRINT = "f" * 64
DIGEST = "0123456789abcdef0123456789abcdef.dir"
TAGS = {
    "qure.model_fingerprint": FINGERPRINT,
    "qure.vision_fingerprint": "v",
    "qure.backbone_fingerprint": "b",
    "qure.data_fingerprint": f"md5:{DIGEST}",
    "qure.commit": "c" * 40,
    "qure.repository": "https://example.org/qure",
    "qure.evaluation.fashioniq": "reports/fashioniq",
    "qure.evaluation.circo": "reports/circo",
    "qure.metric.fashioniq.recall_at_10": "0.4321",
    "a note of mine": "kept",
}


def run(name: str, **tags: str) -> Any:
    info = SimpleNamespace(run_id=f"id of {name}", run_name=name, status="FINISHED", experiment_id="7")
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


class Client:
    """Runs by id, searches by a part of their filter, and one artifact."""

    def __init__(self, *runs: Any, found: dict[str, list[Any]] | None = None, made_with: str | None = None) -> None:
        self.runs = {one.info.run_id: one for one in runs}
        self.found, self.made_with = found or {}, made_with
        self.searches: list[tuple[list[str], str]] = []

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise gone(f"Run with id={run_id} not found")
        return self.runs[run_id]

    def search_runs(self, experiments: list[str], filter_string: str, page_token: str | None = None) -> Any:
        self.searches.append((experiments, filter_string))
        return PagedList(next((runs for part, runs in self.found.items() if part in filter_string), []), None)

    def download_artifacts(self, run_id: str, path: str, folder: str) -> str:
        if self.made_with is None:
            raise gone("No such artifact")
        file = Path(folder, Path(path).name)
        file.write_text(self.made_with, encoding="utf-8")
        return str(file)

    def get_model_version(self, name: str, version: str) -> Any:
        return SimpleNamespace(aliases=["second", "champion"], name=name, version=version)

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        return SimpleNamespace(name=name, alias=alias)


def gone(message: str) -> RestException:
    return RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message})


def told(client: Client, project: Path, tags: dict[str, str] | None = None) -> _Told:
    version = SimpleNamespace(
        name="qure-x", version="3", run_id="id of register", creation_timestamp=17, tags=TAGS if tags is None else tags
    )
    return _Told(client, version, project)  # type: ignore[arg-type]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 3 came after 2, another after 3, and 3 again is what 9 bars."""
    fields = {"previous": 0, "reason": "promoted", "at": "", "why": "", "by": "", "command": "", "run": ""}
    entries = [
        SimpleNamespace(version=version, bars=bars, **fields)
        for version, bars in ((2, None), (3, None), (4, 3), (4, 2))
    ]
    monkeypatch.setattr(lineage, "Champions", lambda client, name: SimpleNamespace(history=lambda: entries))


@pytest.mark.usefixtures("history")
def test_a_version_of_which_everything_was_kept(tmp_path: Path) -> None:
    commit = repository(tmp_path, DIGEST)
    register = run("register", **{"mlflow.parentRunId": "id of pipeline"})
    made_with = json.dumps({"settings": {"seed": 1}, "environment": {"image": "i@sha256:1", "torch": "2"}})
    client = Client(
        *(register, run("pipeline")),
        found={"'train'": [run("t1"), run("t2")], "'evaluate'": [run("e")]},
        made_with=made_with,
    )
    found = told(client, tmp_path).record()
    assert [(change["version"], change["reason"]) for change in found.pop("champion")] == [
        (3, "promoted"),
        (4, "promoted"),
    ]
    facts = {name: {"id": f"id of {name}", "name": name, "status": "FINISHED"} for name in ("t1", "t2", "e")}
    assert found == {
        "name": "qure-x",
        "version": 3,
        "aliases": ["champion", "second"],
        "created": 17,
        "model": {"fingerprint": FINGERPRINT, "backbone": "b", "vision": "v"},
        "data": {"fingerprint": f"md5:{DIGEST}", "revision": commit},
        "code": {"commit": "c" * 40, "repository": "https://example.org/qure"},
        "search": "exact",
        "environment": {"image": "i@sha256:1", "torch": "2"},
        "settings": {"seed": 1},
        "metrics": {"fashioniq.recall_at_10": "0.4321"},
        "runs": {
            "pipeline": {"id": "id of pipeline", "name": "pipeline", "status": "FINISHED"},
            "train": [facts["t1"], facts["t2"]],
            "evaluate": [facts["e"]],
            "register": {"id": "id of register", "name": "register", "status": "FINISHED"},
        },
        "reports": ["runs:/id of register/reports/circo", "runs:/id of register/reports/fashioniq"],
        "missing": [],
    }
    assert client.searches == [
        (["7"], f"tags.`qure.stage` = 'train' and tags.`qure.model_fingerprint` = '{FINGERPRINT}'"),
        (["7"], f"tags.`qure.stage` = 'evaluate' and datasets.name = 'model' and datasets.digest = '{'f' * 36}'"),
    ]


@pytest.mark.usefixtures("history")
def test_a_version_of_which_nothing_was_kept(tmp_path: Path) -> None:
    found = told(Client(), tmp_path, {}).record()
    assert (found["runs"], found["settings"], found["environment"], found["metrics"]) == ({}, None, {}, {})
    assert found["model"] == {"fingerprint": None, "backbone": None, "vision": None}
    assert found["missing"] == [
        "its register run is gone: RESOURCE_DOES_NOT_EXIST: Run with id=id of register not found",
        "the settings: they were not recorded, or the artifact store has lost them",
        "no image: it was made outside of one, or the image was not told its digest (QURE_IMAGE)",
        *(f"{what} was not recorded" for what in ("the model's fingerprint", "the backbone's fingerprint")),
        *(f"{what} was not recorded" for what in ("the image tower's fingerprint", "the data's fingerprint")),
        "the data was not tracked with DVC, so no revision brings it back",
        *(f"{what} was not recorded" for what in ("the code's commit", "the repository's address")),
    ]


@pytest.mark.usefixtures("history")
def test_what_runs_a_version_lacks_is_said(tmp_path: Path) -> None:
    """The environment is then the registering run's tags."""
    register = run("register", **{"environment.image": "i", "environment.torch": "2", "other": "3"})
    found = told(Client(register, found={"'train'": [run("t")]}, made_with="{"), tmp_path).record()
    assert found["environment"] == {"image": "i", "torch": "2"}
    assert found["runs"]["pipeline"] is None
    assert found["runs"]["evaluate"] == []
    assert "its evaluation run was not recorded, or is deleted" in found["missing"]
    assert not any("training run" in one or "no image" in one for one in found["missing"])
    gone_pipeline = run("register", **{"mlflow.parentRunId": "x"})
    found = told(Client(gone_pipeline), tmp_path).record()
    assert found["runs"]["pipeline"] is None
    assert "its pipeline run is gone: RESOURCE_DOES_NOT_EXIST: Run with id=x not found" in found["missing"]


@pytest.mark.parametrize(
    ("data", "there", "missing"),
    [
        (f"md5:{DIGEST}", True, []),
        (f"md5:{DIGEST}+changed:9", True, ["the data differed from what DVC tracks"]),
        (f"sha256:{DIGEST}", False, ["the data was not tracked with DVC"]),
        ("md5:" + "9" * 32, False, ["no commit of the repository at"]),
    ],
)
def test_the_newest_commit_that_names_the_data(tmp_path: Path, data: str, there: bool, missing: list[str]) -> None:
    commit = repository(tmp_path, DIGEST)
    one = told(Client(), tmp_path)
    assert one._data_revision(data) == (commit if there else None)
    assert [text for text, said in zip(one._missing, missing, strict=True) if said not in text] == []


def test_no_repository_knows_no_revision(tmp_path: Path) -> None:
    one = told(Client(), tmp_path)
    assert one._data_revision(f"md5:{DIGEST}") is None
    assert f"no commit of the repository at {tmp_path}" in one._missing[0]


def test_an_address_is_an_alias_or_a_number() -> None:
    client: Any = Client()
    assert vars(find(client, "models:/qure-x@champion")) == {"name": "qure-x", "alias": "champion"}
    assert (find(client, "qure-x/3").name, find(client, "models:/qure-x/3").version) == ("qure-x", "3")
    for address in ("qure-x", "models:/qure-x", "models:/a/b/3", "models:/qure-x@", "qure-x/three"):
        with pytest.raises(BadInput, match="names no version"):
            find(client, address)


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INTERNAL_ERROR"])
def test_what_is_not_there_is_told_from_a_server_that_is_not_well(code: str) -> None:
    error = RestException({"error_code": code, "message": "no such thing"})

    def failing(*_: Any) -> None:
        raise error

    client: Any = SimpleNamespace(get_model_version=failing)
    with pytest.raises(RestException if code == "INTERNAL_ERROR" else BadInput, match="no such thing"):
        find(client, "qure-x/3")


def repository(folder: Path, digest: str) -> str:
    """One whose data.dvc named this data and then other data; the commit that did."""
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    for named in ("e" * 32 + ".dir", digest, "d" * 32 + ".dir"):
        (folder / "data.dvc").write_text(f"outs:\n- md5: {named}\n  path: data\n")
        git("add", "-A")
        git("commit", "-qm", named)
    return git("rev-parse", "HEAD~1")
