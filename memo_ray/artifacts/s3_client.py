"""This process's S3 client, its transfers, and what S3 says when something is wrong, as one line with its remedy.

Credentials, region and endpoint come from the environment as boto3 reads them (AWS_PROFILE, AWS_ENDPOINT_URL, roles);
they are in no config, log or record.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3.session
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError, S3UploadFailedError
from s3transfer.manager import TransferManager

from memo_ray.errors import StoreError

if TYPE_CHECKING:
    import pyarrow.fs

MIB = 2**20
PART_BYTES = 8 * MIB
PARTS_AT_ONCE = 16
"""Parts under way together over all files, since a service limits what one connection gets. Each takes memory: a
process with 16 was seen at 203 MiB, one with 24 at 231."""

WRITES_WAITING = 32
"""Stretches of a MiB that have come and are not yet written."""

CONNECTIONS = 32
"""Connections kept open: those of the transfers, and of small requests beside them."""

TRIES = 8
"""Further tries of a request, after pauses that double: about a minute and a half, so half a minute ends nothing."""
SILENT_TRIES = 3
"""Tries of a request before a person is told: two or three seconds."""


class Waiting:
    """Says once that requests are tried again, since the whole of it may take a minute and a half."""

    def __init__(self) -> None:
        self._said = False

    def look(self, attempts: int, caught_exception: Exception | None, **_: Any) -> None:
        """Called by botocore after every attempt."""
        if caught_exception is not None and attempts == SILENT_TRIES and not self._said:
            self._said = True
            print(
                f"waiting for S3 ({type(caught_exception).__name__}); trying for a minute and a half", file=sys.stderr
            )


@lru_cache
def _client(process: int) -> Any:
    config = Config(
        # Not `standard`, whose quota ends many requests at once after a second of an outage.
        retries={"mode": "legacy", "max_attempts": TRIES},
        max_pool_connections=CONNECTIONS,
        connect_timeout=10,
        read_timeout=60,
        # Services other than AWS rarely have a name for each bucket.
        s3={"addressing_style": "path" if endpoint() else "auto"},
    )
    try:
        made = boto3.session.Session().client("s3", config=config)
    except ValueError:  # how botocore refuses an endpoint that is no URL
        raise StoreError("AWS_ENDPOINT_URL: is no address; write http://HOST:PORT or https://HOST") from None
    made.meta.events.register("needs-retry.s3", Waiting().look)
    return made


def client() -> Any:
    """This process's client; a forked child gets its own."""
    return _client(os.getpid())


def endpoint() -> str | None:
    """The address of a service other than AWS, as boto3 reads it from the environment."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def arrow_filesystem() -> pyarrow.fs.S3FileSystem:
    """Arrow's own client of the same service."""
    import pyarrow.fs

    # boto3 may have the address from a profile, which Arrow does not read.
    known, region = client().meta.endpoint_url, client().meta.region_name
    address = endpoint() or (None if "amazonaws.com" in known else known)
    options: dict[str, Any] = {"region": region} if region and region != "aws-global" else {}
    if address:
        scheme, _, host = address.partition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme}
    return pyarrow.fs.S3FileSystem(**options)


@contextmanager
def transfers() -> Iterator[TransferManager]:
    """Moves many files in many parts at once; the block ends when all of them are done, or cancels the rest."""
    config = TransferConfig(
        multipart_threshold=PART_BYTES,
        multipart_chunksize=PART_BYTES,
        max_concurrency=PARTS_AT_ONCE,
        max_io_queue=WRITES_WAITING,
        io_chunksize=MIB,
    )
    with TransferManager(client(), config) as manager:
        yield manager


ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
CONDITION = frozenset({"412", "PreconditionFailed"})
"""Somebody else's object is there."""
CONFLICT = frozenset({"409", "ConditionalRequestConflict"})
"""Another request for the same object is under way; S3 asks to repeat this one."""
NAMELESS = frozenset({"301", "400", "403"})
"""What a reply without a body leaves of the reason."""

