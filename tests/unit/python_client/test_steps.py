"""What is sent again, how long after, and what is raised."""

from __future__ import annotations

import pytest

from dormouse_client import errors
from dormouse_client._arguments import run_request
from dormouse_client._calls import body, nothing, page
from dormouse_client._steps import Reply, Request, call, is_outage, pause_after
from dormouse_client.errors import DormouseError, NetworkError, UnexpectedResponse, refusal
from tests.unit.python_client.parts import Server, lost, problem, reply

SUBMIT = run_request({"input": "x"}, None, wait=None, key=None)


def test_a_submit_is_repeated_with_the_same_key_until_it_is_answered() -> None:
    server = Server(
        [lost(), reply(503), problem(429, "too_many_active_runs", Retry_After="7"), reply(202, {"id": "r"})]
    )
    assert server.carry_out(body(dict, SUBMIT, server.rules)) == {"id": "r"}
    assert [each["Idempotency-Key"] for each in server.headers] == [SUBMIT.headers["Idempotency-Key"]] * 4
    assert server.pauses == [0.25, 0.5, 7.0]


def test_every_submit_has_a_key_of_its_own() -> None:
    assert run_request({}, None, wait=None, key=None).headers != run_request({}, None, wait=None, key=None).headers
    assert run_request({}, None, wait=None, key="mine").headers == {"Idempotency-Key": "mine"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_as_often_as_is_said(status: int) -> None:
    server = Server([reply(status)] * 4)
    with pytest.raises(DormouseError) as caught:
        server.carry_out(call(SUBMIT, server.rules_of(3)))
    assert (caught.value.status, len(server.requests), len(server.pauses)) == (status, 4, 3)


@pytest.mark.parametrize(
    "answer",
    [
        *(problem(status, "some_code") for status in (400, 401, 403, 404, 409, 410, 413, 415, 422)),
        reply(302, Location="https://elsewhere/"),
        problem(503, "misconfigured"),
        problem(429, "too_many_active_runs", Retry_After="3600"),
    ],
    ids=lambda answer: f"{answer.status}",
)
def test_what_will_not_pass_is_raised_at_once(answer: Reply) -> None:
    server = Server([answer])
    with pytest.raises(DormouseError):
        server.carry_out(call(SUBMIT, server.rules))
    assert server.pauses == []


def test_no_retries_are_none() -> None:
    server = Server([lost()])
    with pytest.raises(NetworkError):
        server.carry_out(call(SUBMIT, server.rules_of(0)))


def test_a_deletion_that_was_carried_out_by_the_try_before_is_done() -> None:
    delete = Request("DELETE", "/api/runs/run_1")
    server = Server([lost(), problem(404, "run_not_found")])
    server.carry_out(nothing(delete, server.rules))
    server = Server([problem(404, "run_not_found")])
    with pytest.raises(errors.NotFound):
        server.carry_out(nothing(delete, server.rules))


def test_pauses_grow_and_end_somewhere_and_a_part_of_them_is_chance() -> None:
    assert [pause_after(failures, None, 0.0) for failures in (1, 2, 3, 7, 1_000_000)] == [0.25, 0.5, 1.0, 15.0, 15.0]
    assert pause_after(1, None, 0.999) == pytest.approx(0.5, abs=0.01)
    assert pause_after(9, 0.0, 0.5) == 0.0


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (401, errors.NotAllowed),
        (403, errors.NotAllowed),
        (404, errors.NotFound),
        (410, errors.NotFound),
        (409, errors.Conflict),
        (422, errors.InvalidRequest),
        (429, errors.TooManyRequests),
        (500, errors.ServerError),
        (503, errors.ServerError),
        (405, errors.Refused),
    ],
)
def test_a_refusal_has_its_class_its_code_and_its_sentence(status: int, kind: type[DormouseError]) -> None:
    answer = problem(status, "a_code", X_Request_Id="mine", Retry_After="3")
    error = refusal(answer.status, answer.headers, answer.content)
    assert type(error) is kind
    assert (error.code, error.status, error.detail) == ("a_code", status, "It is a_code.")
    assert (error.request_id, error.retry_after) == ("mine", 3.0)
    assert str(error) == "It is a_code. [a_code]"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"[1]", b"null", b'"text"', b'{"code": 7, "detail": ["x"], "errors": "none"}', b"\xff"]
)
def test_a_refusal_that_is_not_the_apps_still_has_a_code_and_a_sentence(content: bytes) -> None:
    error = refusal(401, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, content)
    assert error.code == "http_401"
    assert "function key" in str(error)
    assert error.retry_after is None


def test_the_fields_that_do_not_fit_are_told() -> None:
    answer = reply(
        400, {"code": "invalid_request", "detail": "No.", "errors": [{"field": "input", "problem": "empty"}]}
    )
    assert str(refusal(400, {}, answer.content)) == "No. input: empty. [invalid_request]"


def test_who_is_sent_elsewhere_is_told_where() -> None:
    assert "https://elsewhere/" in str(refusal(301, {"location": "https://elsewhere/"}, b""))


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"", b"\xff\xfe"])
def test_a_success_that_is_not_the_apps_is_an_error(content: bytes) -> None:
    server = Server([Reply(200, {}, content)])
    with pytest.raises(UnexpectedResponse):
        server.carry_out(body(dict, SUBMIT, server.rules))


def test_what_the_platform_says_while_the_app_restarts_is_an_outage_and_the_apps_own_word_is_none() -> None:
    def error_of(answer: Reply) -> DormouseError:
        return refusal(answer.status, answer.headers, answer.content)

    assert all(is_outage(error_of(reply(status))) for status in (403, 404, 429, 500, 502, 503, 504))
    assert not any(is_outage(error_of(problem(status, "x"))) for status in (401, 403, 404, 409, 410))
    assert not is_outage(error_of(reply(401)))
    assert is_outage(lost())


def test_pages_go_on_while_there_is_a_cursor_and_never_in_a_circle() -> None:
    server = Server([reply(200, {"data": [1], "next_cursor": "b"}), reply(200, {"data": [], "next_cursor": "b"})])
    filters = {"status": ["completed", "failed"], "agent": None, "limit": 2}
    assert server.carry_out(page("/api/runs", filters, None, server.rules)) == ([1], "b")
    assert server.carry_out(page("/api/runs", filters, "b", server.rules)) == ([], None)
    assert [dict(each.query) for each in server.requests] == [
        {"status": "completed,failed", "limit": 2},
        {"status": "completed,failed", "limit": 2, "cursor": "b"},
    ]
