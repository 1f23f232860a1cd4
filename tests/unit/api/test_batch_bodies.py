"""The body of a batch: what is taken, what is bad alone, and what is no batch at all."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from shared import errors
from shared.api.native.batch_bodies import read_batch
from shared.api.reading import Share
from shared.runs.batches.submit import BatchSubmission
from shared.runs.commands.submission import Submission
from shared.settings import Settings
from tests.unit.api.conftest import request

ITEM = {"input": "hello"}


async def read(body: Any, *, kind: str = "application/json", query: str = "", **settings: Any) -> BatchSubmission:
    """What is asked for; ``body`` is JSON, or bytes as they are."""
    given = request(body, headers={"Content-Type": kind})
    given.scope["query_string"] = query.encode()
    with Share(Settings(**settings)) as share:
        wanted, _ = await read_batch(given, "me", share.settings, share)
        return wanted


async def lines(*given: Any, query: str = "") -> BatchSubmission:
    raw = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in given)
    return await read(raw, kind="application/jsonl", query=query)


def codes(batch: BatchSubmission) -> list[str | None]:
    return [None if isinstance(each.asked, Submission) else each.asked.code for each in batch.items]


async def test_items_have_what_the_batch_says_unless_they_say_otherwise() -> None:
    limits = {"turns": 3, "tool_calls": 4}
    batch = await read(
        {
            "agent": "a",
            "model": "m",
            "metadata": {"k": "batch", "l": "batch"},
            "deadline_seconds": 60,
            "limits": limits,
            "concurrency": 2,
            "items": [ITEM, {**ITEM, "id": "x", "agent": "b", "metadata": {"k": "item"}, "limits": {"turns": 1}}],
        }
    )
    first, second = (each.asked for each in batch.items)
    said = {"type": "message", "role": "user", "content": "hello"}
    assert first == Submission(
        owner="me",
        items=(said,),
        agent="a",
        model="m",
        metadata={"k": "batch", "l": "batch"},
        deadline_seconds=60,
        turns=3,
        tool_calls=4,
    )
    assert second == Submission(
        owner="me",
        items=(said,),
        agent="b",
        model="m",
        metadata={"k": "item", "l": "batch"},
        deadline_seconds=60,
        turns=1,
        tool_calls=4,
    )
    assert ([each.id for each in batch.items], batch.concurrency) == ([None, "x"], 2)


@pytest.mark.parametrize(
    ("item", "code", "said"),
    [
        ({}, "invalid_request", "input"),
        ({"input": ""}, "invalid_request", "input"),
        ({"input": "x", "colour": "red"}, "invalid_request", "colour"),
        ({"input": "x", "session_id": "0" * 32}, "invalid_request", "session_id"),
        ({"input": "x", "id": ""}, "invalid_request", "id"),
        ({"input": "x", "id": "a\nb"}, "invalid_request", "id"),
        ({"input": "x", "id": 7}, "invalid_request", "id"),
        ({"input": "x", "metadata": {str(i): "" for i in range(16)}}, "invalid_request", "16 pairs together"),
        ({"input": "x" * 1_048_577}, "input_too_large", "1048576"),
        ("x", "invalid_request", "object"),
        (None, "invalid_request", "object"),
    ],
)
async def test_a_bad_item_is_bad_alone(item: Any, code: str, said: str) -> None:
    batch = await read({"items": [ITEM, item, ITEM], "metadata": {"k": "v"}})
    assert codes(batch) == [None, code, None]
    wrong = batch.items[1].asked
    assert isinstance(wrong, errors.DormouseError)
    assert said in wrong.message


async def test_a_bad_item_keeps_an_id_that_is_one() -> None:
    batch = await read({"items": [ITEM, {"id": "mine"}, {"id": ["x"]}]})
    assert [each.id for each in batch.items] == [None, "mine", None]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"[1]", errors.InvalidJson),
        (b"{", errors.InvalidJson),
        ({}, errors.InvalidRequest),
        ({"items": {}}, errors.InvalidRequest),
        ({"items": []}, errors.InvalidRequest),
        ({"items": [ITEM] * 1_001}, errors.InvalidRequest),
        ({"items": ["x"]}, errors.InvalidJson),
        ({"items": [ITEM], "concurrency": 0}, errors.InvalidRequest),
        ({"items": [ITEM], "concurrency": 17}, errors.InvalidRequest),
        ({"items": [ITEM], "session_id": "0" * 32}, errors.InvalidRequest),
        ({"items": [{**ITEM, "id": "a"}, ITEM, {"id": "a"}]}, errors.InvalidRequest),
    ],
)
async def test_what_is_no_batch_is_refused_whole(body: Any, error: type[errors.DormouseError]) -> None:
    with pytest.raises(error):
        await read(body)


async def test_a_thousand_items_and_any_number_without_id_are_fine() -> None:
    assert len((await read({"items": [ITEM] * 1_000})).items) == 1_000


async def test_the_whole_has_a_limit() -> None:
    for kind in ("application/json", "application/jsonl"):
        with pytest.raises(errors.InputTooLarge, match="at most 100 bytes"):
            await read(b" " * 101, kind=kind, batch_max_bytes=100)


async def test_each_line_is_an_item_and_blank_lines_are_none() -> None:
    batch = await lines(b"\xef\xbb\xbf" + json.dumps(ITEM).encode(), b"", b"  \r", {**ITEM, "id": "b"}, b"")
    assert [each.id for each in batch.items] == [None, "b"]


@pytest.mark.parametrize("line", [b'{"input": "x"', b"\xff\xfe", b"[" * 100_000, b'{"input": NaN}'])
async def test_a_line_that_is_no_json_is_bad_alone_and_named(line: bytes) -> None:
    batch = await lines(ITEM, b"", line, ITEM)
    assert codes(batch) == [None, "invalid_json", None]
    assert "Line 3" in str(batch.items[1].asked)


async def test_lines_that_are_all_bad_are_no_batch() -> None:
    with pytest.raises(errors.InvalidJson, match="Line 1"):
        await lines(b"name,age", b"ada,36")


async def test_options_of_lines_are_parameters() -> None:
    batch = await lines(ITEM, query="agent=a&model=m&deadline_seconds=1.5&concurrency=3&code=secret")
    assert (batch.defaults.agent, batch.defaults.model, batch.defaults.deadline_seconds) == ("a", "m", 1.5)
    assert batch.concurrency == 3


@pytest.mark.parametrize("name", ["agent", "model", "deadline_seconds", "concurrency", "callback_url"])
async def test_an_option_in_the_query_is_not_passed_over_beside_json(name: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=f"`{name}` goes into the body") as refused:
        await read({"items": [ITEM]}, query=f"{name}=1&code=secret")
    assert refused.value.details["param"] == name


@pytest.mark.parametrize("query", ["colour=red", "concurrency=x", "concurrency=1.5", "deadline_seconds=nan", "agent="])
async def test_a_parameter_that_does_not_fit_is_refused(query: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        await lines(ITEM, query=query)


@pytest.mark.parametrize("kind", ["text/csv", "", "application/octet-stream"])
async def test_another_kind_of_body_is_not_taken(kind: str) -> None:
    with pytest.raises(errors.UnsupportedMediaType, match="jsonl"):
        await read(b"{}", kind=kind)


async def test_the_same_in_either_form_is_the_same_payload() -> None:
    whole = await read({"items": [ITEM, {"id": "b", **ITEM}], "agent": "a"})
    apart = await lines(ITEM, {**ITEM, "id": "b"}, query="agent=a")
    assert whole.payload == apart.payload
    others = [await lines(ITEM, query="agent=a"), await lines(ITEM, {**ITEM, "id": "c"}, query="agent=a")]
    others.append(await lines(ITEM, {**ITEM, "id": "b"}))
    assert len({each.payload for each in (whole, *others)}) == 4


async def test_a_line_that_could_only_just_be_read_is_refused_and_no_fault_of_ours() -> None:
    def nested(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    read, unread = 1, 1_000_000
    while unread - read > 1:
        middle = (read + unread) // 2
        try:
            json.loads(nested(middle))
        except RecursionError:
            unread = middle
        else:
            read = middle
    for levels in range(read - 15, read + 5):
        with contextlib.suppress(errors.InvalidJson):
            assert codes(await lines(ITEM, nested(levels)))[0] is None


async def test_the_address_of_a_callback_is_part_of_the_payload_where_there_is_one() -> None:
    plain = await read({"items": [ITEM]})
    assert plain.payload == "bfb4c07fd1c7bfbfd4f57aab14a07d9b77da6b0e82b4438954e15f51498dbe57", (
        "what it was before there were any"
    )
    told = await read({"items": [ITEM], "callback_url": "https://x.example/"})
    assert (told.callback_url, told.payload == plain.payload) == ("https://x.example/", False)
    apart = await lines(ITEM, query="callback_url=https%3A%2F%2Fx.example%2F")
    assert (apart.callback_url, apart.payload) == (told.callback_url, told.payload)
    assert all(isinstance(each.asked, Submission) and each.asked.callback_url is None for each in told.items)
