"""Reading from a real S3 API over HTTP (moto's server) and from file://."""

import contextlib
import os
import random
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from qure import storage
from qure.errors import BadInput, StageFailed
from qure.storage import stored_file, stored_folder


def _content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def _put(bucket: str, key: str, content: bytes, **more: str) -> None:
    boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=content, **more)


@pytest.fixture(params=["s3", "file"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, bytes], str]:
    """Stores content under a name, at an address of either kind, and gives the address."""
    if request.param == "s3":
        bucket = request.getfixturevalue("s3")

        def to_s3(name: str, content: bytes) -> str:
            _put(bucket, f"some/prefix/{name}", content)
            return f"{bucket}/some/prefix/{name}"

        return to_s3

    def to_file(name: str, content: bytes) -> str:
        file = tmp_path / "stored" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return f"file://{file}"

    return to_file


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies lie: a test sees what is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_file_comes_as_it_was_stored_and_leaves_nothing(put: Callable[[str, bytes], str], scratch: Path) -> None:
    uri = put("a b/run#1/ümlaut?#.bin", _content(100_000))
    with stored_file(uri) as file:
        assert file.name == "ümlaut?#.bin"
        assert file.read_bytes() == _content(100_000)
    assert list(scratch.iterdir()) == []
    with stored_file(put("empty", b"")) as file:
        assert file.read_bytes() == b""


def test_a_file_in_many_ranges_comes_whole(s3: str) -> None:
    _put(s3, "large", _content(20_000_000))
    with stored_file(f"{s3}/large") as file:
        assert file.read_bytes() == _content(20_000_000)


def test_a_folder_comes_with_all_that_is_below_it_and_nothing_else(
    put: Callable[[str, bytes], str], scratch: Path
) -> None:
    uri = put("model/config.json", b"{}").removesuffix("/config.json")
    put("model/deep/er/weights.bin", _content(70_000))
    put("model-2/other", b"x")
    with stored_folder(uri) as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json": b"{}", "deep/er/weights.bin": _content(70_000)}
    assert list(scratch.iterdir()) == []


@pytest.mark.integration
def test_a_key_may_begin_with_a_slash_or_have_two(s3: str) -> None:
    for name, content in (("/lead/x.bin", b"one"), ("lead/x.bin", b"two"), ("lead//x.bin", b"three")):
        _put(s3, name, content)
    for address, content in (("//lead/x.bin", b"one"), ("/lead/x.bin", b"two"), ("/lead//x.bin", b"three")):
        with stored_file(s3 + address) as file:
            assert file.read_bytes() == content
    with stored_folder(f"{s3}//lead/") as folder:
        assert [one.read_bytes() for one in folder.iterdir()] == [b"one"]


@pytest.mark.integration
def test_a_folder_of_more_files_than_one_answer_lists(s3: str) -> None:
    for number in range(1_010):
        _put(s3, f"many/{number:04}", b"")
    with stored_folder(f"{s3}/many/") as folder:
        assert len(list(folder.iterdir())) == 1_010


def test_markers_of_empty_folders_are_no_files(s3: str) -> None:
    for key in ("model/", "model/deep/", "model/deep/x"):
        _put(s3, key, b"")
    with stored_folder(f"{s3}/model") as folder:
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == ["deep", "deep/x"]


