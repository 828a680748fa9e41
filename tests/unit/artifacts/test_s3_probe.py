"""A service that ignores conditions is refused before anything is trusted to it."""

from __future__ import annotations

from typing import Any

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.s3_client import client
from memo_ray.artifacts.s3_probe import check_conditions
from memo_ray.errors import StoreError
from memo_ray.preflight import bucket as look


def ignore(header: str) -> None:
    """Take a condition off every request, as it comes to a service that does not know it."""

    def drop(request: Any, **_: Any) -> None:
        del request.headers[header]

    client().meta.events.register("before-sign.s3.PutObject", drop, unique_id=header)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_service_that_ignores_a_condition_is_refused(bucket: str, header: str) -> None:
    check_conditions.cache_clear()
    place = open_place(f"{bucket}/run")
    ignore(header)
    try:
        with (
            pytest.raises(StoreError, match=rf"the service ignores {header}, .*; use a service with"),
            place.exclusive("the corpus"),
        ):
            pytest.fail("held what nobody guards")
        assert list(open_place(bucket).names()) == []
        found = look(f"{bucket}/run")
        assert (
            found.status == "fail"
            and found.found.startswith(f"{bucket}/run: the service ignores {header}")
            and found.remedy
        )
    finally:
        client().meta.events.unregister("before-sign.s3.PutObject", unique_id=header)


def test_a_service_that_honours_them_is_left_as_it_was(bucket: str) -> None:
    assert look(f"{bucket}/run").status == "ok"
    assert list(open_place(bucket).names()) == []


def test_a_bucket_that_is_not_there_is_named(s3_server: str) -> None:
    found = look("s3://no-such-bucket-here/run")
    assert (found.status, found.found) == ("fail", "s3://no-such-bucket-here/run: there is no such bucket")
