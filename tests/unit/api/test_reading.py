"""Bodies are bounded before they are parsed: in bytes, in what they hold, in time, and all together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.requests import Request

from shared.api import bodies, json_scan, reading
from shared.api.native import batch_items, run_bodies
from shared.api.native.batch_bodies import read_batch
from shared.api.native.run_bodies import read_answers, read_submission
from shared.api.reading import SMALL, Share, read_bytes, read_json
from shared.errors import BodyTimeout, DormouseError, InvalidJson, InvalidRequest, TooManyBodies
from shared.settings import Settings
from tests.unit.api.conftest import request

SETTINGS = Settings()


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all that is parsed."""
    seen: list[int] = []
    loads = json_scan.loads

    def counted(raw: Any) -> Any:
        seen.append(len(raw))
        return loads(raw)

    monkeypatch.setattr(json_scan, "loads", counted)
    return seen


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many problems pydantic was made to build, each time."""
    seen: list[int] = []

    class Counting:
        def __init__(self, error: ValidationError) -> None:
            self._error = error

        def error_count(self) -> int:
            return self._error.error_count()

        def errors(self, **options: Any) -> Any:
            seen.append(self._error.error_count())
            return self._error.errors(**options)

    problems_of = bodies.problems_of
    monkeypatch.setattr(bodies, "problems_of", lambda error: problems_of(Counting(error)))  # type: ignore[arg-type]
    return seen


async def refusal(given: Any) -> DormouseError:
    """Why it is refused."""
    with pytest.raises(DormouseError) as caught:
        await given
    return caught.value


async def submission(body: Any) -> Any:
    wanted, _ = await read_submission(request(body), "me", SETTINGS)
    return wanted


async def batch(body: bytes, kind: str = "application/json") -> Any:
    with Share(SETTINGS) as share:
        wanted, _ = await read_batch(request(body, headers={"Content-Type": kind}), "me", SETTINGS, share)
        return wanted


def fields(count: int) -> bytes:
    return b'{"input":"x",' + b",".join(b'"%d":0' % number for number in range(count)) + b"}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        fields(60_000),
        b'{"input":"x","metadata":' + fields(60_000) + b"}",
        b'{"input":"x","tools":[' + b",".join([b'{"":0}'] * 60_000) + b"]}",
        b"[" * 100_001,
        b'{"a":"\\"]",' + b'"\\\\",' * 60_000,
    ],
)
async def test_a_body_of_far_too_many_values_is_refused_before_it_is_parsed(body: bytes, parses: list[int]) -> None:
    error = await refusal(submission(body))
    assert error.status == 400
    assert parses == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (fields(200), "body"),
        (b'{"input":"x","metadata":' + fields(200) + b"}", "metadata"),
        (b'{"input":[{"content":[' + b",".join([b"1"] * 1_001) + b"]}]}", "input.0.content"),
    ],
)
async def test_pydantic_is_given_no_object_or_list_that_is_wider_than_any_may_be(
    body: bytes, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_bodies.RunBody, "model_validate", lambda _: pytest.fail("it was validated"))
    error = await refusal(submission(body))
    assert (error.code, error.details["errors"][0]["field"]) == ("invalid_request", field)


async def test_few_problems_are_built_however_much_is_wrong(built: list[int]) -> None:
    many = {str(number): 0 for number in range(99)}
    errors = [
        await refusal(submission({"input": [many] * 100, "limits": many, "metadata": many, **dict.fromkeys("abc", 1)})),
        await refusal(submission({"input": [{"content": [many] * 10}] * 9})),
        await refusal(read_answers(request({"answers": {str(number): many for number in range(80)}}), SETTINGS)),
    ]
    assert sum(built) <= len(built) * bodies.MAX_BUILT
    for error in errors:
        assert error.code == "invalid_request"
        assert 1 <= len(error.details["errors"]) <= bodies.MAX_SHOWN


async def test_of_a_list_the_first_element_that_does_not_fit_is_named() -> None:
    error = await refusal(submission({"input": [{"content": "x"}, {"content": 1}, {"content": 2}]}))
    assert [each["field"] for each in error.details["errors"]] == ["input.1.content"]


@pytest.mark.parametrize("line", [b"x", b"{}", b'{"input":"x"}'])
async def test_lines_beyond_the_count_are_refused_before_any_is_parsed(line: bytes, parses: list[int]) -> None:
    error = await refusal(batch(b"\n".join([line] * 1_001), "application/jsonl"))
    assert "1 to 1000 items" in error.message
    assert parses == []


async def test_elements_beyond_the_count_are_refused_before_any_is_parsed(parses: list[int]) -> None:
    error = await refusal(batch(b'{"items":[' + b",".join([b"{}"] * 1_001) + b"]}"))
    assert "1000" in error.message
    assert parses == []


async def test_of_a_batch_never_more_than_one_item_is_parsed_at_once(parses: list[int]) -> None:
    item = json.dumps({"input": "x" * 10_000}).encode()
    for body, kind in ((b'{"items":[' + b",".join([item] * 50) + b"]}", "json"), (b"\n".join([item] * 50), "jsonl")):
        wanted = await batch(body, f"application/{kind}")
        assert len(wanted.items) == 50
        assert {wanted.items[index].asked.items[0]["content"] for index in range(50)} == {"x" * 10_000}
    assert max(parses) <= len(item)


@pytest.mark.slow
async def test_an_item_that_holds_too_much_fails_alone_and_is_never_parsed(parses: list[int]) -> None:
    many = fields(60_000)
    for body, kind in (
        (b'{"items":[{"input":"x"},' + many + b"]}", "json"),
        (b'{"input":"x"}\n' + many, "jsonl"),
    ):
        wanted = await batch(body, f"application/{kind}")
        assert [getattr(each.asked, "code", None) for each in wanted.items] == [None, "invalid_request"]
    assert max(parses) < 100


async def test_an_item_that_is_too_long_fails_alone_and_is_never_parsed(parses: list[int]) -> None:
    long = b'{"input":"' + b"x" * SETTINGS.json_most + b'"}'
    wanted = await batch(b'{"input":"x"}\n' + long, "application/jsonl")
    assert [getattr(each.asked, "code", None) for each in wanted.items] == [None, "input_too_large"]
    assert max(parses) < 100


@pytest.mark.slow
async def test_lines_that_hold_far_too_much_together_are_refused_before_any_is_parsed(parses: list[int]) -> None:
    line = b'{"input":"x","l":[' + b"0," * 5_000 + b"0]}"
    error = await refusal(batch(b"\n".join([line] * 100), "application/jsonl"))
    assert "All items together" in error.message
    assert parses == []


async def test_lines_are_numbered_over_any_number_of_blank_ones() -> None:
    wanted = await batch(b'\n \r\n{"input":"x"}\r\n' + b"\n" * 2_000_000 + b"nul\n", "application/jsonl")
    assert "Line 2000004" in str(wanted.items[1].asked)
    assert len(wanted.items) == 2


async def test_what_stands_beside_the_items_has_a_most() -> None:
    error = await refusal(batch(b'{"agent":"' + b"x" * batch_items.MAX_BESIDE + b'","items":[{"input":"x"}]}'))
    assert "not in `items`" in error.message


async def test_an_item_that_is_no_json_makes_the_object_none() -> None:
    for item in (b'{"input":}', b"", b'{"input":"x"]', b"nul"):
        error = await refusal(batch(b'{"items":[{"input":"x"},' + item + b"]}"))
        assert isinstance(error, InvalidJson)


async def test_the_items_are_found_wherever_they_are() -> None:
    for body in (
        b'{"agent":"items","items" : [ {"input":"a,]}\\"["} , {"input":"b"}\n] ,"concurrency":3}',
        b'\xef\xbb\xbf{"\\u0069tems":[{"input":"a,]}\\"["},{"input":"b"}],"agent":"items","concurrency":3}',
    ):
        wanted = await batch(body)
        assert [each.asked.items[0]["content"] for each in wanted.items] == ['a,]}"[', "b"]
        assert (wanted.defaults.agent, wanted.concurrency) == ("items", 3)
    for body in (b'{"metadata":{"items":[{"input":"x"}]}}', b'{"items":[],"items":[{"input":"x"}]}'):
        assert (await refusal(batch(body))).code == "invalid_request"


async def test_elements_are_split_where_a_parser_would_split_them() -> None:
    draw = random.Random(7)

    def value(levels: int) -> Any:
        kind = draw.randrange(6 if levels else 3)
        if kind > 3:
            return [value(levels - 1) for _ in range(draw.randrange(4))]
        if kind == 3:
            return {draw.choice(['a"', "items", ",]", "\\"]): value(levels - 1) for _ in range(draw.randrange(4))}
        return [draw.choice(['"', "\\", "[{,", "é\U0001f42d", '\\"]', ""]), -1.5e3, None][kind]

    for _ in range(300):
        given = {"a": value(2), "items": [value(3) for _ in range(draw.randrange(5))], "b": value(2)}
        raw = json.dumps(given, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 1])).encode()
        found = await json_scan.split(raw, "items", most=9, most_tokens=10_000, most_rest=10_000)
        assert found.elements is not None
        assert [json.loads(raw[start:end]) for start, end in found.elements] == given["items"]
        assert json.loads(found.rest) == {**given, "items": []}


async def test_counting_gives_the_event_loop_its_turn() -> None:
    for raw in (b" " * 4_000_000, b'"' + b'\\"' * 2_000_000, b"x" * 4_000_000, b"1," * 40_000):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await json_scan.check_size(raw)
        counting.cancel()
        assert turns > 10


async def test_reading_a_batch_gives_the_event_loop_its_turn_at_every_item() -> None:
    item = json.dumps({"input": "x" * 2_000}).encode()
    for body, kind in ((b'{"items":[' + b",".join([item] * 500) + b"]}", "json"), (b"\n".join([item] * 500), "jsonl")):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await batch(body, f"application/{kind}")
        counting.cancel()
        assert turns >= 1_000, "once while it is counted, once while it is hashed"


def slow(body: bytes, gate: asyncio.Event) -> Request:
    """A request whose body stops after its first piece until the gate is open."""
    pieces = [body, b"}"]

    async def receive() -> dict[str, Any]:
        if len(pieces) == 1:
            await gate.wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    return Request(request({}).scope, receive)


async def test_long_bodies_together_have_a_most_and_short_ones_are_always_read() -> None:
    settings = Settings(bodies_max_bytes=1_000_000, batch_max_bytes=1_000_000, max_input_bytes=100_000)
    gate = asyncio.Event()

    async def read(body: bytes) -> int:
        with Share(settings) as share:
            return len(await read_bytes(slow(body, gate), 1_000_000, share))

    first = asyncio.create_task(read(b"x" * 800_000))
    await asyncio.sleep(0.01)
    error = await refusal(read(b"x" * 400_000))
    assert isinstance(error, TooManyBodies)
    assert (error.status, error.headers["Retry-After"]) == (503, reading.RETRY_AFTER)
    short = asyncio.create_task(read(b"x" * (SMALL - 1)))
    await asyncio.sleep(0.01)
    gate.set()
    assert [await first, await short] == [800_001, SMALL]
    assert await read(b"x" * 900_000) == 900_001, "a share is given back"


async def test_the_longest_body_is_taken_alone_whatever_the_setting() -> None:
    settings = Settings(bodies_max_bytes=1)
    with Share(settings) as share:
        body = b'{"a":"' + b"x" * settings.json_most
        assert len(await read_bytes(request(body), len(body), share)) == len(body)


async def test_a_body_that_does_not_arrive_is_given_up_and_holds_nothing() -> None:
    settings = Settings(body_seconds=0.05)
    with Share(settings) as share:
        error = await refusal(read_bytes(slow(b"x" * 1_000_000, asyncio.Event()), 2_000_000, share))
    assert (type(error), error.status) == (BodyTimeout, 408)
    assert reading._held == []


async def test_a_share_is_given_back_whatever_becomes_of_the_request() -> None:
    for body in (b"x" * 100_000, fields(60_000), b'{"input":"x"}'):
        with contextlib.suppress(DormouseError):
            await submission(body)
        with contextlib.suppress(DormouseError):
            await batch(body)
    assert reading._held == []


async def test_a_large_input_is_taken_in_every_spelling() -> None:
    for text in ("x" * 1_048_576, "é" * 524_288, "\U0001f42d" * 262_144, '"\\' * 524_288):
        for ascii_only in (True, False):
            raw = json.dumps({"input": text}, ensure_ascii=ascii_only).encode()
            assert (await submission(raw)).items[0]["content"] == text


async def test_json_that_is_deep_or_holds_a_long_number_is_refused_in_words() -> None:
    with Share(SETTINGS) as share:
        with pytest.raises(InvalidJson, match="nested too deeply"):
            await read_json(request(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), 10_000, share)
        with pytest.raises(InvalidJson, match="not JSON"):
            await read_json(request(b'{"a":' + b"1" * 100_000 + b"}"), 200_000, share)
        with pytest.raises(InvalidRequest, match="fewer fields"):
            await read_json(request(b"[" + b"0," * 100_001), 1_000_000, share)
