"""The contract as it is served."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any

import pytest

from shared.api.native import contract
from shared.errors import Unauthenticated
from shared.settings import Settings
from tests.parts.cases import cases
from tests.unit.api.conftest import content, request


def app(**settings: Any) -> Any:
    return SimpleNamespace(settings=Settings(**settings))


def test_the_contract_is_served_as_the_file_has_it() -> None:
    response = contract.get_openapi(request(), app())
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.body == contract.FILE.read_bytes()
    assert content(response)["openapi"] == "3.1.0"


def test_who_has_it_gets_no_second_copy() -> None:
    etag = contract.get_openapi(request(), app()).headers["etag"]
    again = contract.get_openapi(request(headers={"If-None-Match": etag}), app())
    assert (again.status_code, again.body, again.headers["etag"]) == (304, b"", etag)
    assert again.headers["cache-control"] == "no-cache"


def test_it_is_for_those_who_may_call() -> None:
    with pytest.raises(Unauthenticated):
        contract.get_openapi(request(), app(auth="appservice", auth_enabled=True))


# --- compressed ---


@cases(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("GZIP ; q=0.5, br", "gzip"),
        ("deflate, gzip;q=1.0, *;q=0.5", "gzip"),
        ("br, *", "gzip"),
        ("*;q=0.001", "gzip"),
        ("", "identity"),
        ("identity", "identity"),
        ("br, deflate, xgzip", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0.000, *", "identity"),
        ("*;q=0", "identity"),
        ("gzip;q=", "identity"),
        ("gzip;q=nan", "identity"),
        ("gzip;q=2", "identity"),
        ("gzip;q=-1", "identity"),
        ("identity;q=0", "identity"),
    ],
)
def test_it_is_compressed_for_who_accepts_that(accepted: str, coding: str) -> None:
    response = contract.get_openapi(request(headers={"Accept-Encoding": accepted}), app())
    assert response.headers.get("content-encoding", "identity") == coding
    body = gzip.decompress(response.body) if coding == "gzip" else response.body
    assert body == contract.FILE.read_bytes()
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["vary"] == "Accept-Encoding"


def test_compressed_it_is_a_small_part_of_itself() -> None:
    response = contract.get_openapi(request(headers={"Accept-Encoding": "gzip"}), app())
    assert len(response.body) * 5 < contract.FILE.stat().st_size


def test_a_tag_is_of_one_coding_alone() -> None:
    tags = {
        coding: contract.get_openapi(request(headers={"Accept-Encoding": coding}), app()).headers["etag"]
        for coding in ("gzip", "identity")
    }
    assert len(set(tags.values())) == 2
    for accepted in tags:
        for known, tag in tags.items():
            headers = {"Accept-Encoding": accepted, "If-None-Match": tag}
            again = contract.get_openapi(request(headers=headers), app())
            assert again.status_code == (304 if known == accepted else 200)
            # A cache that has both keeps them apart by these two, also when it is told that nothing has changed.
            assert (again.headers["etag"], again.headers["vary"]) == (tags[accepted], "Accept-Encoding")
            assert ("content-encoding" in again.headers) == (accepted == "gzip" and again.status_code == 200)
