"""One line of the ledger: progress as a courtesy, the result as a duty, and nothing from who lost the lease."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from shared.agentkit.tools import ToolContext, tool
from shared.runs import ledger
from shared.runs.run import CallState, RunStatus, ToolCall
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.unit.runs.conftest import NewRig, Rig, eventually
from tests.unit.runs.test_toolwork import QUICK, agent_with, at_tools, outputs


class Talker:
    """A tool that says what the test tells it to, and ends when it is let go."""

    def __init__(self) -> None:
        self.contexts: list[ToolContext] = []
        self.let_go = threading.Event()

        @tool
        async def talk(context: ToolContext) -> str:
            """Wait, on the loop."""
            self.contexts.append(context)
            while not self.let_go.is_set():  # noqa: ASYNC110 (threads wait for it too)
                await asyncio.sleep(0.005)
            return f"done by start {context.start}"

        @tool
        def talk_in_a_thread(context: ToolContext) -> str:
            """Wait, in a thread."""
            self.contexts.append(context)
            for step in range(20):
                context.report_progress(f"step {step}", step / 20)
            self.let_go.wait(10)
            return f"done by start {context.start}"

        self.tools = (talk, talk_in_a_thread)


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Talker:
    monkeypatch.setattr(ledger, "PROGRESS_GAP", 0.02)
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
    talker.let_go.set()
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
    monkeypatch.setattr(ledger, "PROGRESS_GAP", 0.2)
    rig, run_id, work = await talking(rigs, talker)
    time = asyncio.get_running_loop().time
    seen, begun = writes(rig), time()
    for step in range(1_000):
        talker.contexts[0].report_progress(f"step {step}", step / 1_000)
        if step % 100 == 0:
            await asyncio.sleep(0.01)
    await says(rig, run_id, "step 999")
    assert len(seen) <= 2 + (time() - begun) / ledger.PROGRESS_GAP, "the first at once, then one a gap"
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
                if failures[name] and change.values.get(name) and "lease_owner" not in change.values:
                    failures[name] -= 1
                    raise StoreUnavailable("gone")
        if operation == "query" and talker.let_go.is_set() and reads and failures["state"] < 2:
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
    other.let_go.set()
    await takeover
    assert (await two.follow(run_id)).status is RunStatus.COMPLETED
    assert await outputs(two) == ["done by start 2"]
