"""Tools under a lease: what is run, what is not run again, and who may still write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.agentkit import within
from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.agentkit.responses import ResponsesAgent
from shared.agentkit.tools import Tool, ToolContext, tool
from shared.agents import AgentFactory
from shared.runs.actions import tools
from shared.runs.actions.outcome import Outcome
from shared.runs.commands.cancel import cancel
from shared.runs.model.calls import CallState
from shared.runs.model.phases import Lease, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.tables import Change, StoreUnavailable, Table
from shared.settings import Settings
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig

QUICK = {"tool_lease": 60.0, "tool_renewal": 0.01}
"""Renewals in real time; the lease itself goes by the clock of the test."""

holder: ContextVar[str] = ContextVar("holder", default="")


class Bench:
    """Tools that a test holds in its hands: each start is noted, and waits until it is let go."""

    def __init__(self) -> None:
        self.starts: list[ToolContext] = []
        self.stopped: list[str] = []
        self.released = asyncio.Event()

        @tool
        async def wait(context: ToolContext, label: str) -> str:
            """Wait until the test lets go."""
            self.starts.append(context)
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                self.stopped.append(label)
                raise
            return f"{label} done by start {context.start}"

        @tool(at_most_once=True)
        async def wait_once(context: ToolContext, label: str) -> str:
            """Wait until the test lets go; never twice."""
            return str(await wait.function(context, label))

        @tool
        async def hurry(context: ToolContext, label: str) -> str:
            """Be done at once."""
            self.starts.append(context)
            return f"{label} done by start {context.start}"

        self.tools: Sequence[Tool] = (wait, wait_once, hurry)

    def factory(self) -> AgentFactory:
        """The agent *bench* over these tools."""
        return agent_with(*self.tools)

    def factory_with(self, *more: Tool) -> AgentFactory:
        """The same with more tools."""
        return agent_with(*self.tools, *more)


def agent_with(*tools: Tool) -> AgentFactory:
    """An agent *bench* that has these tools."""

    def build(settings: Settings, provider: Provider) -> Agent:
        return ResponsesAgent(
            name="bench",
            description="Has the tools of a test.",
            instructions="Do what the script says.",
            model=settings.openai_model,
            provider=provider,
            tools=tools,
        )

    return build


def calls(*asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A script that asks for these tools and then says what came back."""
    return [{"calls": [{"name": name, "arguments": given} for name, given in asked]}, {"echo": True}]


async def at_tools(rig: Rig, *asked: tuple[str, dict[str, Any]], **fields: Any) -> str:
    """A run of the bench whose model has asked for these tools, which nobody has begun."""
    await rig.model.script("s", calls(*asked))
    run_id = await rig.start(agent="bench", **fields)
    await rig.follow(run_id, lambda run: isinstance(run.phase, RunningTools))
    return run_id


def due(run: Run) -> datetime:
    """When the run is woken next."""
    soonest = next_time(run)
    assert soonest is not None
    return soonest.due


def lease_of(run: Run) -> Lease | None:
    """Who runs the tools of the run, if anybody does."""
    return run.phase.lease if isinstance(run.phase, RunningTools) else None


async def outputs(rig: Rig, turn: int = 2) -> list[Any]:
    """What the model was sent as the outputs of its calls, errors as objects."""
    (create,) = await rig.model.creates(turn=str(turn))
    assert create.body is not None
    return [_read(item["output"]) for item in create.body["input"] if item["type"] == "function_call_output"]


def _read(output: str) -> Any:
    return json.loads(output) if output.startswith("{") else output


def wake_as(name: str, rig: Rig, run_id: str) -> asyncio.Task[Outcome]:
    """A wake in a task of its own, known to the hooks by a name."""
    token = holder.set(name)
    try:
        return asyncio.create_task(rig.wake(run_id))
    finally:
        holder.reset(token)