RIGHTS = (
    "these credentials may not do this; they need s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload and "
    "ListBucket"
)
REMEDIES = {
    "InvalidAccessKeyId": "the access key is not known; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "the session token is wrong; check AWS_SESSION_TOKEN",
    "ExpiredToken": "the credentials have expired; renew them and run the command again, it resumes",
    "ExpiredTokenException": "the credentials have expired; renew them and run the command again, it resumes",
    "TokenRefreshRequired": "the credentials have expired; renew them and run the command again, it resumes",
    "NoSuchBucket": "there is no such bucket; create it, or correct the name",
    "PermanentRedirect": "the bucket is in another region; set AWS_REGION",
    "AccessDenied": RIGHTS,
    "403": RIGHTS,
    "AllAccessDisabled": "the bucket is disabled; use another one",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it (NTP) and run the command again, it resumes",
    "RequestExpired": "this machine's clock is wrong; set it (NTP) and run the command again, it resumes",
    "SlowDown": "the service is overloaded; run the command again later, it resumes",
    "AuthorizationHeaderMalformed": "the bucket is in another region; set AWS_REGION",
    "NotImplemented": "the service lacks a part of S3's API that memo-ray needs (conditional writes)",
}
"""S3's error code → what is wrong and what helps."""

CAUSES = {
    "NoCredentialsError": "there are no credentials; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "the credentials are incomplete; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "ProfileNotFound": "there is no such profile; correct AWS_PROFILE",
    "EndpointConnectionError": "the service cannot be reached; check the network, AWS_REGION and AWS_ENDPOINT_URL",
    "ConnectTimeoutError": "the service cannot be reached; check the network, AWS_REGION and AWS_ENDPOINT_URL",
    "ConnectionClosedError": "the service closed the connection; run the command again, it resumes",
    "ResponseStreamingError": "the service broke off; run the command again, it resumes",
    "IncompleteReadError": "the service broke off; run the command again, it resumes",
    "ReadTimeoutError": "the service does not answer; run the command again, it resumes",
    "ParamValidationError": "this is no valid bucket name or key; write s3://bucket/prefix",
    "SSLError": "the service does not speak TLS as it is asked to; check http:// or https:// in AWS_ENDPOINT_URL",
    "ProxyConnectionError": "the proxy cannot be reached; check HTTPS_PROXY and NO_PROXY",
    "InvalidRegionError": "this is no valid region; correct AWS_REGION",
}
"""botocore's exception → what is wrong and what helps."""


def code_of(error: ClientError) -> str:
    """S3's error code, or the HTTP status where a reply has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turn what S3 refuses into a StoreError of one line that names `url`. Nothing of a request is quoted."""
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        if code in NAMELESS:
            code = _reason(url) or code
        raise StoreError(f"{url}: {REMEDIES.get(code, f'S3 refuses this ({code}); see the service')}") from error
    except BotoCoreError as error:
        name = type(error).__name__
        raise StoreError(f"{url}: {CAUSES.get(name, f'S3 cannot be used ({name}); see the service')}") from error
    except (S3UploadFailedError, S3DownloadFailedError, RetriesExceededError) as error:
        raise StoreError(
            f"{url}: the transfer failed ({_first_line(error)}); run the command again, it resumes"
        ) from error


OF_ARROW = re.compile(
    r"AWS Error ([A-Z_]+)(?: \(HTTP status (\d+)\))? during(?:.*Unable to parse ExceptionName: (\w+))?"
)
"""What Arrow's own client puts into an OSError: a name of its own for the code, or the status, and the code itself."""


@contextmanager
def told_of_arrow(url: str) -> Iterator[None]:
    """The same of what S3 has refused to Arrow, in this process or in one of Ray's."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        found = OF_ARROW.search(str(error))
        if found is None:
            raise
        name, status, unknown = found.groups()
        if name == "NETWORK_CONNECTION":
            raise StoreError(f"{url}: {CAUSES['EndpointConnectionError']}") from error
        code = unknown or status or name.title().replace("_", "")
        if code in NAMELESS or code == "AccessDenied":  # which Arrow also says of a reply without a body
            code = _reason(url) or code
        raise StoreError(f"{url}: {REMEDIES.get(code, f'S3 refuses this ({code}); see the service')}") from error


def _reason(url: str) -> str:
    """The code of a request with a body to the same bucket: HEAD has none that could say what is wrong."""
    bucket = url.removeprefix("s3://").partition("/")[0]
    try:
        client().list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        return code_of(error)
    except BotoCoreError:
        return ""
    return ""


def _first_line(error: Any) -> str:
    return str(error).strip().splitlines()[0][:200]
