"""Whether a service honours conditional writes, tried before anything trusts them.

Records and leases rest on If-None-Match and If-Match. Some services with S3's API ignore what they do not know: two
drivers would then write over each other in silence.
"""

from __future__ import annotations

import uuid
from functools import cache

from botocore.exceptions import ClientError

from memo_ray.artifacts.s3_client import CONDITION, client, code_of, told
from memo_ray.errors import StoreError


@cache
def check_conditions(bucket: str, prefix: str, url: str) -> None:
    """Raise StoreError when the service of `bucket` ignores a condition; looked at once a process.

    One object below `prefix` is written and removed again.
    """
    key = f"{prefix}probe-{uuid.uuid4().hex}"
    with told(url):
        try:
            client().put_object(Bucket=bucket, Key=key, Body=b"", IfNoneMatch="*")
            for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"0123456789abcdef0123456789abcdef"'}):
                if not _refused(bucket, key, condition):
                    name = {"IfNoneMatch": "If-None-Match", "IfMatch": "If-Match"}[next(iter(condition))]
                    raise StoreError(
                        f"{url}: the service ignores {name}, so two writers would destroy each other's work; use a "
                        "service with conditional writes (a newer version may have them), or a folder as `root:`"
                    )
        finally:
            client().delete_object(Bucket=bucket, Key=key)


def _refused(bucket: str, key: str, condition: dict[str, str]) -> bool:
    try:
        client().put_object(Bucket=bucket, Key=key, Body=b"again", **condition)
    except ClientError as error:
        if code_of(error) in CONDITION:
            return True
        raise
    return False