def cut_off(name: str) -> Callable[..., Any]:
    """A hook: nothing that this holder writes arrives."""

    async def hook(operation: str, table: Table, partition: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and holder.get() == name:
            raise StoreUnavailable("cut off")

    return hook


async def test_a_tool_much_longer_than_the_lease_runs_once(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: bench.starts)
    for _ in range(10):
        rig.clock.move(30)
        now = rig.clock.now

        async def renewed(since: Any = now) -> bool:
            lease = lease_of(await rig.run(run_id))
            return lease is not None and lease.until > since

        await eventually(renewed)
        assert (await rig.wake(run_id)).wake_in != 0  # another driver looks, and leaves it alone
    bench.released.set()
    assert (await work).wake_in == 0
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert len(bench.starts) == 1


async def test_a_run_at_work_is_never_overdue(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: bench.starts)
    for _ in range(3):
        rig.clock.move(50)

        async def ahead() -> bool:
            run = await rig.run(run_id)
            lease = lease_of(run)
            return lease is not None and due(run) > rig.clock.now and due(run) == lease.until

        await eventually(ahead)
    bench.released.set()
    await work


async def test_a_holder_that_is_cut_off_can_write_nothing_after_the_takeover(rigs: NewRig) -> None:
    first, second = Bench(), Bench()
    one = await rigs([first.factory()], **QUICK)
    two = await rigs([second.factory()], **QUICK)
    run_id = await at_tools(one, ("wait", {"label": "a"}))
    lost = wake_as("one", one, run_id)
    await eventually(lambda: first.starts)
    one.tables.before = cut_off("one")
    one.clock.move(61)
    takeover = wake_as("two", two, run_id)
    await eventually(lambda: second.starts)
    one.tables.before = None  # it can write again, and must not
    first.released.set()
    await lost
    (call,) = await two.calls(run_id)
    assert call.state is CallState.STARTED
    second.released.set()
    await takeover
    assert [context.idempotency_key for context in first.starts + second.starts] == [f"{run_id}:1:0"] * 2
    assert [context.call_id for context in first.starts] == [context.call_id for context in second.starts]
    assert (await two.follow(run_id)).status is RunStatus.COMPLETED
    assert await outputs(two) == ["a done by start 2"]


@pytest.mark.parametrize("renewal", [0.01, 30.0], ids=["by its renewal", "by its result"])
async def test_however_a_lost_lease_shows_it_is_logged(
    rigs: NewRig, caplog: pytest.LogCaptureFixture, renewal: float
) -> None:
    first, second = Bench(), Bench()
    one = await rigs([first.factory()], tool_lease=60.0, tool_renewal=renewal)
    two = await rigs([second.factory()], tool_lease=60.0, tool_renewal=30.0)
    run_id = await at_tools(one, ("wait", {"label": "a"}))
    lost = wake_as("one", one, run_id)
    await eventually(lambda: first.starts)
    one.tables.before = cut_off("one")
    one.clock.move(61)
    takeover = wake_as("two", two, run_id)
    await eventually(lambda: second.starts)
    one.tables.before = None
    if renewal == 30.0:
        first.released.set()
    await lost
    assert f"run {run_id}: lost the lease" in caplog.text
    second.released.set()
    await takeover


async def test_an_interrupted_tool_that_runs_at_most_once_is_told_as_unknown(rigs: NewRig) -> None:
    first, second = Bench(), Bench()
    one = await rigs([first.factory()], **QUICK)
    two = await rigs([second.factory()], **QUICK)
    run_id = await at_tools(one, ("wait_once", {"label": "a"}), ("wait", {"label": "b"}))
    dead = wake_as("one", one, run_id)
    await eventually(lambda: len(first.starts) == 2)
    one.tables.before = cut_off("one")
    dead.cancel()
    await asyncio.wait([dead])
    one.clock.move(61)
    second.released.set()
    run = await two.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert [context.start for context in second.starts] == [2]
    unknown, done = await outputs(two)
    assert unknown["error"]["code"] == "outcome_unknown"
    assert done == "b done by start 2"


async def test_a_tool_that_never_survives_ends_as_an_unknown_outcome(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], tool_starts=4, **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    for start in (1, 2, 3):
        rig.tables.before = None
        dead = wake_as("dead", rig, run_id)
        await eventually(lambda start=start: len(bench.starts) == start)  # type: ignore[misc]
        rig.tables.before = cut_off("dead")
        dead.cancel()
        await asyncio.wait([dead])
        rig.clock.move(61)
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert len(bench.starts) == 3
    (unknown,) = await outputs(rig)
    assert unknown["error"]["code"] == "outcome_unknown"


async def interrupted(rig: Rig, bench: Bench, runs: Sequence[str], *, renewed: bool) -> None:
    """Start the tools of these runs side by side in one process, end that process, and let its leases run out.

    ``renewed``: only after the leases were renewed, as they are after a second.
    """
    before = len(bench.starts)
    wakes = [wake_as("dead", rig, run_id) for run_id in runs]
    await eventually(lambda: len(bench.starts) == before + len(runs))
    if renewed:

        async def noted() -> bool:
            leases = [lease_of(await rig.run(run_id)) for run_id in runs]
            return all(lease is not None and lease.beside_others for lease in leases)

        await eventually(noted)
    rig.tables.before = cut_off("dead")
    for wake in wakes:
        wake.cancel()
    await asyncio.wait(wakes)
    rig.tables.before = None
    rig.clock.move(61)


async def two_at_tools(rig: Rig) -> list[str]:
    return [await at_tools(rig, ("wait", {"label": label})) for label in "ab"]


async def test_interruptions_of_a_process_that_runs_other_tools_too_do_not_use_up_a_tool_s_starts(
    rigs: NewRig,
) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    runs = await two_at_tools(rig)
    for _ in range(5):
        await interrupted(rig, bench, runs, renewed=True)
    bench.released.set()
    for run_id in runs:
        assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
        (call,) = await rig.calls(run_id)
        assert (call.starts, call.interruptions, "done by start 6" in str(call.result)) == (6, 5, True)


async def test_a_call_ends_however_often_its_process_is_interrupted(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], tool_starts_most=5, **QUICK)
    runs = await two_at_tools(rig)
    for _ in range(4):
        await interrupted(rig, bench, runs, renewed=True)
    for run_id in runs:
        assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
        (call,) = await rig.calls(run_id)
        assert (call.starts, "outcome_unknown" in str(call.result)) == (4, True)


