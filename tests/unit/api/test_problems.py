"""Errors on the wire: a stable code, a sentence that says what to do, and nothing of the inside."""

from __future__ import annotations

from shared import errors
from shared.api.http import problem
from shared.errors import DormouseError
from tests.unit.api.conftest import content


def test_an_error_is_rendered_with_its_code_its_status_and_its_sentence() -> None:
    for kind in (DormouseError, *DormouseError.__subclasses__()):
        response = problem(kind())
        body = content(response)
        assert response.status_code == body["status"] == kind.status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["cache-control"] == "no-store"
        assert (body["code"], body["type"]) == (kind.code, f"urn:dormouse:{kind.code}")
        assert body["detail"] == kind().message


def test_text_that_has_no_utf8_does_not_break_the_answer() -> None:
    response = problem(errors.InvalidRequest("half a pair: \ud800", errors=[{"field": "\udfff"}]))
    assert content(response)["detail"] == "half a pair: ?"


def test_what_is_not_known_is_left_out() -> None:
    assert "active_run" not in content(problem(errors.SessionBusy(session_id="s", active_run=None)))
