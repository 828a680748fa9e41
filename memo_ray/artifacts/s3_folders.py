"""Folders on S3 by their address alone: those of artefacts and places, and what somebody else put there."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

from memo_ray.artifacts.cache import cache_folder, locked
from memo_ray.artifacts.place import REMOTE, RemoteFile
from memo_ray.artifacts.record import FileEntry, read_record
from memo_ray.artifacts.s3 import LISTED, S3Place
from memo_ray.artifacts.s3_client import client, told
from memo_ray.errors import StoreError


def download_folder(url: str) -> Path:
    """The folder at `url` on this machine: of an artefact, of a place, or what somebody else put there.

    Raises StoreError when an artefact is not finished, or there is nothing.
    """
    url = url.rstrip("/")
    home, attempts, below = url.partition("/attempts/")
    if attempts:
        attempt, _, folder = below.partition("/")
        content = S3Place(home).get("artifact.json")
        if content is None:
            raise StoreError(f"{home}: is no finished artefact")
        record = read_record(content, f"{home}/artifact.json")
        files = [entry for entry in record.files if entry.path.startswith(f"{folder}/")]
        return S3Place(f"{home}/attempts/{attempt}").fetch(files) / folder
    listed = _stored(url)
    return mirror(url) if listed is None else S3Place(url).fetch(listed)


def drop_folder(url: str) -> None:
    """Remove this machine's copy of the stored folder at `url`; anything else is left as it is."""
    listed = _stored(url)
    if listed is not None:
        copy = S3Place(url).cached(listed)
        with locked(copy.with_suffix(".lock")):
            shutil.rmtree(copy, ignore_errors=True)


def _stored(url: str) -> list[FileEntry] | None:
    """The files of a place's stored folder; None when the folder is none, or is not complete."""
    parent, _, name = url.rpartition("/")
    listed = S3Place(parent).get(name + LISTED) if parent != "s3:/" else None
    return None if listed is None else [FileEntry(**entry) for entry in json.loads(listed)]


def mirror(url: str) -> Path:
    """Somebody else's object at `url`, or those below it, in this machine's cache: each of its contents once.

    Raises StoreError when there is nothing.
    """
    objects = list_objects(url)
    if not objects:
        raise StoreError(f"{url}: there is nothing; correct the address")
    alone = [one.url for one in objects] == [url]
    root = url.rpartition("/")[0] if alone else url
    name = json.dumps([url, [(one.url, one.tag) for one in objects]])
    folder = cache_folder() / "s3" / sha256(name.encode()).hexdigest()[:32]
    entries = [FileEntry(path=one.url[len(root) + 1 :], bytes=one.bytes, sha256="") for one in objects]
    S3Place(root).download(entries, folder)
    return folder / entries[0].path if alone else folder


def list_objects(url: str) -> list[RemoteFile]:
    """The object at `url`, or all below it when there is none."""
    place = S3Place(url)
    found = []
    with told(url):
        prefix = place.key("").rstrip("/")
        pages = client().get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix)
        for item in (item for page in pages for item in page.get("Contents", ())):
            address = f"{REMOTE}{place.bucket}/{item['Key']}"
            if address == place.url:
                return [RemoteFile(address, item["Size"], item["ETag"].strip('"'))]
            if address.startswith(f"{place.url}/") and not address.endswith("/"):
                found.append(RemoteFile(address, item["Size"], item["ETag"].strip('"')))
    return found