async def test_tools_whose_process_ends_at_once_use_up_their_starts_side_by_side_too(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], tool_lease=60.0, tool_renewal=20.0)
    runs = await two_at_tools(rig)
    for _ in range(2):
        await interrupted(rig, bench, runs, renewed=False)
    for run_id in runs:
        assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
        (call,) = await rig.calls(run_id)
        assert (call.starts, "outcome_unknown" in str(call.result)) == (2, True)


async def test_a_start_alone_counts_after_one_beside_others(rigs: NewRig) -> None:
    """What the last holder noted says nothing of this one."""
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    one, other = await two_at_tools(rig)
    await interrupted(rig, bench, [one, other], renewed=True)
    for _ in range(2):
        await interrupted(rig, bench, [one], renewed=False)
    assert (await rig.follow(one)).status is RunStatus.COMPLETED
    (call,) = await rig.calls(one)
    assert (call.starts, call.interruptions, "outcome_unknown" in str(call.result)) == (3, 1, True)


async def test_a_finished_tool_is_not_run_again_with_the_interrupted_one(rigs: NewRig) -> None:
    first, second = Bench(), Bench()
    one = await rigs([first.factory()], **QUICK)
    two = await rigs([second.factory()], **QUICK)
    run_id = await at_tools(one, ("hurry", {"label": "a"}), ("wait", {"label": "b"}))
    dead = wake_as("one", one, run_id)

    async def half_done() -> bool:
        return [call.state for call in await one.calls(run_id)] == [CallState.FINISHED, CallState.STARTED]

    await eventually(half_done)
    one.tables.before = cut_off("one")
    dead.cancel()
    await asyncio.wait([dead])
    before, _ = await two.calls(run_id)
    one.clock.move(61)
    second.released.set()
    await two.follow(run_id)
    after, _ = await two.calls(run_id)
    assert before == after
    assert [context.idempotency_key for context in second.starts] == [f"{run_id}:1:1"]
    assert await outputs(two) == ["a done by start 1", "b done by start 2"]


