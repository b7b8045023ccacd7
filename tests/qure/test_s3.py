"""The same transfers against Ceph's S3 gateway: it refuses what moto lets pass (credentials, damaged requests).

Needs the programs of Debian's radosgw, ceph-mon, ceph-osd and ceph-common; skipped where they are not installed.
"""

import hashlib
import os
import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qure import storage
from qure.errors import BadInput, StageFailed
from qure.s3 import _client

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS, SECRET = "qure-test-access", "qure-test-secret-9d1c"

#: One monitor and one storage daemon that keeps everything in memory; no authentication between them.
CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{port}
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
mon_allow_pool_size_one = true
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 1073741824
mon_data_avail_crit = 1
mon_data = {folder}/mon
osd_data = {folder}/osd
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
pid_file = {folder}/$name.pid
"""

pytestmark = pytest.mark.integration


class Gateway:
    """A Ceph cluster of one, with its S3 gateway."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self._folder, self._ports = folder, ports
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.endpoint = f"http://127.0.0.1:{ports[1]}"

    def start(self) -> None:
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        text = CONFIGURATION.format(fsid=fsid, port=self._ports[0], folder=self._folder)
        (self._folder / "ceph.conf").write_text(text)
        (self._folder / "osd").mkdir()
        address = f"[v1:127.0.0.1:{self._ports[0]}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, str(self._folder / "monmap"))
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(self._folder / "monmap"))
        self._launch("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "osd", "new", osd)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self._launch("ceph-osd", "-i", "0", "-f")
        # Without the last option the gateway hangs where authentication is off.
        front = f"--rgw_frontends=beast endpoint=127.0.0.1:{self._ports[1]}"
        self._launch("radosgw", "-f", "-n", "client.rgw", front, "--ms_mon_client_mode=crc")
        keys = (f"--access-key={ACCESS}", f"--secret-key={SECRET}")
        self._run("radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)

    def stop(self) -> None:
        for daemon in self._daemons:
            daemon.kill()
            daemon.wait()

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, timeout=90, env=self._environment())

    def _launch(self, *command: str) -> None:
        with (self._folder / f"{command[0]}.output").open("wb") as output:
            self._daemons.append(subprocess.Popen(command, stdout=output, stderr=output, env=self._environment()))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self._folder / "ceph.conf")}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Ceph S3 gateway."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs Ceph's programs: {', '.join(missing)} not found")
    import socket

    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = tuple(probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    started = Gateway(tmp_path_factory.mktemp("ceph"), (ports[0], ports[1]))
    try:
        started.start()
        _wait_until_up(started.endpoint)
        yield started.endpoint
    finally:
        started.stop()


def _wait_until_up(endpoint: str) -> None:
    import urllib.request

    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the gateway does not answer"
            time.sleep(0.2)


@pytest.fixture
def bucket(gateway: str, bucket_at: Callable[[str], str]) -> str:
    """A fresh bucket as URI."""
    return bucket_at(gateway)


def _write(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def test_folders_and_large_files_come_back(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    source = tmp_path / "source"
    _write(source / "small ümlaut.json", 100)
    _write(source / "deep" / "large.bin", (5 << 20) * 2 + 999, seed=1)
    sent = {one.name.rpartition("/")[2]: one for one in storage.upload_folder(source, f"{bucket}/a/model")}
    assert sent["large.bin"].version.strip('"').endswith("-3")
    storage.download_folder(f"{bucket}/a/model", tmp_path / "target")
    for path in source.rglob("*.*"):
        assert (tmp_path / "target" / path.relative_to(source)).read_bytes() == path.read_bytes()
    assert storage.exists(f"{bucket}/a/model")
    assert not storage.exists(f"{bucket}/a")


def test_a_download_goes_on_where_it_stopped(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _write(tmp_path / "source.bin", 3_000_000)
    storage.upload_file(source, f"{bucket}/x")
    store, key = storage._store_of(f"{bucket}/x")
    stored = store.stat(key)
    assert stored is not None
    content = storage._short_digest(f"{bucket}/x\n{stored.version}\n{stored.sha256}\n{stored.size}")
    (tmp_path / f".target.{content}.part").write_bytes(source.read_bytes()[:1_234_567])
    asked: list[int] = []
    read = type(store).read
    monkeypatch.setattr(type(store), "read", lambda self, key, start: asked.append(start) or read(self, key, start))
    assert storage.download_file(f"{bucket}/x", tmp_path / "target").read_bytes() == source.read_bytes()
    assert asked == [1_234_567]


def test_of_many_writers_one_finds_the_place_empty(bucket: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda number: storage.put_if_absent(f"{bucket}/lock", f"{number}".encode()), range(64)))
    assert sum(won) == 1


def test_more_than_a_thousand_files_are_listed(bucket: str) -> None:
    client, name = _client(), bucket.removeprefix("s3://")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.put_object(Bucket=name, Key=f"many/{number:04}", Body=b""), range(1_010)))
    assert len(storage.list_files(f"{bucket}/many")) == 1_010


def test_a_damaged_request_is_refused(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.s3._md5", lambda data: "1B2M2Y8AsgTpgAmY7PhCfg==")
    with pytest.raises(StageFailed, match="BadDigest"):
        storage.upload_file(_write(tmp_path / "x", 100), f"{bucket}/x")
    monkeypatch.setattr("qure.s3.PART_BYTES", 5 << 20)
    with pytest.raises(StageFailed, match="BadDigest"):
        storage.upload_file(_write(tmp_path / "y", 6 << 20), f"{bucket}/y")
    assert not storage.exists(f"{bucket}/x")
    name = bucket.removeprefix("s3://")
    assert _client().list_multipart_uploads(Bucket=name).get("Uploads", []) == []


def test_wrong_credentials_and_rights_are_told(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="there is no bucket 'nowhere-at-all'"):
        storage.download_file("s3://nowhere-at-all/x", tmp_path / "x")
    with pytest.raises(BadInput, match="nothing is stored"):
        storage.download_file(f"{bucket}/absent", tmp_path / "x")
    wrong = hashlib.sha256(b"wrong").hexdigest()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", wrong)
    with pytest.raises(BadInput, match="AWS_SECRET_ACCESS_KEY") as told:
        storage.upload_file(_write(tmp_path / "x", 10), f"{bucket}/x")
    assert wrong not in str(told.value)
    assert SECRET not in str(told.value)
