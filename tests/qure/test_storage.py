"""Transfers against a real S3 API over HTTP (moto's server, Ceph's RGW where it is installed) and against file://."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qure import storage
from qure.errors import BadInput, StageFailed
from qure.scratch import scratch_folder


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URI below which a test may store things, of either kind."""
    if request.param == "file":
        return f"file://{tmp_path}/stored"
    return f"{request.getfixturevalue('s3')}/some/prefix"


def _write(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_file_comes_back_as_it_went(place: str, tmp_path: Path) -> None:
    source = _write(tmp_path / "source.bin", 100_000)
    stored = storage.upload_file(source, f"{place}/a b/run#1/ümlaut?#.bin")
    assert stored.size == 100_000
    assert stored.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    target = storage.download_file(f"{place}/a b/run#1/ümlaut?#.bin", tmp_path / "deep" / "target.bin")
    assert target.read_bytes() == source.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["target.bin"]


def test_an_empty_file_is_a_file(place: str, tmp_path: Path) -> None:
    storage.upload_file(_write(tmp_path / "empty", 0), f"{place}/empty")
    assert storage.download_file(f"{place}/empty", tmp_path / "target").read_bytes() == b""


def test_equal_content_is_not_moved_again(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _write(tmp_path / "source.bin", 5_000)
    storage.upload_file(source, f"{place}/x")
    storage.download_file(f"{place}/x", tmp_path / "target")
    store = type(storage._store_of(place)[0])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("content was moved")

    monkeypatch.setattr(store, "put", refuse)
    monkeypatch.setattr(store, "read", refuse)
    storage.upload_file(source, f"{place}/x")
    storage.download_file(f"{place}/x", tmp_path / "target")
    _write(source, 5_000, seed=1)
    with pytest.raises(AssertionError, match="moved"):
        storage.upload_file(source, f"{place}/x")


def test_a_large_file_goes_in_parts(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    source = _write(tmp_path / "large.bin", (5 << 20) * 3 + 12_345)
    stored = storage.upload_file(source, f"{s3}/large")
    assert stored.version.strip('"').endswith("-4"), "an ETag of four parts"
    assert storage.download_file(f"{s3}/large", tmp_path / "target").read_bytes() == source.read_bytes()


def test_an_upload_in_parts_that_fails_leaves_nothing(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qure.s3 import S3Store, _client

    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    source = _write(tmp_path / "large.bin", 11 << 20)
    send = S3Store._send_part

    def change_file_meanwhile(self: S3Store, target: dict[str, str], number: int, data: bytes) -> dict[str, object]:
        return send(self, target, number, data if number != 2 else b"\0" + data[1:])

    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr("qure.storage.file_digest", lambda path: digest[::-1])
    monkeypatch.setattr(S3Store, "_send_part", change_file_meanwhile)
    with pytest.raises(StageFailed, match="changed while it was uploaded"):
        storage.upload_file(source, f"{s3}/large")
    bucket = s3.removeprefix("s3://")
    assert _client().list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert not storage.exists(f"{s3}/large")


def test_parts_of_a_killed_upload_are_cleared_when_they_are_old(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from qure.s3 import _client

    bucket, client = s3.removeprefix("s3://"), _client()
    client.create_multipart_upload(Bucket=bucket, Key="large")
    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    monkeypatch.setattr("qure.s3.STALE", timedelta(days=36_500))  # moto dates every upload to 2010
    storage.upload_file(_write(tmp_path / "large.bin", 6 << 20), f"{s3}/large")
    assert len(client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1, "it may still be at work"
    monkeypatch.setattr("qure.s3.STALE", timedelta(days=-1))
    storage.upload_file(_write(tmp_path / "large.bin", 6 << 20, seed=1), f"{s3}/large")
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_folder_is_whole_or_not_there(place: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    _write(source / "config.json", 10)
    _write(source / "deep" / "er" / "weights.bin", 70_000, seed=2)
    storage.upload_folder(source, f"{place}/model")
    assert storage.exists(f"{place}/model")
    assert [one.name for one in storage.list_files(f"{place}/model")] == ["config.json", "deep/er/weights.bin"]
    old = _write(tmp_path / "target" / "old.bin", 3).parent
    storage.download_folder(f"{place}/model", old)
    assert _tree(old) == _tree(source)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_folder_whose_upload_was_broken_off_does_not_exist(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    for name in "abc":
        _write(source / name, 1000)
    store = type(storage._store_of(place)[0])
    put = store.put

    def fail_at_c(self: storage.Store, key: str, *rest: object) -> None:
        if key.endswith("/c"):
            raise StageFailed("broken off")
        put(self, key, *rest)

    monkeypatch.setattr(store, "put", fail_at_c)
    with pytest.raises(StageFailed, match="broken off"):
        storage.upload_folder(source, f"{place}/model")
    assert not storage.exists(f"{place}/model")
    monkeypatch.setattr(store, "put", put)
    storage.upload_folder(source, f"{place}/model")
    assert storage.exists(f"{place}/model")


def test_a_folder_that_is_being_overwritten_is_an_error_not_a_mixture(place: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    _write(source / "a", 100)
    _write(source / "b", 100)
    storage.upload_folder(source, f"{place}/model")
    storage.upload_file(_write(tmp_path / "other", 100, seed=5), f"{place}/model/b")
    with pytest.raises(StageFailed, match=r"model/b is not what the folder's manifest lists"):
        storage.download_folder(f"{place}/model", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_folder_without_manifest_is_taken_as_listed(s3: str, tmp_path: Path) -> None:
    for name in ("x/one", "x/deep/two"):
        storage.upload_file(_write(tmp_path / "file", 10), f"{s3}/{name}")
    storage.download_folder(f"{s3}/x", tmp_path / "target")
    assert set(_tree(tmp_path / "target")) == {"one", "deep/two"}


def test_more_files_than_one_answer_holds_are_listed(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from qure.s3 import _client

    monkeypatch.setattr("qure.s3.LISTED_AT_ONCE", 4)
    client, bucket = _client(), s3.removeprefix("s3://")
    for number in range(10):
        client.put_object(Bucket=bucket, Key=f"many/{number:04}", Body=b"")
    assert [one.name for one in storage.list_files(f"{s3}/many")] == [f"{number:04}" for number in range(10)]


@pytest.mark.parametrize("name", ["../outside", "deep/../../outside", "/outside"])
def test_a_stored_name_cannot_leave_the_folder(s3: str, tmp_path: Path, name: str) -> None:
    from qure.s3 import _client

    _client().put_object(
        Bucket=s3.removeprefix("s3://"),
        Key=f"evil/{storage.MANIFEST}",
        Body=f'{{"files": [{{"name": "{name}", "size": 1, "sha256": "00"}}]}}'.encode(),
    )
    with pytest.raises(BadInput, match="outside"):
        storage.download_folder(f"{s3}/evil", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_damaged_content_never_gets_the_final_name(s3: str, tmp_path: Path) -> None:
    from qure.s3 import _client

    bucket = s3.removeprefix("s3://")
    _client().put_object(Bucket=bucket, Key="bad", Body=b"not what was sent", Metadata={"sha256": "0" * 64})
    with pytest.raises(StageFailed, match=r"SHA-256 .* it was stored with 0000"):
        storage.download_file(f"{s3}/bad", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_one_finds_the_place_empty(place: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda n: storage.put_if_absent(f"{place}/lock", f"owner {n}".encode()), range(32)))
    assert sum(won) == 1


def test_a_schemes_case_means_nothing(place: str, tmp_path: Path) -> None:
    scheme, _, rest = place.partition("://")
    storage.upload_file(_write(tmp_path / "x", 10), f"{scheme.upper()}://{rest}/a/b")
    assert [one.name for one in storage.list_files(place)] == ["a/b"]
    assert storage.download_file(f"{place}/a/b", tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


def test_a_path_of_a_file_is_one_with_or_without_escapes(tmp_path: Path) -> None:
    for folder in ("run#1", "50% off", "a?b=c", "ü"):
        storage.put_if_absent(f"file://{tmp_path}/{folder}/x".replace("%", "%25"), b"x")
        assert (tmp_path / folder / "x").read_bytes() == b"x"
        assert storage.exists((tmp_path / folder / "x").as_uri())
        assert not storage.put_if_absent((tmp_path / folder / "x").as_uri(), b"y")


def test_what_is_being_written_is_not_listed(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    _write(folder / "x", 10)
    stored = Path(place.removeprefix("file://")) if place.startswith("file") else folder
    with scratch_folder(folder) as half, scratch_folder(stored) if stored.exists() else contextlib.nullcontext():
        (half / "half").touch()
        storage.upload_folder(folder, place)
        assert [one.name for one in storage.list_files(place)] == ["x"]


def test_files_that_are_stored_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    storage.put_if_absent(f"file://{tmp_path}/a", b"x")
    storage.upload_file(tmp_path / "a", f"file://{tmp_path}/b")
    storage.download_file(f"file://{tmp_path}/b", tmp_path / "c")
    (tmp_path / "ordinary").touch()
    assert len({(tmp_path / name).stat().st_mode for name in ("a", "b", "c", "ordinary")}) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "/just/a/path",
        "s3://",
        "https://host/x",
        "file://host/x",
        "s3:bucket/key",
        "file://",
        "file:///",
        "s3://[::1/x",
        "s3://a b/x",
        "s3://bucket?x/y",
    ],
)
def test_other_uris_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a storage URI"):
        storage.download_file(uri, tmp_path / "x")


def test_credentials_in_a_uri_are_refused_without_being_shown() -> None:
    with pytest.raises(BadInput) as told:
        storage.exists("s3://user:hunter2@bucket/key")
    assert "hunter2" not in str(told.value)


def test_errors_say_what_to_do(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="there is no bucket 'nowhere-at-all'"):
        storage.download_file("s3://nowhere-at-all/key", tmp_path / "x")
    with pytest.raises(BadInput, match=rf"nothing is stored at '{s3}/absent'"):
        storage.download_file(f"{s3}/absent", tmp_path / "x")
    with pytest.raises(BadInput, match="no folder is stored"):
        storage.download_folder(f"{s3}/absent", tmp_path / "x")
    with pytest.raises(BadInput, match="does not exist"):
        storage.upload_file(tmp_path / "absent", f"{s3}/x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="AWS_ACCESS_KEY_ID"):
        storage.download_file(f"{s3}/x", tmp_path / "x")


def test_an_endpoint_that_is_down_is_named_without_secrets(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(StageFailed, match=rf"127\.0\.0\.1:{port}.*AWS_ENDPOINT_URL") as told:
        storage.download_file(f"{s3}/key", tmp_path / "x")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(told.value)


class Line:
    """A TCP connection to a server that can be slow, or break off.

    After so many bytes; after an answer's headers; or before one of them, in the first answers.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        bytes_per_second: float = 0,
        break_after: int = 0,
        only_headers: bool = False,
        break_before: bytes = b"",
        times: int = 1,
    ) -> None:
        self.break_before, self.times = break_before, times
        self.break_after, self.bytes_per_second, self.only_headers = break_after, bytes_per_second, only_headers
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
                if answers and self.only_headers:
                    sink.sendall(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                    break
                if answers and self.break_before and self.times and self.break_before in data.lower():
                    self.times -= 1
                    sink.sendall(data[: data.lower().index(self.break_before)])
                    break
                sink.sendall(data)
                passed += len(data)
                if answers and self.break_after and passed > self.break_after:
                    break
                if answers and self.bytes_per_second and passed > 1 << 16:
                    time.sleep(len(data) / self.bytes_per_second)
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

    def lay(**manners: float) -> Line:
        lines.append(Line(s3_endpoint, **manners))
        monkeypatch.setenv("AWS_ENDPOINT_URL", lines[-1].endpoint)
        return lines[-1]

    yield lay
    for one in lines:
        one.close()


def test_a_broken_connection_goes_on_where_it_broke(s3: str, tmp_path: Path, line: Callable[..., Line]) -> None:
    source = _write(tmp_path / "source.bin", 5_000_000)
    storage.upload_file(source, f"{s3}/large")
    line(break_after=2_000_000)
    assert storage.download_file(f"{s3}/large", tmp_path / "target").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("header", [b"etag:", b"content-length:", b"x-amz-meta-sha256:"])
def test_an_answer_cut_off_among_its_headers_is_asked_for_again(
    s3: str, tmp_path: Path, line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch, header: bytes
) -> None:
    """Python's HTTP client takes what has come for all: no length, no ETag, or no digest to check by."""
    monkeypatch.setattr(storage, "PAUSE", 0.01)
    source = _write(tmp_path / "source.bin", 20_000)
    stored = storage.upload_file(source, f"{s3}/x")
    cut = line(break_before=header)
    assert storage._store_of(f"{s3}/x")[0].stat("x") == stored
    assert cut.times == 0
    cut.times = 1
    assert storage.download_file(f"{s3}/x", tmp_path / "target").read_bytes() == source.read_bytes()


def test_a_part_whose_answer_is_cut_off_is_sent_again(
    s3: str, tmp_path: Path, line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    source = _write(tmp_path / "large.bin", 6 << 20)
    cut = line(break_before=b"etag:")
    assert storage.upload_file(source, f"{s3}/large").size == 6 << 20
    assert cut.times == 0


def test_answers_that_are_always_cut_off_are_named(s3: str, tmp_path: Path, line: Callable[..., Line]) -> None:
    storage.upload_file(_write(tmp_path / "source.bin", 20_000), f"{s3}/x")
    line(break_before=b"etag:", times=1000)
    with pytest.raises(StageFailed, match=f"{s3}/x: the connection breaks off within the answer's headers"):
        storage.download_file(f"{s3}/x", tmp_path / "target")


def test_a_connection_that_brings_nothing_is_given_up(
    s3: str, tmp_path: Path, line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PAUSE", 0.01)
    storage.upload_file(_write(tmp_path / "source.bin", 5_000_000), f"{s3}/large")
    stored = storage._store_of(f"{s3}/large")[0].stat("large")
    assert stored is not None
    line(only_headers=True)
    store = storage._store_of(f"{s3}/large")[0]
    with pytest.raises(StageFailed, match="nothing comes after byte 0 of 5000000"):
        storage._download(store, stored, tmp_path / "target", f"{s3}/large")
    assert not (tmp_path / "target").exists()


DOWNLOAD = (
    "import sys; from pathlib import Path; from qure import storage; storage.{call}(sys.argv[1], Path(sys.argv[2]))"
)


def _kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.usefixtures("no_bytecode")
def test_a_download_killed_midway_goes_on(
    s3: str, tmp_path: Path, line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _write(tmp_path / "source.bin", 12_000_000)
    storage.upload_file(source, f"{s3}/large")
    slow = line(bytes_per_second=4_000_000)
    folder = tmp_path / "folder"
    folder.mkdir()

    def partial() -> list[Path]:
        return list(folder.glob(".target.*.part"))

    child = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD.format(call="download_file"), f"{s3}/large", str(folder / "target")],
        env={**os.environ, "AWS_ENDPOINT_URL": slow.endpoint},
    )
    _kill_when(child, lambda: any(path.stat().st_size > 3_000_000 for path in partial()))
    assert not (folder / "target").exists()
    already = partial()[0].stat().st_size
    asked: list[int] = []
    store = type(storage._store_of(s3)[0])
    read = store.read
    monkeypatch.setattr(store, "read", lambda self, key, start: asked.append(start) or read(self, key, start))
    line()
    assert storage.download_file(f"{s3}/large", folder / "target").read_bytes() == source.read_bytes()
    assert asked == [already]
    assert [path.name for path in folder.iterdir()] == ["target"]


def test_what_was_replaced_meanwhile_is_not_continued(s3: str, tmp_path: Path) -> None:
    storage.upload_file(_write(tmp_path / "first", 1000, seed=1), f"{s3}/x")
    store, key = storage._store_of(f"{s3}/x")
    first = store.stat(key)
    assert first is not None
    content = storage._short_digest(f"{s3}/x\n{first.version}\n{first.sha256}\n{first.size}")
    (tmp_path / f".target.{content}.part").write_bytes((tmp_path / "first").read_bytes()[:400])
    second = _write(tmp_path / "second", 1000, seed=2)
    storage.upload_file(second, f"{s3}/x")
    assert storage.download_file(f"{s3}/x", tmp_path / "target").read_bytes() == second.read_bytes()
    with pytest.raises(StageFailed, match="was replaced while it was read"):
        storage._download(store, first, tmp_path / "target", f"{s3}/x")


@pytest.mark.usefixtures("no_bytecode")
def test_a_folder_download_killed_midway_goes_on(s3: str, tmp_path: Path, line: Callable[..., Line]) -> None:
    source = tmp_path / "source"
    for number in range(6):
        _write(source / f"{number}.bin", 1_500_000, seed=number)
    storage.upload_folder(source, f"{s3}/model")
    slow = line(bytes_per_second=4_000_000)
    child = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD.format(call="download_folder"), f"{s3}/model", str(tmp_path / "target")],
        env={**os.environ, "AWS_ENDPOINT_URL": slow.endpoint},
    )
    _kill_when(child, lambda: any(tmp_path.glob(".target.*.download/3.bin")))
    assert not (tmp_path / "target").exists()
    line()
    storage.download_folder(f"{s3}/model", tmp_path / "target")
    assert _tree(tmp_path / "target") == _tree(source)
    assert not list(tmp_path.glob(".target*"))


def test_two_downloads_of_one_file_do_not_disturb_each_other(s3: str, tmp_path: Path) -> None:
    source = _write(tmp_path / "source.bin", 3_000_000)
    storage.upload_file(source, f"{s3}/x")
    children = [
        subprocess.Popen([sys.executable, "-c", DOWNLOAD.format(call="download_file"), f"{s3}/x", str(tmp_path / "t")])
        for _ in range(3)
    ]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert (tmp_path / "t").read_bytes() == source.read_bytes()
    assert not list(tmp_path.glob(".t.*"))
