"""s3:// and file://: what is read or written is whole, verified, and goes on where a killed transfer stopped.

- **Whole.** A download appears under its name when it is complete; an upload in parts is completed or aborted. A folder
  is its manifest, which is written last: it lists each file's size and SHA-256, and readers take exactly those.
- **Verified.** SHA-256 travels with every object (metadata `sha256`), Content-MD5 with every request that writes.
- **Resumable.** A file that is already there with the same digest is not moved again; a download goes on at the byte
  where it stopped, as long as the object is still the same.

Credentials and endpoint come from the environment as boto3 reads them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, AWS_DEFAULT_REGION (boto3 does not look at AWS_REGION), profiles, roles.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from qure.errors import BadInput, StageFailed
from qure.files import atomic_file, file_digest, replace_folder, sync
from qure.scratch import is_scratch, scratch_folder
from qure.stores import BLOCK, Store, Stored

#: The file that makes a stored folder whole.
MANIFEST = ".qure-manifest.json"
#: How often a download that breaks off without any progress is taken up again.
ATTEMPTS = 4
#: Seconds before the first of these attempts; each further one waits as much longer.
PAUSE = 2.0


def upload_file(source: Path, uri: str) -> Stored:
    """Copies a local file to `uri`; does nothing when the same content is there already.

    Raises:
        BadInput: no such file; URI, credentials, bucket or rights are wrong.
        StageFailed: the storage cannot be reached, or what arrived is not what was sent.
    """
    store, key = _store_of(uri)
    return _upload(store, key, Path(source))


def download_file(uri: str, target: Path) -> Path:
    """Copies `uri` to a local file; does nothing when the same content is there already.

    Raises:
        BadInput: nothing is stored there; URI, credentials, bucket or rights are wrong.
        StageFailed: the storage cannot be reached, or the content does not have the digest it was stored with.
    """
    store, key = _store_of(uri)
    stored = store.stat(key)
    if stored is None:
        raise BadInput(f"nothing is stored at {uri!r}", remedy="Check bucket and key, or upload it first")
    _download(store, stored, Path(target), uri)
    return Path(target)


def upload_folder(folder: Path, uri: str) -> list[Stored]:
    """Copies every file below a folder, then its manifest: who finds the manifest finds everything.

    Files that are there already with the same content are not sent again. While other content is written over an
    older folder's URI, readers get an error, never a mixture; use one URI for one content to spare them that.

    Raises:
        BadInput, StageFailed: as `upload_file`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput("the folder to upload does not exist", file=folder)
    store, prefix = _store_of(uri)
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = sorted(path.as_posix() for path in found if not is_scratch(path))
    sent = [_upload(store, _join(prefix, name), folder / name) for name in names if name != MANIFEST]
    listed = [
        {"name": one.name.removeprefix(_join(prefix, "")), "size": one.size, "sha256": one.sha256} for one in sent
    ]
    with tempfile.TemporaryDirectory() as temporary:
        manifest = Path(temporary) / MANIFEST
        manifest.write_text(json.dumps({"files": listed}, indent=1), encoding="utf-8")
        _upload(store, _join(prefix, MANIFEST), manifest)
    return sent


def download_folder(uri: str, folder: Path) -> Path:
    """Copies a stored folder; it appears under its name, in place of an older one, when every file is verified.

    A folder without a manifest (not written by `upload_folder`) is taken as listed. A killed download leaves finished
    files in a hidden folder beside the target, from which the next one goes on.

    Raises:
        BadInput, StageFailed: as `download_file`; and a name in the storage that would leave the folder.
    """
    folder = Path(folder)
    store, prefix = _store_of(uri)
    wanted = _content(store, prefix, uri)
    if not wanted:
        raise BadInput(f"no folder is stored at {uri!r}", remedy="Check bucket and prefix, or upload it first")
    with _partial_folder(folder.with_name(f".{folder.name}.{_short_digest(uri)}.download")) as partial:
        for name, expected in wanted.items():
            stored = store.stat(_join(prefix, name))
            if stored is None or expected not in (None, stored.sha256):
                raise StageFailed(
                    f"{uri}/{name} is not what the folder's manifest lists: another upload is at work, or one was "
                    "broken off. Upload the folder again"
                )
            _download(store, stored, partial / name, f"{uri}/{name}")
        _remove_others(partial, set(wanted))
        replace_folder(partial, folder)
    return folder


