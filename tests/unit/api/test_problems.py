"""Errors on the wire: a stable code, a sentence that says what to do, and nothing of the inside."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared import errors
from shared.api.problems import answers_problems, problem
from shared.errors import DormouseError
from shared.runs.store.tables import Conflict, StoreUnavailable
from tests.unit.api.conftest import content

ALL = [DormouseError, *DormouseError.__subclasses__()]


async def answer(error: BaseException) -> Any:
    @answers_problems
    async def handler() -> Any:
        raise error

    return await handler()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
async def test_every_error_has_a_code_a_status_and_a_sentence(kind: type[DormouseError]) -> None:
    response = await answer(kind())
    body = content(response)
    assert response.status_code == body["status"] == kind.status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert body["code"] == kind.code
    assert body["type"] == f"urn:dormouse:{kind.code}"
    assert re.fullmatch(r"[A-Z`].+\.", body["detail"], re.DOTALL)


def test_codes_are_unique_and_stable_in_form() -> None:
    codes = [kind.code for kind in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("error", [StoreUnavailable("account secret"), Conflict("row", "secret")])
async def test_a_store_that_is_away_is_503_with_a_retry_after(error: Exception) -> None:
    response = await answer(error)
    assert (response.status_code, content(response)["code"]) == (503, "storage_unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert "secret" not in json.dumps(content(response))


async def test_the_unexpected_is_500_without_internals() -> None:
    response = await answer(RuntimeError("secret at line 3"))
    body = content(response)
    assert (response.status_code, body["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert "RuntimeError" not in json.dumps(body)


def test_text_that_has_no_utf8_does_not_break_the_answer() -> None:
    response = problem(errors.InvalidRequest("half a pair: \ud800", errors=[{"field": "\udfff"}]))
    assert content(response)["detail"] == "half a pair: ?"


def test_what_is_not_known_is_left_out() -> None:
    assert "active_run" not in content(problem(errors.SessionBusy(session_id="s", active_run=None)))