@pytest.mark.parametrize("name", ["../outside", "deep/../../outside", "/outside"])
def test_a_stored_name_cannot_leave_the_folder(name: str, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Listing:
        """A storage that keeps such names: boto3 and moto's HTTP server fold them on the way."""

        def get_paginator(self, _: str) -> "Listing":
            return self

        def paginate(self, **_: str) -> list[dict[str, Any]]:
            return [{"KeyCount": 1, "Contents": [{"Key": f"evil/{name}", "Size": 1}]}]

    monkeypatch.setattr("qure.storage._client", Listing)
    with pytest.raises(BadInput, match="outside the folder"), stored_folder("s3://bucket/evil"):
        pytest.fail("it was taken")
    assert list(scratch.iterdir()) == []


def test_a_file_that_came_in_part_is_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Storage:
        def head_object(self, **_: str) -> dict[str, Any]:
            return {"ContentLength": 5, "ETag": '"x"'}

        def download_file(self, _: str, __: str, file: str) -> None:
            Path(file).write_bytes(b"abc")

    monkeypatch.setattr("qure.storage._client", Storage)
    with (
        pytest.raises(StageFailed, match=r"s3://bucket/a/b: 3 of 5 bytes came\. Start the command again"),
        stored_file("s3://bucket/a/b"),
    ):
        pytest.fail("it was taken")
    assert list(scratch.iterdir()) == []


def test_a_schemes_case_means_nothing_and_escapes_are_read(put: Callable[[str, bytes], str], tmp_path: Path) -> None:
    scheme, _, rest = put("x", b"x").partition("://")
    with stored_file(f"{scheme.upper()}://{rest}") as file:
        assert file.read_bytes() == b"x"
    (tmp_path / "50% off ü").touch()
    with stored_file((tmp_path / "50% off ü").as_uri()) as file:
        assert file == tmp_path / "50% off ü"


@pytest.mark.parametrize(
    "uri",
    ["/just/a/path", "s3://", "https://host/x", "file://host/x", "s3:bucket/key", "file://", "file:///", "s3://[::1/x"],
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(BadInput, match="not a storage URI"), stored_file(uri):
        pytest.fail("it was taken")


def test_credentials_in_a_uri_are_refused_without_being_shown() -> None:
    with pytest.raises(BadInput) as told, stored_file("s3://user:hunter2@bucket/key"):
        pytest.fail("it was taken")
    assert "hunter2" not in str(told.value)


def _refusal(context: Callable[[str], contextlib.AbstractContextManager[Path]], uri: str, kind: type[Exception]) -> str:
    with pytest.raises(kind) as told, context(uri):
        pytest.fail("something came")
    assert os.environ.get("AWS_SECRET_ACCESS_KEY", "none is set") not in str(told.value)
    return str(told.value)


def test_what_is_not_there_is_named(s3: str, tmp_path: Path) -> None:
    for context in (stored_file, stored_folder):
        for uri in (f"{s3}/absent", "s3://nowhere-at-all/key", f"file://{tmp_path}/absent"):
            assert f"nothing is stored at '{uri}'" in _refusal(context, uri, BadInput)


def test_credentials_that_lack_or_are_refused(
    s3: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(s3, "x", b"x")

    def authenticate(after: str) -> None:
        where, kind = f"{s3_endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(where, data=after.encode(), headers=kind)).close()

    authenticate("0")
    try:
        for context in (stored_file, stored_folder):
            assert "AWS_ACCESS_KEY_ID" in _refusal(context, f"{s3}/x", BadInput)
    finally:
        authenticate("inf")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert "AWS_ACCESS_KEY_ID" in _refusal(stored_file, f"{s3}/x", BadInput)


def test_an_endpoint_that_is_down_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{nobody}")
    waits: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", waits.append)
    said = _refusal(stored_file, f"{s3}/key", StageFailed)
    assert len(waits) == 4, "asked five times, with pauses"
    assert nobody in said
    assert "AWS_ENDPOINT_URL" in said


def test_content_that_is_not_what_was_stored_is_refused(s3: str, scratch: Path, line: Callable[..., "Line"]) -> None:
    _put(s3, "x", _content(50_000), ChecksumAlgorithm="SHA256")
    line(damage=_content(50_000)[100:200])
    assert "checksum" in _refusal(stored_file, f"{s3}/x", StageFailed)
    assert list(scratch.iterdir()) == []


class Line:
    """A TCP connection to a server that breaks off after so many bytes or before a header, or damages a content."""

    def __init__(
        self,
        endpoint: str,
        *,
        break_after: int = 0,
        break_before: bytes = b"",
        times: int = 1,
        damage: bytes = b"",
    ) -> None:
        self.break_before, self.break_after, self.damage, self.times = break_before, break_after, damage, times
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        passed = 0
        try:
            while data := source.recv(1 << 16):
                if answers and self.damage:
                    data = data.replace(self.damage, bytes(len(self.damage)))
                if answers and self.break_before and self.times and self.break_before in data.lower():
                    self.times -= 1
                    sink.sendall(data[: data.lower().index(self.break_before)])
                    break
                sink.sendall(data)
                passed += len(data)
                if answers and self.break_after and self.times and passed > self.break_after:
                    self.times -= 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # unlike close, it wakes whoever is still waiting for bytes
            end.close()


@pytest.fixture
def line(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Line]]:
    """Puts a `Line` between boto3 and the server."""
    lines: list[Line] = []

    def lay(**manners: Any) -> Line:
        lines.append(Line(s3_endpoint, **manners))
        monkeypatch.setenv("AWS_ENDPOINT_URL", lines[-1].endpoint)
        return lines[-1]

    yield lay
    for one in lines:
        one.close()


def test_a_connection_that_breaks_is_made_again(s3: str, line: Callable[..., Line]) -> None:
    _put(s3, "large", _content(5_000_000))
    cut = line(break_after=2_000_000)
    with stored_file(f"{s3}/large") as file:
        assert file.read_bytes() == _content(5_000_000)
    assert cut.times == 0


def test_a_connection_that_always_breaks_is_given_up(s3: str, scratch: Path, line: Callable[..., Line]) -> None:
    _put(s3, "large", _content(5_000_000))
    line(break_after=100_000, times=1_000_000)
    assert f"{s3}/large" in _refusal(stored_file, f"{s3}/large", StageFailed)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("header", [b"etag:", b"content-length:"])
@pytest.mark.parametrize("context", [stored_file, stored_folder])
def test_an_answer_cut_off_among_its_headers_is_never_taken_for_whole(
    s3: str, line: Callable[..., Line], header: bytes, context: Callable[..., contextlib.AbstractContextManager[Path]]
) -> None:
    """Python's HTTP client takes what has come for all: no length, no ETag."""
    _put(s3, "x/y", _content(20_000))
    line(break_before=header, times=1_000_000)
    assert "command again" in _refusal(context, f"{s3}/x/y" if context is stored_file else f"{s3}/x", StageFailed)


@pytest.mark.parametrize(
    ("endpoint", "style"), [("", "auto"), ("http://127.0.0.1:9000", "path")], ids=["Amazon's own", "another"]
)
def test_a_client_waits_and_asks_as_the_environment_says(
    endpoint: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    client = storage._client()
    config = client.meta.config
    assert (config.s3["addressing_style"], config.connect_timeout, client.meta.region_name) == (style, 10, "us-east-1")
    assert (config.retries["mode"], config.retries["total_max_attempts"]) == ("standard", 5)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    assert storage._client().meta.region_name == "eu-west-3"


class Refused(Exception):
    """An answer to a HEAD request: it says nothing but a status and the time."""

    def __init__(self, status: int, date: str) -> None:
        super().__init__("An error occurred")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"date": date}}}


