"""The stand-in answers as a real Kubeflow Pipelines 2.17.0 was recorded to answer, request by request."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

#: A pipeline of one text, as the recorded ones had.
SPEC = {
    "pipelineInfo": {"name": "rec"},
    "components": {},
    "root": {"inputDefinitions": {"parameters": {"text": {"parameterType": "STRING", "defaultValue": "x"}}}},
}
LEFT_OUT = "(left out)"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Replay:
    """Sends recorded requests to a stand-in; recorded ids are translated to those that the stand-in has given."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ids: dict[str, str] = {}

    def send(self, row: dict[str, Any]) -> tuple[int, Any]:
        package = yaml.safe_dump(SPEC if "bad" not in row["path"] else {"not": "a pipeline"})
        body, headers = None, {}
        if row["method"] == "POST" and "/upload" in row["path"]:
            part = 'Content-Disposition: form-data; name="uploadfile"; filename="p.yaml"'
            body = f"--b\r\n{part}\r\n\r\n{package}\r\n--b--\r\n".encode()
            headers["Content-Type"] = "multipart/form-data; boundary=b"
        elif row["body"] is not None:
            body = json.dumps(self.translated(row["body"])).encode()
            headers["Content-Type"] = "application/json"
        if row["name"].endswith("without-an-identity"):
            headers["kubeflow-userid"] = ""
        elif row["name"].endswith("without-rights"):
            headers["kubeflow-userid"] = "other@example.com"
        request = urllib.request.Request(
            self.address + self.translated(row["path"]), data=body, headers=headers, method=row["method"]
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def translated(self, value: Any) -> Any:
        text = json.dumps(value)
        for recorded, given in self.ids.items():
            text = text.replace(recorded, given)
        return json.loads(text)

    def learn(self, recorded: Any, given: Any) -> None:
        """Ids of what a call has made."""
        if isinstance(recorded, dict) and isinstance(given, dict):
            for key in recorded.keys() & given.keys():
                value = recorded[key]
                if key.endswith("_id") and isinstance(value, str) and UUID.fullmatch(value):
                    self.ids.setdefault(value, given[key])
                self.learn(value, given[key])
        elif isinstance(recorded, list) and isinstance(given, list):
            for one, other in zip(recorded, given, strict=False):
                self.learn(one, other)


def comparable(value: Any, ids: dict[str, str]) -> Any:
    """An answer without what differs by nature: times, specs, traces, page tokens."""
    if isinstance(value, dict):
        return {
            key: comparable(item, ids)
            for key, item in value.items()
            if item != LEFT_OUT and key not in ("pipeline_spec", "error_details", "next_page_token", "total_size")
        }
    if isinstance(value, list):
        return [comparable(item, ids) for item in value]
    if isinstance(value, str):
        for recorded, given in ids.items():
            value = value.replace(recorded, given)
        return TIME.sub("TIME", value.replace("\u00a0", " "))
    return value


@pytest.fixture
def replaying(kfp_api: ModuleType) -> Iterator[Any]:
    """Starts a stand-in with given settings; returns it and its replay."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin(**settings: Any) -> tuple[Any, Replay]:
            api = kfp_api.PipelinesApi(**settings)
            return api, Replay(stack.enter_context(kfp_api.serve(api)))

        yield begin


def rows(recordings: Path, group: str) -> list[dict[str, Any]]:
    return list(json.loads((recordings / f"{group}.json").read_text(encoding="utf-8")))


def assert_same(row: dict[str, Any], answer: tuple[int, Any], replay: Replay) -> None:
    status, given = answer
    assert status == row["status"], (row["name"], given)
    replay.learn(row["response"], given)
    wanted = comparable(row["response"], replay.ids)
    if row["name"].startswith("48-"):  # the parser's column
        wanted["message"] = re.sub(r"\(line \d+:\d+\): ", "", wanted["message"])
    assert comparable(given, replay.ids) == wanted, row["name"]


def test_an_installation_for_one_user(replaying: Any, recordings: Path) -> None:
    _, replay = replaying(page_size=200)
    for row in rows(recordings, "api"):
        answer = replay.send(row)
        if row["name"].startswith("24-"):  # a page of one, the latest of two within one second
            assert [run["display_name"] for run in answer[1]["runs"]] == ["rec-4bd7fc"]
            assert answer[1]["next_page_token"]
            continue
        if row["name"].startswith("58-"):  # that installation had runs of other days too; all came on one page
            runs = len(answer[1]["runs"])
            assert answer == (row["status"], {"runs": answer[1]["runs"], "total_size": runs})
            continue
        assert_same(row, answer, replay)


def test_an_installation_with_namespaces(replaying: Any, recordings: Path) -> None:
    _, replay = replaying(page_size=200, multi_user=True, members={"team-a": {"owner"}})
    for row in rows(recordings, "multi-user"):
        answer = replay.send(row)
        if row["name"].startswith("19-"):  # that namespace had runs of other days too
            assert (answer[0], len(answer[1]["runs"])) == (200, 1)
            continue
        assert_same(row, answer, replay)


def test_going_on_with_a_run_in_every_state(replaying: Any, recordings: Path) -> None:
    api, replay = replaying()
    states = {
        "01": ("SUCCEEDED", True),
        "02": ("RUNNING", True),
        "03": ("RUNNING", False),
        "04": ("CANCELING", False),
        "05": ("FAILED", True),
        "07": ("FAILED", False),
    }
    for row in rows(recordings, "retry"):
        run_id = UUID.search(row["path"])
        assert run_id is not None
        if row["name"][:2] in states:
            state, workflow = states[row["name"][:2]]
            api.runs[run_id[0]] = {"run_id": run_id[0], "state": state, "state_history": []}
            if workflow:
                api.workflows.add(run_id[0])
        assert_same(row, replay.send(row), replay)
        if row["status"] == 200:
            assert api.runs[run_id[0]]["state"] == "RUNNING"
            assert run_id[0] in api.workflows


@pytest.mark.parametrize("group", ["api", "multi-user", "retry"])
def test_the_client_says_what_the_server_has_said(recordings: Path, group: str) -> None:
    """Every recorded refusal becomes one line with its status and the server's words."""
    from types import SimpleNamespace

    from kfp_server_api.exceptions import ApiException

    from pipelines.client.connection import translated
    from qure.errors import StageFailed

    refusals = [row for row in rows(recordings, group) if row["status"] >= 400]
    assert refusals
    for row in refusals:
        body, status = json.dumps(row["response"]), row["status"]
        answer = SimpleNamespace(status=status, reason="Refused", data=body, getheaders=dict)
        with pytest.raises(StageFailed) as failure, translated():
            raise ApiException(http_resp=answer)
        told = row["response"].get("message") or row["response"]["error_message"]
        assert str(failure.value).startswith(f"Kubeflow Pipelines answered {status} Refused: {told}"), row["name"]


def test_every_recorded_cron_is_judged_as_the_server_did(recordings: Path) -> None:
    from pipelines.cron import check_cron

    judged = 0
    for row in rows(recordings, "api"):
        if "-with-cron-of-" not in row["name"]:
            continue
        judged += 1
        cron = row["body"]["trigger"]["cron_schedule"]["cron"]
        if row["status"] == 200:
            check_cron(cron)
        else:
            with pytest.raises(ValueError, match=r"\w") as refusal:
                check_cron(cron)
            assert row["response"]["message"].endswith(f"Error: {refusal.value}")
    assert judged == 10
