"""The S3 side of `qure.storage`, on boto3; tested against moto and Ceph RGW.

Bytes are checked by the server as they arrive (Content-MD5 of every request), and SHA-256 of the whole travels as
metadata. boto3's own checksum headers stay off: older gateways refuse them.
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from qure.errors import BadInput, QureError, StageFailed
from qure.stores import BLOCK, Stored

#: Files up to this size go in one request; larger ones in parts of at least this size.
PART_BYTES = 32 << 20
MOST_PARTS = 10_000
#: How often a request is made whose answer is cut off.
ATTEMPTS = 4
#: Parts on the way at the same time; each is held in memory.
PARALLEL = 4
#: Keys in one answer to a listing; S3 gives no more.
LISTED_AT_ONCE = 1000
#: An upload in parts that nobody has completed for this long was killed.
STALE = timedelta(days=1)

_ERRORS = (ClientError, BotoCoreError, ResponseParserError)
_ABSENT = ("404", "NoSuchKey", "NotFound")
_TAKEN = ("412", "PreconditionFailed")
_CONFLICT = ("409", "ConditionalRequestConflict", "OperationAborted")
_CREDENTIALS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId")
_REFUSED = ("403", "AccessDenied", "AllAccessDisabled")
_REMEDY = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role, for this storage"


class S3Store:
    """s3://bucket: keys are object keys.

    Raises (all methods):
        BadInput: credentials, bucket or rights are wrong.
        StageFailed: the endpoint cannot be reached, or fails.
    """

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self._client = _client()

    def stat(self, key: str) -> Stored | None:
        try:
            answer = self._asked("head_object", key, "ContentLength", "ETag", "Metadata")
            if "sha256" not in answer["Metadata"]:  # stored by others, or cut off: the next answer tells
                answer = self._asked("head_object", key, "ContentLength", "ETag", "Metadata")
        except _ERRORS as error:
            if _code(error) not in _ABSENT:
                raise self._explained(error, key) from None
            self._require_bucket()  # an answer to HEAD has no body that could tell what is missing
            return None
        return Stored(key, answer["ContentLength"], answer["Metadata"].get("sha256"), answer["ETag"])

    def put(self, key: str, source: Path, sha256: str) -> None:
        try:
            with source.open("rb") as stream:
                if source.stat().st_size > PART_BYTES:
                    self._put_in_parts(key, stream, source, sha256)
                    return
                data = stream.read()
            _require_digest(hashlib.sha256(data).hexdigest(), sha256, source)
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=data, ContentMD5=_md5(data), Metadata={"sha256": sha256}
            )
        except _ERRORS as error:
            raise self._explained(error, key) from None

    def put_if_absent(self, key: str, data: bytes) -> bool:
        metadata = {"sha256": hashlib.sha256(data).hexdigest()}
        while True:
            try:
                self._client.put_object(
                    Bucket=self.bucket, Key=key, Body=data, ContentMD5=_md5(data), Metadata=metadata, IfNoneMatch="*"
                )
                return True
            except _ERRORS as error:
                if _code(error) in _TAKEN:
                    return False
                if _code(error) not in _CONFLICT:  # two conditional writes met, and S3 asks to try again
                    raise self._explained(error, key) from None

    @contextlib.contextmanager
    def read(self, key: str, start: int) -> Iterator[tuple[str, Iterator[bytes]]]:
        try:
            wanted = {"Range": f"bytes={start}-"} if start else {}
            answer = self._asked("get_object", key, "ETag", **wanted)
        except _ERRORS as error:
            raise self._explained(error, key) from None
        with contextlib.closing(answer["Body"]) as body:
            yield answer["ETag"], _blocks(body)

    def files(self, prefix: str) -> Iterator[Stored]:
        paginator = self._client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": LISTED_AT_ONCE})
        try:
            for page in pages:
                for entry in page.get("Contents", []):
                    yield Stored(entry["Key"].removeprefix(prefix), entry["Size"])
        except _ERRORS as error:
            raise self._explained(error, prefix) from None

    def _put_in_parts(self, key: str, stream: IO[bytes], source: Path, sha256: str) -> None:
        """All parts arrive and are put together, or nothing stays."""
        self._abort_stale(key)
        target = {"Bucket": self.bucket, "Key": key}
        upload = self._client.create_multipart_upload(**target, Metadata={"sha256": sha256})["UploadId"]
        try:
            parts = self._send_parts(target | {"UploadId": upload}, stream, source, sha256)
            self._client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(Exception):  # the error that led here is the one to tell
                self._client.abort_multipart_upload(**target, UploadId=upload)
            raise

    def _send_parts(self, target: dict[str, str], stream: IO[bytes], source: Path, sha256: str) -> list[dict[str, Any]]:
        size = max(PART_BYTES, -(-source.stat().st_size // MOST_PARTS))
        digest = hashlib.sha256()
        sent: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(PARALLEL) as pool:
            for number, data in enumerate(iter(lambda: stream.read(size), b""), start=1):
                digest.update(data)
                if number > PARALLEL:
                    sent[number - PARALLEL - 1].result()
                sent.append(pool.submit(self._send_part, target, number, data))
            parts = [part.result() for part in sent]
        _require_digest(digest.hexdigest(), sha256, source)
        return parts

    def _send_part(self, target: dict[str, str], number: int, data: bytes) -> dict[str, Any]:
        key, upload = target["Key"], target["UploadId"]
        answer = self._asked(
            "upload_part", key, "ETag", UploadId=upload, PartNumber=number, Body=data, ContentMD5=_md5(data)
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _asked(self, request: str, key: str, *needed: str, **arguments: Any) -> dict[str, Any]:
        """An answer that has what is needed.

        A connection that breaks off among the headers is no error to Python's HTTP client: it takes those that have
        come. Such an answer, or one whose body makes no sense, is asked for again; all these requests may be repeated.
        """
        for _ in range(ATTEMPTS):
            try:
                answer = getattr(self._client, request)(Bucket=self.bucket, Key=key, **arguments)
            except ResponseParserError:
                continue
            if all(name in answer for name in needed):
                return dict(answer)
            if "Body" in answer:
                answer["Body"].close()
        raise StageFailed(
            f"s3://{self.bucket}/{key}: the connection breaks off within the answer's headers, {ATTEMPTS} times now. "
            "Check AWS_ENDPOINT_URL, what lies between (a proxy?) and the network, then start the command again"
        )

    def _abort_stale(self, key: str) -> None:
        """Parts of a killed upload cost money and are seen by nobody; those of a running one are younger."""
        with contextlib.suppress(*_ERRORS):  # a user may be allowed to write and not to list
            found = self._client.list_multipart_uploads(Bucket=self.bucket, Prefix=key).get("Uploads", [])
            for upload in found:
                if upload["Key"] == key and upload["Initiated"] < datetime.now(UTC) - STALE:
                    self._client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"])

    def _require_bucket(self) -> None:
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except _ERRORS as error:
            if _code(error) in _REFUSED:
                return  # reading objects does not need the right to look at the bucket
            raise self._explained(error, "") from None

    def _explained(self, error: Exception, key: str) -> QureError:
        """The error as a person can act on it; no S3 answer holds a secret, its first line is quoted."""
        place, code = f"s3://{self.bucket}/{key}".rstrip("/"), _code(error)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return BadInput(f"no credentials for {place}", remedy=_REMEDY)
        if code in _CREDENTIALS:
            return BadInput(f"the credentials for {place} are refused: {code}", remedy=_REMEDY)
        if code in _REFUSED:
            return BadInput(f"no right to do this on {place}: {code}", remedy=f"Ask for the right, or: {_REMEDY}")
        if code == "NoSuchBucket" or (code in _ABSENT and not key):
            return BadInput(
                f"there is no bucket {self.bucket!r}", remedy="Check AWS_ENDPOINT_URL and the bucket's name"
            )
        if code in _ABSENT:
            return BadInput(f"nothing is stored at {place!r}", remedy="Check bucket and key, or upload it first")
        message = (str(error).splitlines() or [type(error).__name__])[0]
        return StageFailed(f"{place}: {message}. Check AWS_ENDPOINT_URL and the network, then start the command again")


def _client() -> Any:
    """A boto3 client as the environment configures it; buckets are part of the path where an endpoint is set."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=2 * PARALLEL,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint else "auto"},
    )
    session = boto3.session.Session()
    try:
        return session.client("s3", config=config, region_name=session.region_name or "us-east-1")
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"S3 is not set up right: {error}", remedy="Check AWS_PROFILE and AWS_ENDPOINT_URL") from None


def _blocks(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(BLOCK)
    except (BotoCoreError, HTTPError, OSError) as error:
        raise ConnectionError(str(error)) from error


def _code(error: Exception) -> str:
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _require_digest(found: str, expected: str, source: Path) -> None:
    if found != expected:
        raise StageFailed(f"{source} changed while it was uploaded. Start the command again")
