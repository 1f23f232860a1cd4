"""The row of a call that runs: progress as a courtesy, the result as a duty, and nothing from who lost the lease."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from shared.agentkit.tools import ToolContext, tool
from shared.runs.actions import call_row
from shared.runs.commands.cancel import cancel
from shared.runs.model.calls import CallState, ToolCall
from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_tools import QUICK, agent_with, at_tools, outputs


class Talker:
    """A tool that says what the test tells it to, and ends when it is let go."""

    def __init__(self) -> None:
        self.contexts: list[ToolContext] = []
        self.released = threading.Event()

        @tool
        async def talk(context: ToolContext) -> str:
            """Wait, on the loop."""
            self.contexts.append(context)
            while not self.released.is_set():  # noqa: ASYNC110 (threads wait for it too)
                await asyncio.sleep(0.005)
            return f"done by start {context.start}"

        @tool
        def talk_in_a_thread(context: ToolContext) -> str:
            """Wait, in a thread."""
            self.contexts.append(context)
            for step in range(20):
                context.report_progress(f"step {step}", step / 20)
            self.released.wait(10)
            return f"done by start {context.start}"

        self.tools = (talk, talk_in_a_thread)


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Talker:
    monkeypatch.setattr(call_row, "PROGRESS_GAP", 0.02)
    return Talker()


async def talking(rigs: NewRig, talker: Talker, name: str = "talk") -> tuple[Rig, str, asyncio.Task[Any]]:
    """A run whose tool runs."""
    rig = await rigs([agent_with(*talker.tools)], **QUICK)
    run_id = await at_tools(rig, (name, {}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: talker.contexts)
    return rig, run_id, work


async def line(rig: Rig, run_id: str) -> ToolCall:
    (call,) = await rig.calls(run_id)
    return call


async def says(rig: Rig, run_id: str, message: str) -> ToolCall:
    async def said() -> ToolCall | None:
        call = await line(rig, run_id)
        return call if call.progress == message else None

    found: ToolCall = await eventually(said)
    return found


async def done(rig: Rig, run_id: str, work: asyncio.Task[Any], talker: Talker) -> ToolCall:
    talker.released.set()
    await asyncio.wait_for(work, 10)
    run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert await outputs(rig) == ["done by start 1"]
    assert len(talker.contexts) == 1
    return await line(rig, run_id)


def writes(rig: Rig) -> list[Any]:
    """The progress that is written from now on."""
    seen: list[Any] = []

    async def note(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit":
            seen.extend(change.values["progress"] for change in changes if change.values.get("progress"))

    rig.tables.after = note
    return seen


def takes_lease(change: Change) -> bool:
    """Whether it is part of a takeover: a run's new lease."""
    return '"lease":' in str(change.values.get("phase"))


async def test_progress_of_an_async_tool_is_written_while_it_runs(rigs: NewRig, talker: Talker) -> None:
    rig, run_id, work = await talking(rigs, talker)
    talker.contexts[0].report_progress("half", 0.5)
    call = await says(rig, run_id, "half")
    assert (call.progress_fraction, call.progress_at, call.state) == (0.5, rig.clock.now, CallState.STARTED)
    talker.contexts[0].report_progress("nearly")
    call = await says(rig, run_id, "nearly")
    assert call.progress_fraction is None, "not the one before"
    call = await done(rig, run_id, work, talker)
    assert (call.state, call.progress) == (CallState.FINISHED, "nearly")


async def test_progress_of_a_sync_tool_is_written_while_it_runs(rigs: NewRig, talker: Talker) -> None:
    rig, run_id, work = await talking(rigs, talker, "talk_in_a_thread")
    call = await says(rig, run_id, "step 19")
    assert (call.progress_fraction, call.state) == (0.95, CallState.STARTED)
    await done(rig, run_id, work, talker)


async def test_a_chatty_tool_costs_few_writes_and_the_last_word_counts(
    rigs: NewRig, talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_row, "PROGRESS_GAP", 0.2)
    rig, run_id, work = await talking(rigs, talker)
    time = asyncio.get_running_loop().time
    seen, begun = writes(rig), time()
    for step in range(1_000):
        talker.contexts[0].report_progress(f"step {step}", step / 1_000)
        if step % 100 == 0:
            await asyncio.sleep(0.01)
    await says(rig, run_id, "step 999")
    assert len(seen) <= 2 + (time() - begun) / call_row.PROGRESS_GAP, "the first at once, then one a gap"
    await done(rig, run_id, work, talker)


