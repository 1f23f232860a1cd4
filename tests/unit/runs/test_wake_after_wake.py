"""What an execution carries from one wake to the next, and what others change in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.agentkit.tools import tool
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.model.calls import CallState
from shared.runs.model.phases import Pending, RunStatus
from shared.runs.model.run import PartRef
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver, RunBefore
from tests.unit.runs.test_answers import NO, YES, ask, done, never_stuck, waiting
from tests.unit.runs.test_tools import QUICK, Bench, calls, lease_of, outputs
from tests.unit.runs.test_transactions import operations

TWO = (("hurry", {"label": "a"}), ("hurry", {"label": "b"}))


async def begun(rig: Rig, script: list[dict[str, Any]], agent: str = "bench") -> str:
    """A run whose response is there, and that nobody has looked at."""
    await rig.model.script("s", script)
    run_id = await rig.start(agent=agent)
    rig.clock.move(2)
    return run_id


async def at_each(rig: Rig, begin: Callable[[], Awaitable[str]], other: Callable[[str], Awaitable[Any]]) -> list[str]:
    """Let ``other`` come in between, at each operation of an execution in turn, each with a run of its own."""
    runs: list[str] = []
    while True:
        run_id = await begin()
        with RunBefore(rig, len(runs) + 1, lambda: other(run_id)) as race:  # noqa: B023
            await rig.run_activity(run_id)
        if not race.happened:
            return runs
        runs.append(run_id)


@pytest.mark.parametrize(("driver", "reads", "writes"), [("durable", 1, 7), ("timer", 2, 8)])
async def test_a_turn_of_two_tools_reads_its_run_once_and_is_seven_writes(
    rigs: NewRig, driver: str, reads: int, writes: int
) -> None:
    rig = await rigs([Bench().factory()], driver=driver)
    await rig.model.script("s", [{"calls": calls(*TWO)[0]["calls"]}, {"stuck": True}])
    submitted = await rig.submit(agent="bench")
    await Driver(rig).start_run(submitted)
    rig.clock.move(2)
    # The look; the lease; the end of each; what they came to; the claim; what was created. Under `timer` the due row.
    found = await operations(rig, lambda: rig.run_activity(submitted.run.id))
    assert found == {"get": reads, "commit": writes}
    run = await rig.run(submitted.run.id)
    assert (type(run.phase), run.turn.number) == (Pending, 2)


@pytest.mark.parametrize("times", [1, 30_000], ids=["short", "long"])
async def test_the_model_gets_what_the_rows_hold(rig: Rig, times: int) -> None:
    asked = [{"name": "write_much", "arguments": {"label": label, "times": times}} for label in "éb"]
    run_id = await begun(rig, [{"calls": asked}, {"echo": True}], "workshop")
    await rig.run_activity(run_id)
    assert await outputs(rig) == ["é" * times, "b" * times]
    assert [isinstance(call.result, PartRef) for call in await rig.calls(run_id)] == [times > 1] * 2
    (create,) = await rig.model.creates(turn="2")
    assert create.body is not None
    assert create.body["input"] == await rig.app.ports.runs.last_items(await rig.run(run_id))


async def test_other_wakes_at_any_time_make_no_second_start_and_no_second_create(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()])
    runs = await at_each(rig, lambda: begun(rig, calls(*TWO)), rig.run_activity)
    assert len(runs) == 8
    for run_id in runs:
        await done(rig, run_id)
        starts = sorted(context.idempotency_key for context in bench.starts if context.run_id == run_id)
        assert starts == [f"{run_id}:1:0", f"{run_id}:1:1"]
        assert len(await rig.model.creates(run=run_id)) == 2


async def test_a_cancel_at_any_time_ends_the_run_and_what_it_has_at_the_provider(rigs: NewRig) -> None:
    bench = Bench()
    rig = await rigs([bench.factory()])
    script = [{"calls": calls(*TWO)[0]["calls"]}, {"stuck": True}]
    runs = await at_each(rig, lambda: begun(rig, script), lambda run_id: cancel(rig.app.ports, run_id))
    assert len(runs) == 8
    for run_id in runs:
        run = await rig.follow(run_id, lambda _: False)
        assert run.status is RunStatus.CANCELLED
        cancelled = {entry.response_id for entry in await rig.model.log("cancel")}
        assert cancelled.issuperset(run.chain.response_ids[1:]), "the first is over"
    assert len(run.chain.response_ids) == 2, "created just before"


@pytest.mark.parametrize("names", [("send",), ("work", "send")], ids=["alone", "beside another"])
@pytest.mark.parametrize("word", [YES, NO], ids=["approved", "refused"])
async def test_an_answer_at_any_time_is_never_lost(rig: Rig, names: tuple[str, ...], word: Any) -> None:
    answered: set[str] = set()

    async def other(run_id: str) -> None:
        if asked := await waiting(rig, run_id):
            await answer(rig.app.ports, run_id, dict.fromkeys(asked, word))
            answered.add(run_id)

    runs = await at_each(rig, lambda: begun(rig, ask(*names), "workshop"), other)
    assert len(answered) >= 2, "before and after the run is parked"
    for run_id in runs:
        await never_stuck(rig, run_id)
        if run_id in answered:
            began = rig.clock.now
            await done(rig, run_id)
            assert (rig.clock.now - began).total_seconds() < 10, "nobody waited for a lease to run out"
            assert {call.state for call in await rig.calls(run_id)} == {CallState.FINISHED}


async def test_an_answer_that_a_renewal_has_read_past_is_not_lost(rigs: NewRig) -> None:
    @tool(requires_approval=True)
    async def ask_first(label: str) -> str:
        """Be done at once, when a person has approved."""
        return f"{label} approved"

    bench = Bench()
    rig = await rigs([bench.factory_with(ask_first)], **QUICK)
    run_id = await begun(rig, calls(("wait", {"label": "a"}), ("ask_first", {"label": "b"})))
    work = asyncio.create_task(rig.run_activity(run_id))
    await eventually(lambda: bench.starts)
    await answer(rig.app.ports, run_id, dict.fromkeys(await waiting(rig, run_id), YES))
    since = rig.clock.move(30)

    async def renewed() -> bool:
        lease = lease_of(await rig.run(run_id))
        return lease is not None and (lease.until - since).total_seconds() >= 60

    await eventually(renewed)
    bench.released.set()
    await work
    await done(rig, run_id)
    assert await outputs(rig) == ["a done by start 1", "b approved"]