@pytest.mark.parametrize(
    ("status", "minutes", "clocks"),
    [(403, 16, True), (400, -16, True), (403, 14, False), (403, -14, False), (500, 60, False), (404, 60, False)],
)
def test_clocks_that_differ_are_told_apart_from_other_refusals(status: int, minutes: int, clocks: bool) -> None:
    there = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    with pytest.raises(StageFailed if clocks else Refused) as told, storage._explained("s3://bucket/key"):
        raise Refused(status, there)
    assert ("the clocks of this machine and of the storage differ" in str(told.value)) == clocks


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_refusal_without_a_time_is_itself(date: str) -> None:
    with pytest.raises(Refused), storage._explained("s3://bucket/key"):
        raise Refused(403, date)


def test_errors_of_this_program_stay_themselves() -> None:
    with pytest.raises(ZeroDivisionError), storage._explained("s3://bucket/key"):
        _ = 1 / 0
    cut_off = r"s3://bucket/key: an answer without 'ETag'.*AWS_ENDPOINT_URL"
    with pytest.raises(StageFailed, match=cut_off), storage._explained("s3://bucket/key"):
        raise KeyError("ETag")


def test_what_is_missing_is_looked_for_where_it_was_asked_for() -> None:
    assert "bucket and key" in str(storage._absent("S3://bucket/key"))
    assert "Check the path" in str(storage._absent("file:///somewhere"))


def test_without_boto3_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert "pip install 'qure[s3]'" in _refusal(stored_file, "s3://bucket/key", BadInput)
