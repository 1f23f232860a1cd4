"""Errors on the wire: a stable code, a sentence that says what to do, and nothing of the inside."""

from __future__ import annotations

import re

import pytest

from shared import errors
from shared.api.problems import problem
from shared.errors import DormouseError
from tests.unit.api.conftest import content

ALL = [DormouseError, *DormouseError.__subclasses__()]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_every_error_has_a_code_a_status_and_a_sentence(kind: type[DormouseError]) -> None:
    response = problem(kind())
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


def test_text_that_has_no_utf8_does_not_break_the_answer() -> None:
    response = problem(errors.InvalidRequest("half a pair: \ud800", errors=[{"field": "\udfff"}]))
    assert content(response)["detail"] == "half a pair: ?"


def test_what_is_not_known_is_left_out() -> None:
    assert "active_run" not in content(problem(errors.SessionBusy(session_id="s", active_run=None)))