def exists(uri: str) -> bool:
    """Whether a file, or a whole folder (one with its manifest), is stored at `uri`."""
    store, key = _store_of(uri)
    return store.stat(key) is not None or store.stat(_join(key, MANIFEST)) is not None


def list_files(uri: str) -> list[Stored]:
    """Every file stored below `uri`, by name; manifests left out."""
    store, key = _store_of(uri)
    found = (one for one in store.files(_join(key, "")) if PurePosixPath(one.name).name != MANIFEST)
    return sorted(found, key=lambda one: one.name)


def put_if_absent(uri: str, data: bytes) -> bool:
    """Stores `data` unless something is there; of many at the same moment exactly one gets True.

    Raises:
        BadInput, StageFailed: as `upload_file`.
    """
    store, key = _store_of(uri)
    return store.put_if_absent(key, data)


def _store_of(uri: str) -> tuple[Store, str]:
    # Not urlsplit: "?" and "#" are ordinary characters of a key and of a file's name.
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if "@" in host:
        raise BadInput("a storage URI holds no credentials", remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if scheme.lower() == "s3" and re.fullmatch(r"[\w.-]+", host):
        try:
            from qure.s3 import S3Store
        except ImportError as error:
            raise BadInput(f"s3:// needs boto3: {error}", remedy="Install it with: pip install 'qure[s3]'") from None
        return S3Store(host), path.strip("/")
    if scheme.lower() == "file" and host.lower() in ("", "localhost") and path.strip("/"):
        return FileStore(), "/" + urllib.parse.unquote(path).strip("/")
    raise BadInput(f"not a storage URI: {uri!r}", remedy="Use s3://bucket/key or file:///absolute/path")


def _join(prefix: str, name: str) -> str:
    return f"{prefix}/{name}" if prefix else name


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _upload(store: Store, key: str, source: Path) -> Stored:
    if not source.is_file():
        raise BadInput("the file to upload does not exist", file=source)
    size, digest = source.stat().st_size, file_digest(source)
    there = store.stat(key)
    if there is None or (there.size, there.sha256) != (size, digest):
        store.put(key, source, digest)
        there = store.stat(key)
    if there is None or (there.size, there.sha256) != (size, digest):
        raise StageFailed(f"{key}: what is stored after the upload is not what was sent. Upload it again")
    return there


def _download(store: Store, stored: Stored, target: Path, uri: str) -> None:
    if target.is_file() and target.stat().st_size == stored.size and stored.sha256 == file_digest(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The name tells which content it is a part of, so that parts of two contents are never put together.
    content = _short_digest(f"{uri}\n{stored.version}\n{stored.sha256}\n{stored.size}")
    with _partial_file(target.with_name(f".{target.name}.{content}.part")) as (partial, stream):
        _fetch_rest(store, stored, stream, uri)
        os.fsync(stream.fileno())
        found = file_digest(partial)
        if stored.sha256 not in (None, found):
            partial.unlink()
            raise StageFailed(
                f"{uri}: its content has SHA-256 {found}, it was stored with {stored.sha256}: it is damaged, or was "
                "replaced meanwhile. Start the command again; if it stays so, upload it again"
            )
        partial.replace(target)
        sync(target.parent)


@contextlib.contextmanager
def _partial_file(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file to append to that no other process writes: `path`, else, when another has it, one of its own."""
    with path.open("ab") as stream:
        if _locked(stream.fileno(), path):
            yield path, stream
            return
    with scratch_folder(path.parent) as own, (own / path.name).open("wb") as stream:
        yield own / path.name, stream


@contextlib.contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that no other process fills: `path`, else, when another has it, one of its own."""
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY)
    try:
        if _locked(handle, path):
            yield path
            return
    finally:
        os.close(handle)
    with scratch_folder(path.parent) as scratch:
        own = scratch / path.name
        own.mkdir()
        yield own


def _locked(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and lock its last owner may have finished it and given it the final name.
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _fetch_rest(store: Store, stored: Stored, stream: IO[bytes], uri: str) -> None:
    """Appends to `stream` what it lacks of the object."""
    if stream.seek(0, os.SEEK_END) > stored.size:
        stream.truncate(0)
    fruitless = 0
    while (start := stream.seek(0, os.SEEK_END)) < stored.size:
        problem: ConnectionError | None = None
        try:
            with store.read(stored.name, start) as (version, blocks):
                if version != stored.version:
                    raise StageFailed(f"{uri} was replaced while it was read. Start the command again")
                for block in blocks:
                    stream.write(block)
        except ConnectionError as error:
            problem = error
        stream.flush()
        fruitless = fruitless + 1 if stream.tell() == start else 0
        if fruitless == ATTEMPTS:
            raise StageFailed(f"{uri}: nothing comes after byte {start} of {stored.size}: {problem or 'no error'}")
        time.sleep(PAUSE * fruitless)


def _content(store: Store, prefix: str, uri: str) -> dict[str, str | None]:
    """Names in a stored folder with their digests; None for a digest that no manifest tells."""
    manifest = _join(prefix, MANIFEST)
    stored = store.stat(manifest)
    if stored is None:
        listed: dict[str, str | None] = {one.name: None for one in store.files(_join(prefix, ""))}
    else:
        try:
            with store.read(manifest, 0) as (_, blocks):
                listed = {str(one["name"]): str(one["sha256"]) for one in json.loads(b"".join(blocks))["files"]}
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"not a manifest: {error!r}", file=f"{uri}/{MANIFEST}", remedy="Upload it again") from None
        except ConnectionError as error:
            raise StageFailed(f"{uri}/{MANIFEST}: the connection broke off: {error}") from None
    for name in listed:
        if name.startswith("/") or ".." in PurePosixPath(name).parts or not name.isprintable():
            raise BadInput(f"a file named {name!r} would be written outside the folder", file=uri)
    return {name: digest for name, digest in listed.items() if not name.endswith("/")}


def _remove_others(folder: Path, wanted: set[str]) -> None:
    """What an earlier, broken-off download of the same URI has left."""
    for path in list(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()


class FileStore:
    """file://: keys are absolute paths."""

    def stat(self, key: str) -> Stored | None:
        path = Path(key)
        if not path.is_file():
            return None
        return Stored(key, path.stat().st_size, file_digest(path), _version(path.stat()))

    def put(self, key: str, source: Path, sha256: str) -> None:
        with _told(key), atomic_file(Path(key)) as temporary:
            shutil.copyfile(source, temporary)
            if file_digest(temporary) != sha256:
                raise StageFailed(f"{source} changed while it was copied. Start the command again")

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = Path(key)
        with _told(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_folder(path.parent) as scratch:
                temporary = scratch / path.name
                temporary.write_bytes(data)
                sync(temporary)
                try:
                    path.hardlink_to(temporary)  # unlike a rename, it refuses an existing name
                except FileExistsError:
                    return False
            sync(path.parent)
        return True

    @contextlib.contextmanager
    def read(self, key: str, start: int) -> Iterator[tuple[str, Iterator[bytes]]]:
        with _told(key), Path(key).open("rb") as stream:
            stream.seek(start)
            yield _version(os.fstat(stream.fileno())), iter(lambda: stream.read(BLOCK), b"")

    def files(self, prefix: str) -> Iterator[Stored]:
        folder = Path(prefix)
        for path in folder.rglob("*"):
            if path.is_file() and not is_scratch(path.relative_to(folder)):
                yield Stored(path.relative_to(folder).as_posix(), path.stat().st_size)


@contextlib.contextmanager
def _told(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageFailed(f"{key}: {error.strerror or error}") from None


def _version(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
