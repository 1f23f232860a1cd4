"""What a caller may ask of an answer besides its content."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response

from shared.api.http import not_modified, wait_of_preference, wait_of_query
from shared.errors import InvalidRequest


def request(headers: list[tuple[str, str]] | None = None, **query: str) -> Any:
    raw = [(name.encode(), value.encode()) for name, value in headers or []]
    return SimpleNamespace(headers=Headers(raw=raw), query_params=query)


@pytest.mark.parametrize(("given", "seconds"), [(None, 0.0), ("0", 0.0), ("7", 7.0), ("30", 30.0), ("0030", 30.0)])
def test_a_long_poll_waits_up_to_thirty_seconds(given: str | None, seconds: float) -> None:
    assert wait_of_query(request(**({} if given is None else {"wait": given}))) == seconds


@pytest.mark.parametrize("given", ["31", "-1", "1.5", "", "x", "²", "99999"])
def test_another_wait_is_refused(given: str) -> None:
    with pytest.raises(InvalidRequest):
        wait_of_query(request(wait=given))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([("prefer", "respond-async")], None),
        ([("prefer", "respond-async, wait=10")], 10),
        ([("prefer", "wait=10; foo=bar")], 10),
        ([("prefer", "Wait = 10")], 10),
        ([("prefer", 'wait="10"')], 10),
        ([("prefer", "respond-async"), ("prefer", "wait=5")], 5),
        ([("prefer", "wait=600")], 30),
        ([("prefer", "wait=soon")], None),
        ([("prefer", "await=10")], None),
    ],
)
def test_a_preference_to_wait_is_bounded_and_a_strange_one_passed_over(
    headers: list[tuple[str, str]], seconds: int | None
) -> None:
    assert wait_of_preference(request(headers)) == seconds


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ('"abc"', 304),
        ('W/"abc"', 304),
        ('"x", "abc"', 304),
        ("*", 304),
        ('"x"', 200),
        ("abc", 200),
        ("", 200),
    ],
)
def test_what_the_caller_has_is_not_sent_again(known: str, status: int) -> None:
    response = Response(b"body", headers={"ETag": '"abc"', "Retry-After": "3"}, media_type="application/json")
    answer = not_modified(request([("if-none-match", known)]), response)
    assert answer.status_code == status
    assert answer.headers["etag"] == '"abc"'
    assert answer.headers["retry-after"] == "3"
    assert answer.body == (b"" if status == 304 else b"body")


def test_what_the_caller_has_may_be_said_on_several_lines() -> None:
    asked = request([("if-none-match", '"x"'), ("if-none-match", '"abc"')])
    assert not_modified(asked, Response(b"body", headers={"ETag": '"abc"'})).status_code == 304