async def test_a_cancel_stops_the_tool_and_its_result_is_not_written(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: bench.starts)
    await cancel(rig.app.ports, run_id)
    assert (await work).status is RunStatus.CANCELLED
    assert bench.stopped == ["a"]
    (call,) = await rig.calls(run_id)
    assert call.state is CallState.STARTED
    assert (await rig.run(run_id)).status is RunStatus.CANCELLED
    assert len(await rig.model.creates()) == 1


async def test_the_deadline_stops_tools_that_are_at_work(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}), deadline_seconds=100.0)
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: bench.starts)
    assert due(await rig.run(run_id)) <= rig.clock.move(99)
    outcome = await work if rig.clock.move(2) and await eventually(work.done) else None
    assert outcome is not None
    assert outcome.wake_in == 0
    run = await rig.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "deadline_exceeded")
    assert bench.stopped == ["a"]


async def test_twenty_wakes_at_once_run_each_tool_once(rigs: NewRig) -> None:
    bench = Bench()
    bench.released.set()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, *[("wait", {"label": str(index)}) for index in range(5)])
    while not (await rig.run(run_id)).terminal:
        gaps = [outcome.wake_in for outcome in await asyncio.gather(*(rig.wake(run_id) for _ in range(20)))]
        rig.clock.move(min(gap for gap in gaps if gap is not None) if any(gap is not None for gap in gaps) else 0)
    assert sorted(context.idempotency_key for context in bench.starts) == [f"{run_id}:1:{i}" for i in range(5)]
    assert len(await rig.model.creates()) == 2
    session = await rig.session(run_id)
    assert session.response_id == (await rig.run(run_id)).chain.last_response_id
    assert (await rig.run(run_id)).status is RunStatus.COMPLETED


async def test_results_survive_an_outage_of_the_store(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))
    work = wake_as("one", rig, run_id)
    await eventually(lambda: bench.starts)
    rig.tables.fail_next(StoreUnavailable("gone"), operation="commit")
    rig.tables.fail_next(StoreUnavailable("answer lost"), operation="commit", applied=True)
    bench.released.set()
    await work
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
    assert len(bench.starts) == 1


async def test_a_wake_that_crashes_after_its_takeover_is_counted(rigs: NewRig, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.released.set()
    rig = await rigs([bench.factory()], **QUICK)
    run_id = await at_tools(rig, ("wait", {"label": "a"}))

    async def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(tools, "_settle", broken)
    run: Run = await rig.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "internal_error")
    assert len(bench.starts) == 1


