"""Tools over the whole stack: side by side, long, failing, slow, too many."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from local.model.control import ModelControl
from tests.acceptance.client import Api
from tests.acceptance.conftest import Stack, Target
from tests.parts.waiting import eventually
from tests.parts.workshop import release

NewStack = Callable[..., Stack]

one_driver = pytest.mark.parametrize("driver", ["durable"])

LEASE = {"DORMOUSE_TOOL_LEASE_SECONDS": "1", "DORMOUSE_TOOL_RENEWAL_SECONDS": "0.3"}


def asking(*asked: tuple[str, Any]) -> dict[str, Any]:
    """A turn that asks for these tools; arguments that are text are sent as they are."""
    return {"calls": [{"name": name, "arguments": given} for name, given in asked]}


async def script(model: ModelControl, *turns: dict[str, Any]) -> str:
    """Set a script of its own; the input that plays it."""
    name = f"s{secrets.token_hex(4)}"
    await model.script(name, turns)
    return f"[script:{name}]"


async def outputs(model: ModelControl, run_id: str, turn: int = 2) -> list[str]:
    """What the model was sent as the outputs of its calls, in the one create of that turn."""
    (create,) = await model.creates(run=run_id, turn=str(turn))
    assert create.body is not None
    return [item["output"] for item in create.body["input"] if item["type"] == "function_call_output"]


def code(output: str) -> str:
    """The code of an error output."""
    return str(json.loads(output)["error"]["code"])


@pytest.mark.main
async def test_whatever_goes_wrong_in_a_tool_is_told_to_the_model(driver: str, target: Target) -> None:
    text = await script(
        target.model,
        asking(
            ("work", {"label": "fine"}),
            ("stumble", {"label": "a stone"}),
            ("work", {"label": 3, "more": True}),
            ("work", '{"label": "cut sho'),
            ("no_such_tool", {"label": "a"}),
        ),
        {"text": "Done."},
    )
    run = await target.api.finished(await target.api.start(text, agent="workshop"))
    assert run["status"] == "completed", run
    fine, stumbled, unfit, cut, unknown = await outputs(target.model, run["id"])
    assert fine == "worked on fine"
    assert "stumbled over a stone" in stumbled
    assert [code(output) for output in (stumbled, unfit, cut, unknown)] == [
        "tool_error",
        "invalid_arguments",
        "invalid_arguments",
        "unknown_tool",
    ]


@one_driver
async def test_long_results_arrive_whole(driver: str, target: Target) -> None:
    times = 100_000
    text = await script(
        target.model,
        asking(*(("write_much", {"label": label, "times": times}) for label in ("a", "ä", "𝄞"))),
        {"text": "Done."},
    )
    run = await target.api.finished(await target.api.start(text, agent="workshop"))
    assert run["status"] == "completed", run
    assert await outputs(target.model, run["id"]) == ["a" * times, "ä" * times, "𝄞" * times]


@pytest.mark.main
@one_driver
async def test_sixty_calls_of_one_turn_run_side_by_side_and_once(driver: str, target: Target) -> None:
    assert target.stack is not None
    mark = secrets.token_hex(4)
    asked = [("work_in_a_thread" if i % 2 else "work", {"label": f"{mark}-{i}", "seconds": 0.2}) for i in range(60)]
    text = await script(target.model, asking(*asked), {"text": "Done."})
    run = await target.api.finished(await target.api.start(text, agent="workshop"))
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1] * 60
    told = await outputs(target.model, run["id"])
    assert [mark in output and str(i) in output for i, output in enumerate(told)] == [True] * 60
    starts = Counter(trace.key for trace in target.stack.traces(what="start") if trace.label.startswith(mark))
    assert starts == {f"{run['id']}:1:{i}": 1 for i in range(60)}


@pytest.mark.main
@one_driver
@pytest.mark.parametrize(
    ("turns", "limits", "expected"),
    [
        ([91], {}, "tool_call_limit"),
        ([2, 2], {"tool_calls": 3}, "tool_call_limit"),
        ([1, 1, 1], {"turns": 2}, "turn_limit"),
        ([1, 1], {"total_tokens": 1_000}, "token_limit"),
    ],
)
async def test_a_limit_ends_the_run_and_runs_no_more_tools(
    driver: str, target: Target, turns: list[int], limits: dict[str, int], expected: str
) -> None:
    assert target.stack is not None
    mark = secrets.token_hex(4)
    usage = {"input_tokens": 400, "output_tokens": 200, "total_tokens": 600}
    steps = [{**asking(*[("work", {"label": mark})] * calls), "usage": usage} for calls in turns]
    text = await script(target.model, *steps, {"text": "Too far."})
    run = await target.api.finished(await target.api.start(text, agent="workshop", limits=limits))
    assert (run["status"], run["error"]["code"]) == ("failed", expected), run
    allowed = sum(turns) if expected == "turn_limit" else sum(turns[:-1])
    ran = sum(turns[:2]) if expected == "turn_limit" else allowed
    assert len(target.stack.traces(mark, "start")) == ran
    assert run["usage"]["total_tokens"] >= 600


@one_driver
async def test_a_tool_five_times_as_long_as_its_lease_runs_once(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, **LEASE, DORMOUSE_TOOL_TIMEOUT_SECONDS="10")
    host = await asyncio.to_thread(stack.host)
    text = await script(
        stack.model,
        asking(
            ("work", {"label": "async", "seconds": 5}),
            ("work_in_a_thread", {"label": "thread", "seconds": 5}),
            ("work", {"label": "endless", "seconds": 600}),
        ),
        {"text": "Done."},
    )
    async with Api(host.url) as api:
        run = await api.finished(await api.start(text, agent="workshop"))
    assert run["status"] == "completed", run
    assert [call["starts"] for call in run["tool_calls"]] == [1, 1, 1]
    assert Counter(trace.label for trace in stack.traces(what="start")) == {"async": 1, "thread": 1, "endless": 1}
    asynchronous, threaded, endless = await outputs(stack.model, run["id"])
    assert (asynchronous, threaded) == ("worked on async", "worked on thread in a thread")
    assert code(endless) == "tool_timeout"


async def test_the_deadline_stops_a_tool_at_work(driver: str, target: Target) -> None:
    text = await script(target.model, asking(("work", {"label": "late", "seconds": 600})), {"text": "Never."})
    run = await target.api.finished(await target.api.start(text, agent="workshop", deadline_seconds=2), timeout=15)
    assert (run["status"], run["error"]["code"]) == ("failed", "deadline_exceeded"), run
    assert len(await target.model.creates(run=run["id"])) == 1


async def test_a_cancel_stops_a_tool_at_work(own_stack: NewStack, driver: str) -> None:
    stack = own_stack(driver, DORMOUSE_TOOL_RENEWAL_SECONDS="0.3")
    host = await asyncio.to_thread(stack.host)
    text = await script(
        stack.model,
        asking(("work", {"label": "async", "seconds": 600}), ("hold_in_a_thread", {"label": "thread"})),
        {"text": "Never asked for."},
    )
    async with Api(host.url) as api:
        run_id = await api.start(text, agent="workshop")
        await eventually(lambda: len(stack.traces(what="start")) == 2)
        cancelled = await api.cancel(run_id)
        assert (cancelled.status, cancelled["status"]) == (200, "cancelled")
        await eventually(lambda: "lost the lease" in host.log_path.read_text("utf-8"))  # and the cancel is noticed
        release(stack.tool_log, "thread")
        await eventually(lambda: stack.traces("thread", "end"))  # nothing can stop a thread
        after = await api.run(run_id)
    assert stack.traces("async", "end") == []
    assert after["status"] == "cancelled"
    assert [call["state"] for call in after["tool_calls"]] == ["cancelled", "cancelled"]
    assert after["updated_at"] == after["completed_at"] == cancelled["completed_at"]
    assert len(await stack.model.creates(run=run_id)) == 1


@one_driver
async def test_a_session_goes_on_from_its_last_good_point(own_stack: NewStack, driver: str) -> None:
    """After a run that failed, and one that was cancelled, each with its tool calls unanswered."""
    stack = own_stack(driver, **LEASE)
    host = await asyncio.to_thread(stack.host)
    good = await script(stack.model, asking(("work", {"label": "good"})), {"text": "A good start."})
    many = await script(stack.model, asking(*[("work", {"label": "never"})] * 2), {"text": "Never."})
    slow = await script(stack.model, asking(("work", {"label": "slow", "seconds": 60})), {"text": "Never."})
    last = await script(stack.model, {"text": "A good end."})
    async with Api(host.url) as api:
        first = await api.finished(await api.start(good, agent="workshop"))
        session = {"session_id": first["session_id"]}
        failed = await api.finished(await api.start(many, **session, limits={"tool_calls": 1}))
        assert (failed["status"], failed["error"]["code"]) == ("failed", "tool_call_limit")
        cut = await api.start(slow, **session)
        await eventually(lambda: stack.traces("slow", "start"))
        assert (await api.cancel(cut))["status"] == "cancelled"
        run = await api.finished(await api.start(last, **session))
    assert (run["status"], run["text"]) == ("completed", "A good end."), run
    known = [response for response in await stack.model.responses() if response.metadata["run"] == first["id"]]
    for later in (failed["id"], cut, run["id"]):
        (create,) = await stack.model.creates(run=later, turn="1")
        assert create.body is not None
        assert create.body["previous_response_id"] == known[-1].id
