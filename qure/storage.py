"""Files and folders at s3:// and file:// addresses, as local paths for as long as they are read.

boto3 does the transfers: in ranges side by side, each asked for again when the connection breaks, all of one version
of the object (its ETag), checked against the checksum that was stored with it. Credentials and endpoint come from the
environment as boto3 reads them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_DEFAULT_REGION (boto3
does not look at AWS_REGION), profiles, roles.
"""

import contextlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath
from typing import Any

from qure.errors import BadInput, StageFailed
from qure.scratch import temporary_folder

_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId")
_REFUSED = ("401", "403", "AccessDenied", "AllAccessDisabled", *_CREDENTIALS)
#: S3 refuses a request whose time differs by more from its own.
_CLOCKS_MAY_DIFFER = timedelta(minutes=15)
_CLOCK = re.compile(r"RequestTimeTooSkewed|difference between the request time and the", re.IGNORECASE)
_ABSENT = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")


@contextlib.contextmanager
def stored_file(uri: str) -> Iterator[Path]:
    """The file at `uri` as a local one; a copy of what is on S3 lasts as long as the context.

    Raises:
        BadInput: nothing is stored there; address, credentials, bucket or rights are wrong.
        StageFailed: the storage cannot be reached, or what came is not what was stored.
    """
    bucket, key = _place(uri)
    with _local_or_scratch(bucket, key) as file:
        if bucket:
            file /= PurePosixPath(key).name
            with _explained(uri):
                client = _client()
                _download(client, bucket, key, file, client.head_object(Bucket=bucket, Key=key)["ContentLength"])
        if not file.is_file():
            raise _absent(uri)
        yield file


@contextlib.contextmanager
def stored_folder(uri: str) -> Iterator[Path]:
    """Everything below `uri` as a local folder; a copy of what is on S3 lasts as long as the context.

    Raises:
        BadInput, StageFailed: as `stored_file`; BadInput too for a key that would leave the folder.
    """
    bucket, key = _place(uri)
    with _local_or_scratch(bucket, key) as folder:
        if bucket:
            with _explained(uri):
                _download_below(bucket, f"{key}/" if key else "", folder, uri)
        if not folder.is_dir() or not any(folder.iterdir()):
            raise _absent(uri)
        yield folder


def _place(uri: str) -> tuple[str, str]:
    """Bucket and key, or "" and a local path."""
    # Not urlsplit: "?" and "#" are ordinary characters of a key and of a file's name.
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if "@" in host:
        raise BadInput("a storage URI holds no credentials", remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if scheme.lower() == "s3" and re.fullmatch(r"[\w.-]+", host):
        return host, path.rstrip("/")  # a key may begin with a slash
    if scheme.lower() == "file" and host.lower() in ("", "localhost") and path.strip("/"):
        return "", "/" + urllib.parse.unquote(path).strip("/")
    raise BadInput(f"not a storage URI: {uri!r}", remedy="Use s3://bucket/key or file:///absolute/path")


@contextlib.contextmanager
def _local_or_scratch(bucket: str, key: str) -> Iterator[Path]:
    if not bucket:
        yield Path(key)
        return
    with temporary_folder() as folder:
        yield folder


def _download_below(bucket: str, prefix: str, folder: Path, uri: str) -> None:
    client = _client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for one in page["Contents"] if page["KeyCount"] else []:  # both lack in a listing that was cut off
            name = one["Key"].removeprefix(prefix)
            if name.endswith("/") or not name:  # what consoles make for an empty folder
                continue
            if name.startswith("/") or ".." in PurePosixPath(name).parts or not name.isprintable():
                raise BadInput(f"a file named {name!r} would be written outside the folder", file=uri)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _download(client, bucket, one["Key"], folder / name, one["Size"])


def _download(client: Any, bucket: str, key: str, file: Path, size: int) -> None:
    client.download_file(bucket, key, str(file))
    # An answer that is cut off among its headers tells no length, and Python's HTTP client takes it for whole.
    if (found := file.stat().st_size) != size:
        raise StageFailed(f"s3://{bucket}/{key}: {found} of {size} bytes came. Start the command again")


def _client() -> Any:
    """A boto3 client as the environment configures it; buckets are part of the path where an endpoint is set."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise BadInput(f"s3:// needs boto3: {error}", remedy="Install it with: pip install 'qure[s3]'") from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=10,
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    session = boto3.session.Session()
    return session.client("s3", config=config, region_name=session.region_name or "us-east-1")


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Errors as a person can act on them; no answer of S3 holds a secret, its first line is quoted."""
    try:
        yield
    except Exception as error:
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
        said = (str(error).splitlines() or [type(error).__name__])[0]
        if code in _ABSENT:
            raise _absent(uri) from None
        if _CLOCK.search(f"{code} {said}") or _clocks_differ(error):
            remedy = "Set this machine's clock (timedatectl set-ntp true), or the server's, and start the command again"
            raise StageFailed(
                f"{uri}: the clocks of this machine and of the storage differ too much. {remedy}"
            ) from None
        if code in _REFUSED or type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, that may read this"
            raise BadInput(f"{uri} may not be read: {said}", remedy=remedy) from None
        cut_off = isinstance(error, KeyError)  # a field that every answer has, were its headers whole
        if not cut_off and type(error).__module__.partition(".")[0] not in ("boto3", "botocore", "s3transfer"):
            raise
        said = f"an answer without {said}" if cut_off else said
        raise StageFailed(
            f"{uri}: {said}. Check AWS_ENDPOINT_URL and the network, then start the command again"
        ) from None


def _clocks_differ(error: Exception) -> bool:
    """Whether a request was refused, without a word (HEAD), by a server whose clock shows another time."""
    told = getattr(error, "response", {}).get("ResponseMetadata", {})
    if told.get("HTTPStatusCode") not in (400, 403):
        return False
    try:
        there = parsedate_to_datetime(told.get("HTTPHeaders", {}).get("date", ""))
    except ValueError:
        return False
    return abs(there - datetime.now(UTC)) > _CLOCKS_MAY_DIFFER


def _absent(uri: str) -> BadInput:
    remedy = "Check AWS_ENDPOINT_URL, bucket and key" if uri.lower().startswith("s3:") else "Check the path"
    return BadInput(f"nothing is stored at {uri!r}", remedy=remedy)