async def test_a_tool_that_does_not_stop_is_left_behind(rigs: NewRig, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = asyncio.Event()

    @tool
    async def stubborn() -> str:
        """Go on, whoever says stop."""
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return "too late"

    monkeypatch.setattr(within, "STOP_SECONDS", 0.05)
    rig = await rigs([agent_with(stubborn)], tool_timeout=0.05)
    run_id = await at_tools(rig, ("stubborn", {}))
    run = await rig.follow(run_id)
    let_go.set()
    assert run.status is RunStatus.COMPLETED
    (output,) = await outputs(rig)
    assert output["error"]["code"] == "tool_timeout"


@tool
def exhausted() -> str:
    """Raise what no future can carry."""
    return str(next(iter([])))


@tool
def leave() -> str:
    """Try to end the process."""
    raise SystemExit(3)


@tool
async def leave_softly() -> str:
    """Try to end the process, on the loop."""
    raise SystemExit(3)


@tool
async def cancelled_within() -> str:
    """Wait for something that was cancelled."""
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    return str(await waiting)


@tool
async def unprintable() -> object:
    """Return what is no JSON."""
    return object()


@tool
async def half_a_pair() -> str:
    """Return text that is none."""
    return "half \ud83d of a pair, and a \0"


@pytest.mark.parametrize("broken", [exhausted, leave, leave_softly, cancelled_within, unprintable])
async def test_whatever_a_tool_raises_is_told_to_the_model(rigs: NewRig, broken: Tool) -> None:
    rig = await rigs([agent_with(broken)], tool_timeout=5.0)
    run_id = await at_tools(rig, (broken.name, {}))
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    (output,) = await outputs(rig)
    assert output["error"]["code"] == "tool_error"
    (call,) = await rig.calls(run_id)
    assert call.starts == 1


async def test_a_result_that_is_no_text_does_not_stop_the_run(rigs: NewRig) -> None:
    rig = await rigs([agent_with(half_a_pair)])
    run_id = await at_tools(rig, ("half_a_pair", {}))
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert await outputs(rig) == ["half \ufffd of a pair, and a \0"]


@pytest.mark.parametrize("arguments", ["", "nothing", "[]", "[" * 100_000, '{"label": 3}', '{"more": 1}', "{}"])
async def test_arguments_that_do_not_fit_are_told_to_the_model(rigs: NewRig, arguments: str) -> None:
    rig = await rigs([Bench().factory()])
    await rig.model.script("s", [{"calls": [{"name": "wait", "arguments": arguments}]}, {"echo": True}])
    run = await rig.run_to_end(agent="bench")
    assert run.status is RunStatus.COMPLETED
    (output,) = await outputs(rig)
    assert output["error"]["code"] == "invalid_arguments"


@pytest.mark.parametrize(
    ("message", "fraction"),
    [("half \ud83d", 0.5), ("x", Decimal("0.5")), ("x", 10**30), ("x", float("nan")), (5, None)],
)
async def test_progress_that_no_row_could_hold_costs_no_result(rigs: NewRig, message: Any, fraction: Any) -> None:
    starts: list[int] = []

    @tool
    async def chatty(context: ToolContext) -> str:
        """Say how far it is."""
        starts.append(context.start)
        context.report_progress(message, fraction)
        await asyncio.sleep(0.02)
        return "done"

    rig = await rigs([agent_with(chatty)])
    run_id = await at_tools(rig, ("chatty", {}))
    run = await rig.follow(run_id)
    assert (run.status, starts) == (RunStatus.COMPLETED, [1])
    assert await outputs(rig) == ["done"]
    (call,) = await rig.calls(run_id)
    assert call.progress == str(message).replace("\ud83d", "\ufffd")
    assert call.progress_fraction is None or math.isfinite(call.progress_fraction)


async def test_a_long_output_is_cut_in_the_row_and_the_model_is_told(rigs: NewRig) -> None:
    rig = await rigs(tool_output_bytes=2_000)
    await rig.model.script(
        "s", [{"calls": [{"name": "write_much", "arguments": {"label": "é", "times": 2_001}}]}, {"text": "done"}]
    )
    run_id = await rig.start()
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    (call,) = await rig.calls(run_id)
    result = await rig.app.ports.runs.load_text(run, call.result)
    assert result.startswith("é" * 1_000 + "\n\n[")
    assert "had 4002 bytes" in result
    assert len(result) < 1_300
    assert (await sent_outputs(rig))[0]["output"] == result


async def test_an_output_of_just_the_most_is_whole(rigs: NewRig) -> None:
    rig = await rigs(tool_output_bytes=2_000)
    await rig.model.script(
        "s", [{"calls": [{"name": "write_much", "arguments": {"label": "é", "times": 1_000}}]}, {"text": "done"}]
    )
    await rig.run_to_end()
    assert (await sent_outputs(rig))[0]["output"] == "é" * 1_000


async def test_the_outputs_of_a_turn_have_a_most_together(rigs: NewRig) -> None:
    rig = await rigs(tool_output_bytes=2_000)
    call = {"name": "write_much", "arguments": {"label": "x", "times": 2_000}}
    await rig.model.script("s", [{"calls": [call] * 9}, {"text": "done"}])
    run = await rig.run_to_end()
    assert run.status is RunStatus.COMPLETED
    outputs = [each["output"] for each in await sent_outputs(rig)]
    assert outputs[:4] == ["x" * 2_000] * 4
    assert all(
        "the tools of one turn may return 8000 together" in output and len(output) < 300 for output in outputs[4:]
    )


async def sent_outputs(rig: Rig) -> list[dict[str, Any]]:
    """What the model was told of the tools."""
    sent = (await rig.model.creates())[-1].body["input"]
    return [item for item in sent if item.get("type") == "function_call_output"]