async def test_the_last_word_before_the_end_is_not_lost(rigs: NewRig, talker: Talker) -> None:
    rig, run_id, work = await talking(rigs, talker)
    talker.contexts[0].report_progress("first")
    await says(rig, run_id, "first")
    talker.contexts[0].report_progress("last", 1.0)
    call = await done(rig, run_id, work, talker)
    assert (call.progress, call.progress_fraction) == ("last", 1.0)


async def test_words_after_the_end_change_nothing(rigs: NewRig, talker: Talker) -> None:
    rig, run_id, work = await talking(rigs, talker)
    before = await done(rig, run_id, work, talker)
    seen = writes(rig)
    talker.contexts[0].report_progress("too late")
    await asyncio.sleep(0.1)
    assert (await line(rig, run_id), seen) == (before, [])


@pytest.mark.parametrize("applied", [False, True], ids=["lost", "answer lost"])
async def test_progress_goes_on_after_an_outage(rigs: NewRig, talker: Talker, applied: bool) -> None:
    """Also where the write was applied and only its answer lost, so that the ETag in hand is of yesterday."""
    rig, run_id, work = await talking(rigs, talker)
    failures = 0

    async def fail(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        nonlocal failures
        if operation == "commit" and failures < 2 and any(change.values.get("progress") for change in changes):
            failures += 1
            raise StoreUnavailable("gone")

    setattr(rig.tables, "after" if applied else "before", fail)
    talker.contexts[0].report_progress("one")
    await says(rig, run_id, "one")
    await eventually(lambda: failures == 2 or applied)
    for word in ("two", "three"):
        talker.contexts[0].report_progress(word)
        await says(rig, run_id, word)
    await done(rig, run_id, work, talker)


@pytest.mark.parametrize("applied", [False, True], ids=["lost", "answer lost"])
async def test_a_result_is_written_whatever_became_of_the_progress(rigs: NewRig, talker: Talker, applied: bool) -> None:
    """The worst in a row: progress of unknown fate, then the result's write, its reading back, and once more."""
    rig, run_id, work = await talking(rigs, talker)
    failures = {"progress": 1, "state": 2}
    reads = int(applied)  # only a write of unknown fate is read back

    async def fail(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        nonlocal reads
        for change in changes:
            for name in failures:
                if failures[name] and change.values.get(name) and not takes_lease(change):
                    failures[name] -= 1
                    raise StoreUnavailable("gone")
        if operation == "query" and talker.released.is_set() and reads and failures["state"] < 2:
            reads -= 1
            raise StoreUnavailable("gone")

    setattr(rig.tables, "after" if applied else "before", fail)
    talker.contexts[0].report_progress("one")
    await eventually(lambda: not failures["progress"])
    call = await done(rig, run_id, work, talker)
    assert (call.state, call.starts, failures["state"], reads) == (CallState.FINISHED, 1, int(applied), 0)


async def test_who_lost_the_lease_reports_no_progress(rigs: NewRig, talker: Talker) -> None:
    rig, run_id, work = await talking(rigs, talker)
    work.cancel()  # the wake is gone, what it left behind still talks
    await asyncio.wait([work])
    rig.clock.move(61)
    other = Talker()
    two = await rigs([agent_with(*other.tools)], **QUICK)
    takeover = asyncio.create_task(two.wake(run_id))
    await eventually(lambda: other.contexts)
    talker.contexts[0].report_progress("from the dead")
    other.contexts[0].report_progress("from the living")
    await says(two, run_id, "from the living")
    await asyncio.sleep(0.1)
    assert (await line(two, run_id)).progress == "from the living"
    other.released.set()
    await takeover
    assert (await two.follow(run_id)).status is RunStatus.COMPLETED
    assert await outputs(two) == ["done by start 2"]


# --- a process that stands still past its lease ---------------------------------------------------------------------


class Frozen:
    """A tool that looks at ``cancelled``, before and after its process stands still; from its second start on once."""

    def __init__(self) -> None:
        self.wake_up, self.looked = threading.Event(), threading.Event()
        self.seen: list[bool] = []
        self.starts: list[int] = []

        @tool
        def careful(context: ToolContext) -> str:
            """Look, stand still, look again."""
            self.starts.append(context.start)
            self.seen.append(context.cancelled)
            self.looked.set()
            if context.start == 1:
                self.wake_up.wait(10)
                context.report_progress("out of the ice")
                self.seen.append(context.cancelled)
            return f"done by start {context.start}"

        self.tool = careful


async def test_a_tool_of_a_process_that_stood_still_is_told_before_the_process_itself_knows(rigs: NewRig) -> None:
    frozen = Frozen()
    slow = {"tool_lease": 60.0, "tool_renewal": 30.0}
    one, two = [await rigs([agent_with(frozen.tool)], **slow) for _ in range(2)]
    run_id = await at_tools(one, ("careful", {}))
    lost = asyncio.create_task(one.wake(run_id))
    await eventually(frozen.looked.is_set)
    one.clock.move(61)
    await two.wake(run_id)
    done_by_two = await line(two, run_id)
    frozen.wake_up.set()
    await lost
    assert (frozen.starts, frozen.seen) == ([1, 2], [False, False, True])
    assert await line(two, run_id) == done_by_two, "neither its progress nor its result"
    assert (await two.follow(run_id)).status is RunStatus.COMPLETED
    assert await outputs(two) == ["done by start 2"]


async def test_what_a_tool_returns_that_was_told_to_stop_is_not_its_result(rigs: NewRig) -> None:
    """Nobody has taken the run over, so that the lease may be renewed: the tool is begun again all the same."""
    frozen = Frozen()
    rig = await rigs([agent_with(frozen.tool)], tool_lease=60.0, tool_renewal=30.0)
    run_id = await at_tools(rig, ("careful", {}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(frozen.looked.is_set)
    rig.clock.move(61)
    frozen.wake_up.set()
    await work
    assert (await line(rig, run_id)).state is CallState.STARTED
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED
    assert (frozen.seen, await outputs(rig)) == ([False, True, False], ["done by start 2"])


async def test_a_result_that_comes_after_the_lease_is_taken_where_nobody_has_the_run(rigs: NewRig) -> None:
    """A tool that never looked has done its work: to run it twice would help nobody."""
    talker = Talker()
    rig = await rigs([agent_with(*talker.tools)], tool_lease=60.0, tool_renewal=30.0)
    run_id = await at_tools(rig, ("talk_in_a_thread", {}))
    work = asyncio.create_task(rig.wake(run_id))
    await eventually(lambda: talker.contexts)
    rig.clock.move(61)
    call = await done(rig, run_id, work, talker)
    assert (call.starts, await outputs(rig)) == (1, ["done by start 1"])


@pytest.mark.parametrize("name", ["talk", "talk_in_a_thread"])
async def test_no_tool_is_begun_under_a_lease_that_has_run_out(rigs: NewRig, name: str) -> None:
    """The process stands still between its takeover and the start of the tool; another one does all of the work."""
    first, second = Talker(), Talker()
    second.released.set()
    one = await rigs([agent_with(*first.tools)], tool_renewal=30.0)
    two = await rigs([agent_with(*second.tools)], tool_renewal=30.0)
    run_id = await at_tools(one, (name, {}))

    async def stand_still(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and any(map(takes_lease, changes)):
            one.tables.after = None
            one.clock.move(61)
            await two.wake(run_id)

    one.tables.after = stand_still
    await one.wake(run_id)
    assert (len(first.contexts), len(second.contexts)) == (0, 1)
    assert (await two.follow(run_id)).status is RunStatus.COMPLETED
    assert await outputs(two) == ["done by start 2"]


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_a_tool_in_a_thread_sees_that_nobody_waits_for_it_any_more(rigs: NewRig, how: str) -> None:
    seen = threading.Event()
    begun = threading.Event()
    given_up = threading.Event()

    @tool
    def patient(context: ToolContext) -> str:
        """Go on until it is told to stop."""
        begun.set()
        while not context.cancelled and not given_up.wait(0.005):
            pass
        if context.cancelled:
            seen.set()
        return "stopped"

    rig = await rigs([agent_with(patient)], tool_timeout=0.2 if how == "timed out" else 60.0, tool_renewal=0.01)
    run_id = await at_tools(rig, ("patient", {}))
    work = asyncio.create_task(rig.wake(run_id))
    try:
        await eventually(begun.is_set)
        if how == "cancelled":
            await cancel(rig.app.ports, run_id)
        await work
        await eventually(seen.is_set)
    finally:
        given_up.set()
    if how == "timed out":
        await rig.follow(run_id)
        (told,) = await outputs(rig)
        assert told["error"]["code"] == "tool_timeout"
