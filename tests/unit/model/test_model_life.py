"""A response's life on a clock that the test moves, and its stream at every moment."""

import asyncio
import json
import math
from typing import Any

import pytest

from local.model.account import Account
from local.model.events import due_events, timeline
from local.model.novelist import TOOLS
from local.model.responses import Ending, StoredResponse
from local.model.state import restore, state_of


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(clock: Clock) -> Account:
    return Account(clock, think=10.0)


def create(account: Account, text: str = "[script:s]", **more: Any) -> StoredResponse:
    body = {"model": "m", "input": text, "background": True, **more}
    return account.create(body, account.find_turn(body))


def statuses(stored: StoredResponse, *seconds: float) -> list[str]:
    return [stored.status_at(stored.created + s) for s in seconds]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"text": "x"}, ["queued", "in_progress", "in_progress", "completed"]),
        ({"queued": 5}, ["queued", "queued", "in_progress", "completed"]),
        ({"think": 2}, ["queued", "in_progress", "completed", "completed"]),
        ({"think": 0}, ["completed"] * 4),
        ({"think": 1, "queued": 8}, ["queued", "queued", "queued", "completed"]),
        ({"stuck": True}, ["queued", "in_progress", "in_progress", "in_progress"]),
        ({"status": "failed"}, ["queued", "in_progress", "in_progress", "failed"]),
    ],
)
def test_a_status_is_read_off_the_clock(account: Account, turn: dict[str, Any], expected: list[str]) -> None:
    account.set_script("s", [turn])
    assert statuses(create(account), 0, 1.5, 6, 10) == expected


def test_a_cancelled_response_stays_so_unless_it_completes_late(account: Account, clock: Clock) -> None:
    account.set_script("s", [{"late_completed": 5}])
    stored = create(account)
    clock.now += 3
    account.cancel(stored)
    assert statuses(stored, 2, 3, 7.9, 8) == ["in_progress", "cancelled", "cancelled", "completed"]
    assert stored.rendered(clock.now + 60)["completed_at"] == int(stored.created) + 8


def test_what_is_over_cannot_be_finished_again(account: Account, clock: Clock) -> None:
    stored = create(account, "Hello.")
    clock.now += 1
    stored.force(Ending("failed"), clock.now)
    stored.finish(clock.now + 1)
    assert statuses(stored, 0.5, 1, 60) == ["in_progress", "failed", "failed"]


def test_an_id_is_gone_after_its_time(account: Account) -> None:
    account.set_script("s", [{"id_gone": 4}])
    stored = create(account)
    assert [stored.known_at(stored.created + s) for s in (0, 3.9, 4)] == [True, True, False]


def sent_by(stored: StoredResponse, now: float) -> list[dict[str, Any]]:
    return [event for at, event in timeline(stored) if at <= now]


@pytest.mark.parametrize("end", ["alone", "finish", "cancel", "fail", "late"])
@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("moment", [0.0, 0.3, 4.0, 6.0])
def test_what_was_streamed_is_never_taken_back(
    account: Account, clock: Clock, end: str, stuck: bool, moment: float
) -> None:
    late = {"late_completed": 3} if end == "late" else {}
    account.set_script("s", [{"text": "word " * 30, "stuck": stuck, **late}])
    stored = create(account, stream=True)
    clock.now += moment
    before = sent_by(stored, clock.now)
    if end == "finish":
        stored.finish(clock.now)
    elif end == "fail":
        stored.force(Ending("failed", error={"code": "server_error", "message": "x"}), clock.now)
    elif end in ("cancel", "late"):
        account.cancel(stored)
    after = sent_by(stored, clock.now + 100)
    for old, new in zip(before, after, strict=False):
        assert (old["type"], old["sequence_number"]) == (new["type"], new["sequence_number"])
    assert len(after) >= len(before)
    assert [event["sequence_number"] for event in after] == list(range(len(after)))
    assert sorted(at for at, _ in timeline(stored)) == [at for at, _ in timeline(stored)]
    last = {"cancel": before[-1]["type"], "fail": "response.failed"}.get(end, "response.completed")
    if not (end == "alone" and stuck):
        assert after[-1]["type"] == last


def test_a_stuck_stream_tells_half(account: Account) -> None:
    account.set_script("s", [{"text": "word " * 30, "stuck": True}])
    due = [at for at, _ in timeline(create(account))]
    assert 0.3 < sum(at == math.inf for at in due) / len(due) < 0.7


async def test_what_befalls_a_response_while_its_stream_is_read_slowly_is_told(account: Account, clock: Clock) -> None:
    account.set_script("s", [{"text": "word " * 30, "stuck": True}])
    stored = create(account, stream=True)
    clock.now += 10
    events = due_events(stored, -1, clock)
    told = [await anext(events)]
    stored.finish(clock.now)
    async with asyncio.timeout(5):
        told += [event async for event in events]
    assert told[-1]["type"] == "response.completed"


TOOL_LIST = [{"type": "function", "name": name, "parameters": {}} for name in TOOLS]


@pytest.mark.parametrize(
    ("more", "asks"),
    [
        ({"tools": TOOL_LIST}, 2),
        ({"tools": TOOL_LIST[:1]}, 0),
        ({"tools": TOOL_LIST, "tool_choice": "none"}, 0),
        ({"tools": TOOL_LIST, "parallel_tool_calls": False}, 1),
        ({}, 0),
    ],
)
def test_when_the_novelist_asks_for_tools(account: Account, more: dict[str, Any], asks: int) -> None:
    output = create(account, "Rain on Mars.", **more).planned.output
    assert sum(item["type"] == "function_call" for item in output) == asks


def test_usage_grows_with_the_conversation(account: Account, clock: Clock) -> None:
    first = create(account, "One two three four.")
    clock.now += 10
    second = create(account, "And on.", previous_response_id=first.id)
    usages = [stored.planned.usage for stored in (first, second)]
    assert usages[0] is not None
    assert usages[1] is not None
    assert usages[0]["input_tokens"] == 5
    assert usages[1]["input_tokens"] > usages[0]["total_tokens"]


def test_an_account_is_restored_from_its_state(account: Account, clock: Clock) -> None:
    account.set_script("s", [{"calls": [{"name": "work"}]}, {"text": "Done."}])
    first = create(account)
    second = create(account)
    account.cancel(second)
    clock.now += 10
    other = Account(clock, think=10.0)
    restore(other, json.loads(json.dumps(state_of(account), allow_nan=False)))
    assert other.known_responses() == account.known_responses()
    for stored in (first, second):
        assert other.known(stored.id).rendered(clock()) == stored.rendered(clock())
    call = first.planned.output[0]["call_id"]
    output = [{"type": "function_call_output", "call_id": call, "output": "done"}]
    body = {"model": "m", "input": output, "previous_response_id": first.id}
    assert other.create(body, other.find_turn(body)).turn.text == "Done."
