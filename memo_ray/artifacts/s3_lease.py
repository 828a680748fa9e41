"""The lease of a place on S3: one object, held by conditional requests on its tag."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from memo_ray.artifacts.lease import LeaseStore
from memo_ray.artifacts.place import REMOTE
from memo_ray.artifacts.s3_client import ABSENT, CONDITION, CONFLICT, client, code_of, told
from memo_ray.artifacts.s3_probe import check_conditions


@dataclass(frozen=True)
class S3Lease(LeaseStore):
    """The object `key` of `bucket`; `url` is its place, for errors."""

    bucket: str
    key: str
    url: str

    def read(self) -> tuple[bytes, str, float] | None:
        """Content, tag, and its age in seconds by the server's own clock."""
        with told(self.url):
            try:
                found = client().get_object(Bucket=self.bucket, Key=self.key)
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
            now = _http_date(found["ResponseMetadata"]["HTTPHeaders"].get("date", ""))
            age = (now or time.time()) - found["LastModified"].timestamp()
            return found["Body"].read(), found["ETag"], max(0.0, age)

    def write(self, content: bytes, tag: str | None) -> str | None:
        """Write over the object with this tag (None: where there is none); its new tag, None when it is another's."""
        if tag is None:
            root = self.url.removeprefix(REMOTE).partition("/")[2].partition("/")[0]
            check_conditions(self.bucket, f"{root}/" if root else "", f"{REMOTE}{self.bucket}")
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with told(self.url):
            try:
                made = client().put_object(Bucket=self.bucket, Key=self.key, Body=content, **condition)
            except ClientError as error:
                if code_of(error) in CONDITION | CONFLICT | ABSENT:
                    return None
                raise
            return made["ETag"]

    def delete(self, tag: str) -> None:
        """Remove the object if it has `tag`: looked up first, since not every service deletes conditionally."""
        found = self.read()
        if found is not None and found[1] == tag:
            with told(self.url):
                client().delete_object(Bucket=self.bucket, Key=self.key)


def _http_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
