"""What every answer has in common, whatever becomes of the request."""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest

from shared.api.http import EXPOSED, answered, json_response
from shared.errors import RunNotFound
from shared.runs.ports import log
from shared.runs.store.tables import Conflict, StoreUnavailable
from tests.unit.api.conftest import content, request


async def answer(outcome: Any = None, *, method: str = "GET", headers: dict[str, str] | None = None) -> Any:
    """The answer of a handler that returns ``outcome``, or raises it."""

    @answered
    async def handler(req: Any) -> Any:
        log.warning("half of %s", "it")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    req = request(headers=headers)
    req.scope["method"] = method
    return await handler(req=req)


OUTCOMES = [
    pytest.param(lambda: json_response({"a": 1}), id="200"),
    pytest.param(RunNotFound, id="404"),
    pytest.param(lambda: StoreUnavailable("gone"), id="503"),
    pytest.param(lambda: RuntimeError("what"), id="500"),
]


@pytest.mark.parametrize("make", OUTCOMES)
async def test_every_answer_names_its_request_and_what_pages_may_read(make: Any) -> None:
    response = await answer(make(), headers={"X-Request-Id": "req-1:a/b=+@._"})
    assert response.headers["x-request-id"] == "req-1:a/b=+@._"
    assert response.headers["access-control-expose-headers"] == EXPOSED


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "é", "a\tb", "%s", '"a"', "<a>", "a,b"])
async def test_an_id_that_is_not_fit_for_headers_and_logs_is_replaced(given: str | None) -> None:
    ids = set()
    for _ in range(2):
        response = await answer(json_response({}), headers={} if given is None else {"x-request-id": given})
        ids.add(response.headers["x-request-id"])
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)


async def test_the_lines_of_a_request_name_it_and_no_others_do(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dormouse"):
        await answer(RuntimeError("what"), headers={"x-request-id": "r1"})
        log.info("later")
    first, second, third = caplog.records
    assert first.getMessage() == "half of it (request r1)"
    assert second.exc_info is not None
    assert [getattr(each, "request_id", None) for each in (first, second, third)] == ["r1", "r1", None]
    assert third.getMessage() == "later"


@pytest.mark.parametrize("make", OUTCOMES)
async def test_head_has_the_headers_of_get_and_no_body(make: Any) -> None:
    given = {"x-request-id": "r1"}
    got, head = await answer(make(), headers=given), await answer(make(), method="HEAD", headers=given)
    assert (head.status_code, head.body) == (got.status_code, b"")
    assert dict(head.headers) == dict(got.headers)
    assert int(head.headers["content-length"]) == len(got.body) > 0


@pytest.mark.parametrize("error", [StoreUnavailable("account secret"), Conflict("row", "secret")])
async def test_a_store_that_is_away_is_503_with_a_retry_after(error: Exception) -> None:
    response = await answer(error)
    assert (response.status_code, content(response)["code"]) == (503, "storage_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert b"secret" not in response.body


async def test_the_unexpected_is_500_without_internals() -> None:
    response = await answer(RuntimeError("secret at line 3"))
    assert (response.status_code, content(response)["code"]) == (500, "internal_error")
    assert not re.search(b"secret|RuntimeError", response.body)


def test_the_worker_sees_the_handlers_own_parameters() -> None:
    @answered
    async def handler(req: Any, client: str) -> Any:
        """Bound by name."""

    assert list(inspect.signature(handler).parameters) == ["req", "client"]
