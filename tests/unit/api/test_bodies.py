"""What a request body may hold: each refusal has a code, and a sentence that names what to change."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.requests import Request

from shared.api.native.run_bodies import read_answers, read_submission
from shared.api.reading import Share, read_bytes
from shared.errors import (
    DormouseError,
    InputTooLarge,
    InvalidIdempotencyKey,
    InvalidJson,
    InvalidRequest,
    UnsupportedMediaType,
)
from shared.runs.commands.submission import Submission
from shared.runs.model.facts import Approve
from shared.settings import BESIDES_THE_INPUT, Settings
from tests.parts.cases import cases
from tests.unit.api.conftest import request

LIMIT = 1_000
SETTINGS = Settings(max_input_bytes=LIMIT)


async def read(body: Any, **options: Any) -> Submission:
    wanted, _ = await read_submission(request(body, **options), "me", SETTINGS)
    return wanted


async def refusal(body: Any, **options: Any) -> DormouseError:
    with pytest.raises(DormouseError) as caught:
        await read(body, **options)
    return caught.value


async def test_a_request_is_read_as_it_was_meant() -> None:
    wanted = await read(
        {
            "input": "x\0\n\U0001f42d",
            "agent": "a",
            "session_id": "s",
            "stream": True,
            "metadata": {"k": "line\nline\t\U0001f42d"},
            "deadline_seconds": 60,
            "start_at": "2026-12-01T06:00:00+01:00",
            "limits": {"turns": 1, "tool_calls": 2, "total_tokens": 3},
            "callback_url": "https://example.com/hook",
        },
        headers={"Idempotency-Key": '"a key"'},
    )
    assert wanted == Submission(
        owner="me",
        items=({"type": "message", "role": "user", "content": "x\0\n\U0001f42d"},),
        agent="a",
        session_id="s",
        stream=True,
        metadata={"k": "line\nline\t\U0001f42d"},
        deadline_seconds=60.0,
        start_at=datetime(2026, 12, 1, 5, tzinfo=UTC),
        turns=1,
        tool_calls=2,
        total_tokens=3,
        idempotency_key="a key",
        callback_url="https://example.com/hook",
    )


@cases(
    "body",
    [
        b"",
        b"{",
        b'{"input": "x"} {}',
        b'{"input": "\xff"}',
        b'{"input": "\xed\xa0\x80"}',
        '{"input": "x"}'.encode("utf-16"),
        '{"input": "x"}'.encode("utf-32"),
        b"[]",
        b'"x"',
        b"null",
        b'{"input": "x", "deadline_seconds": NaN}',
        b'{"input": "x", "deadline_seconds": Infinity}',
        b'{"input": "x", "deadline_seconds": -Infinity}',
        b'{"input": ' + b"9" * 5_000 + b"}",
        b"[" * 30_000,
        b'{"a":' * 10_000,
        b'{"input": "x", "metadata": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    ],
)
async def test_what_is_no_json_object_in_utf8_is_refused(body: bytes) -> None:
    error = await refusal(body)
    assert isinstance(error, InvalidJson)
    assert "Send " in error.message
    assert len(error.message) < 300


async def test_a_byte_order_mark_is_no_error() -> None:
    assert (await read(b'\xef\xbb\xbf{"input": "x"}')).items[0]["content"] == "x"


@cases(
    ("body", "named"),
    [
        ({}, ["input"]),
        ({"input": ""}, ["input"]),
        ({"input": None}, ["input"]),
        ({"input": 1}, ["input"]),
        ({"input": ["x"]}, ["input.0"]),
        ({"input": []}, ["input"]),
        (b'{"input": "\\ud800"}', ["input"]),
        (b'{"input": "x", "agent": "\\udfff"}', ["agent"]),
        (b'{"input": "x", "metadata": {"k": "\\ud800"}}', ["metadata.k"]),
        ({"input": "x", "callback_url": ""}, ["callback_url"]),
        ({"input": "x", "callback_url": 1}, ["callback_url"]),
        ({"input": "x", "callback_url": "https://example.com/" + "a" * 1_981}, ["callback_url"]),
        ({"input": "x", "stream": "true"}, ["stream"]),
        ({"input": "x", "one": 1, "two": 2}, ["one", "two"]),
        ({"input": "x", "limits": {"three": 3}}, ["limits.three"]),
        ({"input": "x", "agent": ""}, ["agent"]),
        ({"input": "x", "agent": 1}, ["agent"]),
        ({"input": "x", "agent": "a" * 65}, ["agent"]),
        ({"input": "x", "session_id": "a" * 65}, ["session_id"]),
        ({"input": "x", "metadata": {str(i): "" for i in range(17)}}, ["metadata"]),
        ({"input": "x", "metadata": {"k" * 65: ""}}, None),
        ({"input": "x", "metadata": {"": ""}}, None),
        ({"input": "x", "metadata": {"k": "v" * 513}}, ["metadata.k"]),
        ({"input": "x", "metadata": {"k": 1}}, ["metadata.k"]),
        ({"input": "x", "metadata": {"k": "\x01"}}, ["metadata.k"]),
        ({"input": "x", "metadata": {"k\0": "v"}}, None),
        ({"input": "x", "metadata": []}, ["metadata"]),
        ({"input": "x", "deadline_seconds": 0}, ["deadline_seconds"]),
        ({"input": "x", "deadline_seconds": -1}, ["deadline_seconds"]),
        ({"input": "x", "deadline_seconds": "60"}, ["deadline_seconds"]),
        ({"input": "x", "deadline_seconds": True}, ["deadline_seconds"]),
        (b'{"input": "x", "deadline_seconds": 1e400}', ["deadline_seconds"]),
        ({"input": "x", "deadline_seconds": 10**400}, ["deadline_seconds"]),
        ({"input": "x", "start_at": 1_764_565_200}, ["start_at"]),
        ({"input": "x", "start_at": ""}, ["start_at"]),
        ({"input": "x", "start_at": "tomorrow"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-12-01"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-12-01T06:00:00"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-12-01T06:00Z"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-02-29T06:00:00Z"}, ["start_at"]),
        ({"input": "x", "start_at": "0001-01-01T00:00:00+23:00"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-12-01T06:00:00.\u0661Z"}, ["start_at"]),
        ({"input": "x", "start_at": "2026-12-01T06:00:00." + "0" * 99 + "Z"}, ["start_at"]),
        ({"input": "x", "limits": {"turns": 0}}, ["limits.turns"]),
        ({"input": "x", "limits": {"turns": 1.5}}, ["limits.turns"]),
        ({"input": "x", "limits": {"tool_calls": -1}}, ["limits.tool_calls"]),
        ({"input": "x", "limits": {"total_tokens": True}}, ["limits.total_tokens"]),
        ({"input": "x", "limits": []}, ["limits"]),
    ],
)
async def test_what_does_not_fit_is_named(body: Any, named: list[str] | None) -> None:
    error = await refusal(body)
    assert isinstance(error, InvalidRequest)
    if named is not None:
        assert [each["field"] for each in error.details["errors"]] == named
        assert all(f"`{name}`: " in error.message for name in named)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"input": {"role": "user"}}, "`input`: must be text or a list"),
        ({"input": [{"content": 1}]}, "`input.0.content`: must be text or a list"),
        ({"input": ""}, "`input`: must not be empty"),
        ({"input": [{"content": []}]}, "`input.0.content`: must not be empty"),
        ({"input": "x", "agent": 1}, "`agent`: Input should be a valid string"),
    ],
)
async def test_what_does_not_fit_is_told_in_the_words_of_the_contract(body: Any, sentence: str) -> None:
    assert (await refusal(body)).message == f"The request does not fit the contract: {sentence}."


async def test_a_refusal_does_not_send_back_what_it_refuses() -> None:
    error = await refusal({"input": "x", **{f"{i}" + "n" * 5_000: 1 for i in range(100)}})
    assert len(error.message) + len(str(error.details)) < 10_000


@pytest.mark.parametrize("unit", ["a", "é", "\U0001f42d", "\x01"])
async def test_the_input_is_measured_in_bytes_of_utf8(unit: str) -> None:
    most = LIMIT // len(unit.encode())
    assert (await read({"input": unit * most})).items[0]["content"] == unit * most
    error = await refusal({"input": unit * (most + 1)})
    assert isinstance(error, InputTooLarge)
    assert str(LIMIT) in error.message


async def test_a_body_is_read_no_further_than_it_may_be_long() -> None:
    taken = 0
    wanted = request(b"x" * 10_000_000)
    receive = wanted._receive

    async def counting() -> Any:
        nonlocal taken
        message = await receive()
        taken += len(message["body"])
        return message

    wanted._receive = counting
    with pytest.raises(InputTooLarge):
        await read_submission(wanted, "me", SETTINGS)
    assert taken <= 6 * LIMIT + BESIDES_THE_INPUT + 65_536


@pytest.mark.parametrize("kind", ["application/json", "APPLICATION/JSON; charset=utf-8", "application/vnd.x+json"])
async def test_json_is_taken_under_its_names(kind: str) -> None:
    await read({"input": "x"}, headers={"content-type": kind})


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_another_content_type_is_refused(kind: str) -> None:
    assert isinstance(await refusal({"input": "x"}, headers={"content-type": kind}), UnsupportedMediaType)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("k", "k"),
        ('"k"', "k"),
        (" k\t", "k"),
        ("a b", "a b"),
        ("~!#", "~!#"),
        ("a,b", "a,b"),
        ('"a, b"', "a, b"),
        ("k" * 255, "k" * 255),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
async def test_a_key_is_taken_bare_or_quoted(header: str, key: str) -> None:
    assert (await read({"input": "x"}, headers={"idempotency-key": header})).idempotency_key == key


@pytest.mark.parametrize(
    "header", ["", " ", '""', '"', 'a"b', '"a"b"', '"a', "k" * 256, '"' + "k" * 256 + '"', "schlüssel", "a\x7f", "\x01"]
)
async def test_a_malformed_key_is_refused(header: str) -> None:
    error = await refusal({"input": "x"}, headers={"idempotency-key": header})
    assert isinstance(error, InvalidIdempotencyKey)
    assert re.search(r"1 to 255 .* ASCII", error.message)


@pytest.mark.parametrize("headers", [["a", "a"], ["a, a"], ['"a", "b"']], ids=str)
async def test_two_keys_are_one_too_many_also_where_the_host_has_joined_them(headers: list[str]) -> None:
    error = await refusal({"input": "x"}, headers=[("idempotency-key", value) for value in headers])
    assert isinstance(error, InvalidIdempotencyKey)
    assert re.search(r"two .* headers.* Send one", error.message)


# --- messages in a list, and answers ------------------------------------------------------------------


async def test_a_list_of_messages_is_taken_as_the_provider_is_sent_it() -> None:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]
    wanted = await read({"input": [{"content": "Look."}, {"role": "user", "content": parts}], "model": "small"})
    assert wanted.model == "small"
    assert wanted.items == (
        {"type": "message", "role": "user", "content": "Look."},
        {"type": "message", "role": "user", "content": [parts[0], {**parts[1], "detail": "auto"}, parts[2]]},
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([{"content": ""}], "input.0.content"),
        ([{"content": []}], "input.0.content"),
        ([{"role": "system", "content": "x"}], "input.0.role"),
        ([{"content": "x", "id": "msg_1"}], "input.0.id"),
        ([{"content": [{"type": "input_text", "text": ""}]}], "input.0.content.0.text"),
        ([{"content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}], "input.0.content.0.image_url"),
        ([{"content": [{"type": "input_image", "image_url": "data:image/png;,"}]}], "input.0.content.0.image_url"),
        ([{"content": [{"type": "input_file", "file_url": "https:// x"}]}], "input.0.content.0.file_url"),
        ([{"content": [{"type": "input_audio"}]}], "input.0.content.0"),
        ([{"content": "x"}] * 101, "input"),
    ],
)
async def test_a_message_that_does_not_fit_is_named(given: Any, named: str) -> None:
    error = await refusal({"input": given})
    assert isinstance(error, InvalidRequest)
    assert [each["field"] for each in error.details["errors"]] == [named]


async def test_addresses_that_do_not_fit_cost_no_more_than_their_length() -> None:
    """Five hundred of them took minutes, in which the process did nothing else."""
    part = {"type": "input_image", "image_url": "https://" + "a" * 8_000 + " "}
    with pytest.raises(InvalidRequest):
        await read_submission(request({"input": [{"content": [part] * 50}] * 10}), "me", Settings())


async def test_a_list_is_measured_as_a_whole() -> None:
    assert isinstance(await refusal({"input": [{"content": "é" * 200}] * 3}), InputTooLarge)


async def test_answers_are_read_by_call() -> None:
    body = {"answers": {"call_1": {"approve": True}, "call_2": {"approve": False, "reason": "No."}}}
    assert await read_answers(request(body), SETTINGS) == {
        "call_1": Approve(approve=True),
        "call_2": Approve(approve=False, reason="No."),
    }


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "answers"),
        ({"answers": {}}, "answers"),
        ({"answers": []}, "answers"),
        ({"answers": {"c": True}}, "answers.c"),
        ({"answers": {"c": {}}}, "answers.c.approve"),
        ({"answers": {"c": {"approve": "yes"}}}, "answers.c.approve"),
        ({"answers": {"c": {"approve": True, "reason": "r" * 4_001}}}, "answers.c.reason"),
        ({"answers": {"c": {"approve": True, "by": "me"}}}, "answers.c.by"),
        ({"answers": {str(i): {"approve": True} for i in range(91)}}, "answers"),
        ({"answers": {"c": {"approve": True}}, "more": 1}, "more"),
    ],
)
async def test_answers_that_do_not_fit_are_named(body: Any, named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await read_answers(request(body), SETTINGS)
    assert [each["field"] for each in caught.value.details["errors"]] == [named]


async def test_a_caller_who_goes_while_sending_is_no_fault_of_ours() -> None:
    messages = [{"type": "http.request", "body": b'{"inp', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    with Share(SETTINGS) as share, pytest.raises(InvalidRequest, match="ended before"):
        await read_bytes(Request(request({}).scope, receive), 100, share)
