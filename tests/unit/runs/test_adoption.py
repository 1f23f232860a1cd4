"""A response that the provider tells us of: adopted, known already, not wanted, or none of ours."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.model.control import ModelControl
from shared.agentkit import faults
from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider, ProviderConfig
from shared.agentkit.responses import ResponsesAgent
from shared.runs.commands.adopt import adopt
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.outbox import EntryKind
from shared.runs.model.phases import Claim, Creating, Ended, Pending, RunningTools, RunStatus
from shared.runs.model.run import Run
from shared.runs.store.tables import Table
from shared.settings import Settings
from tests.parts import workshop
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig
from tests.unit.runs.crashes import RunBefore

LOST = {"create": [{"drop": True, "after_accept": True}]}
"""The response is made, and nobody hears of it."""


async def unheard(rig: Rig, **turn: Any) -> tuple[str, str]:
    """A run whose create had no answer, and the response that it made."""
    attempts = [{"text": "Found.", **turn}, {"text": "Another."}]
    await rig.model.script("s", [{"attempts": attempts, "faults": LOST}, {"text": "And on."}])
    run_id = await rig.start()
    run = await rig.run(run_id)
    assert (run.status, type(run.phase), run.chain.response_ids) == (RunStatus.QUEUED, Creating, ())
    (response,) = await rig.model.responses()
    return run_id, response.id


def claim_of(run: Run) -> Claim | None:
    """The open claim, if the run has one."""
    return run.phase.claim if isinstance(run.phase, Creating) else None


def nonce_of(run: Run) -> str:
    """Of the attempt that may still be adopted."""
    assert isinstance(run.phase, Creating)
    return run.phase.nonce


async def tell(rig: Rig, response_id: str) -> str | None:
    return await adopt(rig.app.ports, response_id)


async def make(rig: Rig, **metadata: str) -> str:
    """A response that no create of a run made, with this metadata."""
    body = {"model": "m", "input": "[script:f]", "background": True, "store": True, "metadata": metadata}
    await rig.model.script("f", [{"text": "Forged.", "think": 1_000}])
    return str((await rig.provider.send("/responses", body, timeout=5.0))["id"])


async def snapshot(rig: Rig) -> Any:
    return {table: sorted(map(repr, rig.tables.rows(table))) for table in Table}


async def cancelled(rig: Rig, response_id: str) -> bool:
    (known,) = [each for each in await rig.model.responses() if each.id == response_id]
    return known.cancelled


@pytest.mark.parametrize("done", [True, False])
async def test_the_current_attempt_of_unknown_outcome_is_adopted(rig: Rig, done: bool) -> None:
    run_id, response_id = await unheard(rig)
    rig.clock.move(10 if done else 0.1)
    assert await tell(rig, response_id) == run_id
    run = await rig.run(run_id)
    assert (run.chain.response_ids, claim_of(run)) == ((response_id,), None)
    assert run.status is (RunStatus.COMPLETED if done else RunStatus.IN_PROGRESS)
    assert isinstance(run.phase, Ended if done else Pending)
    assert run.is_done is done
    run = await rig.finish(run_id)
    assert (run.status, await rig.text(run_id), run.turn.unknown_outcomes) == (RunStatus.COMPLETED, "Found.", 0)
    assert len(await rig.model.creates()) == 1


async def test_tools_that_it_asks_for_are_run(rig: Rig) -> None:
    run_id, response_id = await unheard(rig, calls=[{"name": "work", "arguments": {"label": "a"}}])
    rig.clock.move(10)
    assert await tell(rig, response_id) == run_id
    assert isinstance((await rig.run(run_id)).phase, RunningTools)
    assert await rig.app.ports.due.get(run_id) is not None
    await rig.finish(run_id)
    assert await rig.text(run_id) == "And on."


async def test_an_attempt_that_is_given_up_is_cancelled_and_the_next_one_counts(rig: Rig) -> None:
    run_id, first = await unheard(rig, think=1_000)
    await rig.follow(run_id, lambda run: run.turn.attempt == 2 and run.token is not None)
    assert await tell(rig, first) == run_id
    assert await cancelled(rig, first)
    run = await rig.finish(run_id)
    assert (run.status, await rig.text(run_id), run.outbox.entries) == (RunStatus.COMPLETED, "Another.", ())


async def test_a_response_of_the_row_is_a_reason_to_look_and_changes_nothing_else(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Fine.", "think": 50}])
    run_id = await rig.start()
    (response,) = await rig.model.responses()
    before = await snapshot(rig)
    assert await tell(rig, response.id) == run_id
    assert await snapshot(rig) == before
    rig.clock.move(60)
    assert await tell(rig, response.id) == run_id
    await rig.wake(run_id)
    before = await snapshot(rig)
    assert await tell(rig, response.id) is None, "the run is over"
    assert await snapshot(rig) == before


async def test_a_response_of_a_cancelled_run_is_cancelled(rig: Rig) -> None:
    run_id, response_id = await unheard(rig, think=1_000)
    await cancel(rig.app.ports, run_id)
    assert await tell(rig, response_id) == run_id
    assert await cancelled(rig, response_id)
    run = await rig.finish(run_id)
    assert (run.status, run.is_done, run.outbox.entries) == (RunStatus.CANCELLED, True, ())


async def test_a_response_of_a_deleted_run_is_cancelled_and_deleted(rig: Rig) -> None:
    run_id, response_id = await unheard(rig, think=1_000)
    await delete_run(rig.app.ports, run_id)
    assert await tell(rig, response_id) == run_id
    (known,) = await rig.model.responses()
    assert (known.cancelled, known.deleted) == (True, True)
    run = await rig.follow(run_id, lambda run: [entry.kind for entry in run.outbox] == [EntryKind.REMOVAL])
    assert (run.status, run.is_deleted) == (RunStatus.CANCELLED, True)


async def test_a_provider_that_cannot_cancel_it_leaves_an_entry(rig: Rig) -> None:
    run_id, response_id = await unheard(rig, think=1_000)
    await cancel(rig.app.ports, run_id)
    await rig.model.switches(faults={"cancel": [{"status": 500}]})
    assert await tell(rig, response_id) == run_id
    assert not await cancelled(rig, response_id)
    run = await rig.run(run_id)
    assert (run.terminal, run.is_done) == (True, False)
    assert (await rig.finish(run_id)).is_done
    assert await cancelled(rig, response_id)


async def test_the_response_of_another_app_is_left_alone(rig: Rig) -> None:
    run_id, _ = await unheard(rig, think=1_000)
    run = await rig.run(run_id)
    mine = {"run": run_id, "turn": "1", "attempt": "1", "nonce": nonce_of(run)}
    before = await snapshot(rig)
    for metadata in ({**mine, "app": "another"}, mine, {}):
        response_id = await make(rig, **metadata)
        assert await tell(rig, response_id) is None
        assert not await cancelled(rig, response_id)
    assert await tell(rig, "resp_that_nobody_knows") is None
    assert await snapshot(rig) == before


@pytest.mark.parametrize(
    "name",
    ["", "run_", "run_x_1", f"run_{'0' * 32}_1", f"run_{'0' * 32}_1\n", f"run_{'0' * 32}_{'9' * 9}", "../x", "'"],
)
async def test_a_run_that_is_none_of_ours_wakes_nobody(rig: Rig, name: str) -> None:
    response_id = await make(rig, app="unit", run=name, turn="1", attempt="1", nonce="0")
    assert await tell(rig, response_id) is None
    assert not await cancelled(rig, response_id)
    assert rig.tables.rows(Table.RUNS) == []


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": "0"}, {"nonce": ""}, {"turn": "2"}, {"turn": "x"}, {"turn": ""}, {"attempt": "0"}, {"attempt": "01"}],
)
async def test_a_forged_attempt_is_never_adopted(rig: Rig, wrong: dict[str, str]) -> None:
    run_id, _ = await unheard(rig)
    run = await rig.run(run_id)
    right = {"app": "unit", "run": run_id, "turn": "1", "attempt": "1", "nonce": nonce_of(run)}
    forged = await make(rig, **{**right, **wrong})
    await tell(rig, forged)
    assert await cancelled(rig, forged)
    run = await rig.finish(run_id)
    assert (run.status, await rig.text(run_id)) == (RunStatus.COMPLETED, "Another.")


async def test_a_run_without_a_claim_adopts_nothing(rig: Rig) -> None:
    """The nonce of a run that has claimed nothing is empty, as is that of who leaves it out."""
    await rig.model.script("s", [{"faults": {"create": [{"status": 500}]}, "text": "Fine."}])
    run_id = await rig.start()
    await rig.follow(run_id, lambda run: claim_of(run) is None)
    run = await rig.run(run_id)
    empty = {"app": "unit", "run": run_id, "turn": "1", "attempt": str(run.turn.attempt), "nonce": ""}
    forged = await make(rig, **empty)
    await tell(rig, forged)
    assert await cancelled(rig, forged)


async def test_two_webhooks_at_once_adopt_it_once(rig: Rig) -> None:
    run_id, response_id = await unheard(rig, calls=[{"name": "pay", "arguments": {"label": "a"}}])
    rig.clock.move(10)
    assert set(await asyncio.gather(*(tell(rig, response_id) for _ in range(10)))) == {run_id}
    run = await rig.finish(run_id)
    assert (run.status, run.chain.response_ids[0]) == (RunStatus.COMPLETED, response_id)
    assert (run.counters.tool_calls, [call.starts for call in await rig.calls(run_id)]) == (1, [1])
    assert not await cancelled(rig, response_id)


async def test_a_webhook_at_any_moment_of_a_submit_does_no_harm(rigs: NewRig) -> None:
    """It comes right before each operation of the store, from the create on: the token is written once."""
    for at in itertools.count(1):
        rig = await rigs()
        await rig.model.reset()
        await rig.model.script("s", [{"text": "Fine."}])

        async def webhook(rig: Rig = rig) -> None:
            for response in await rig.model.responses():
                await tell(rig, response.id)

        with RunBefore(rig, at, webhook) as meanwhile:
            run_id = await rig.start()
        run = await rig.finish(run_id)
        assert (run.status, await rig.text(run_id), run.turn.attempt) == (RunStatus.COMPLETED, "Fine.", 1), at
        assert [each.cancelled for each in await rig.model.responses()] == [False], at
        if not meanwhile.happened:
            break
    assert at > 3


async def test_disowning_an_attempt_does_not_cost_the_one_that_is_being_made(rig: Rig) -> None:
    unheard_of = [{"drop": True, "after_accept": True}]
    attempts = [{"text": "Found.", "think": 1_000}, {"text": "Another."}]
    await rig.model.script("s", [{"attempts": attempts, "faults": {"create": unheard_of}}])
    run_id = await rig.start()
    (first,) = await rig.model.responses()
    rig.clock.move(100)
    held = HeldCreate(rig)
    wake = asyncio.create_task(rig.wake(run_id))
    await held.answered.wait()
    assert await tell(rig, first.id) == run_id
    assert (await rig.run(run_id)).token is None, "the second create has no answer yet"
    held.released.set()
    await wake
    run = await rig.finish(run_id)
    assert (run.status, await rig.text(run_id), run.turn.attempt) == (RunStatus.COMPLETED, "Another.", 2)
    assert [each.cancelled for each in await rig.model.responses()] == [True, False]


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"html": True}, {"drop": True}])
async def test_a_provider_that_does_not_say_is_a_fault_and_changes_nothing(rig: Rig, fault: dict[str, Any]) -> None:
    run_id, response_id = await unheard(rig)
    rig.clock.move(10)
    await rig.model.switches(faults={"retrieve": [{**fault, "times": -1}]})
    before = await snapshot(rig)
    with pytest.raises(faults.ProviderFault):
        await tell(rig, response_id)
    assert await snapshot(rig) == before
    await rig.model.switches(faults={})
    rig.clock.move(120)
    assert await tell(rig, response_id) == run_id


async def test_each_provider_is_asked_and_one_that_is_away_hides_no_other(rigs: NewRig) -> None:
    used: list[Provider] = []

    def elsewhere(given: Settings, _: Provider) -> Agent:
        used.append(Provider(ProviderConfig(credential="elsewhere", base_url=given.openai_base_url)))
        return ResponsesAgent(
            name="elsewhere", description="Elsewhere.", instructions="Do.", model="m", provider=used[-1]
        )

    rig = await rigs([workshop.build_judge, elsewhere])
    other = ModelControl(rig.server.root, "elsewhere")
    try:
        await other.script("s", [{"text": "There.", "faults": LOST}])
        run_id = await rig.start(agent="elsewhere")
        (response,) = await other.responses()
        rig.clock.move(10)
        await rig.model.switches(faults={"retrieve": [{"status": 500, "times": -1}]})
        with pytest.raises(faults.NoNews):
            await tell(rig, "resp_that_nobody_knows")
        assert await tell(rig, response.id) == run_id
        assert (await rig.run(run_id)).status is RunStatus.COMPLETED
        assert await rig.text(run_id) == "There."
    finally:
        for provider in used:
            await provider.close()


async def test_the_run_is_read_by_its_own_agent(rigs: NewRig) -> None:
    rig = await rigs([workshop.build_judge])
    await rig.model.script("s", [{"text": '{"guilty": true, "months": 3}', "faults": LOST}])
    run_id = await rig.start(agent="judge")
    (response,) = await rig.model.responses()
    rig.clock.move(10)
    assert await tell(rig, response.id) == run_id
    run = await rig.run(run_id)
    assert (run.status, await rig.app.ports.runs.load_text(run, run.result.output)) == (
        RunStatus.COMPLETED,
        '{"guilty":true,"months":3}',
    )


async def test_what_the_run_s_own_agent_has_under_the_id_is_compared_too(rigs: NewRig) -> None:
    """Two providers may hand out the same id: the signed webhook says nothing of the other one's response."""
    used: list[Provider] = []

    def with_its_own(given: Settings, shared: Provider) -> Agent:
        used.append(Provider(shared._config))
        return workshop.build_judge(given, used[-1])

    rig = await rigs([with_its_own])
    await rig.model.script("s", [{"text": "Found.", "faults": LOST}])
    run_id = await rig.start(agent="judge")
    (response,) = await rig.model.responses()
    other = {"id": response.id, "status": "completed", "output": [], "metadata": {**response.metadata, "nonce": "x"}}
    await rig.model.switches(faults={"retrieve": [{"body": other, "skip": 1}]})
    assert await tell(rig, response.id) is None
    run = await rig.run(run_id)
    assert (run.status, run.chain.response_ids) == (RunStatus.QUEUED, ())
    assert not await cancelled(rig, response.id)
    for provider in used:
        await provider.close()


@pytest.mark.parametrize("agent", ["workshop", "judge"])
async def test_the_end_that_it_tells_of_is_read_once(rigs: NewRig, agent: str) -> None:
    rig = await rigs([workshop.build_judge])
    await rig.model.script("s", [{"text": '{"guilty": true, "months": 3}'}])
    run_id = await rig.start(agent=agent)
    (response,) = await rig.model.responses()
    rig.clock.move(1.5)
    assert await tell(rig, response.id) == run_id
    run = await rig.run(run_id)
    assert (run.status, run.is_done, run.counters.wakes) == (RunStatus.COMPLETED, True, 2)
    assert (await rig.wake(run_id)).wake_in is None
    assert await tell(rig, response.id) is None
    assert len(await rig.model.log("retrieve")) == 2, "once for each webhook, and never by a wake"


async def test_the_tools_that_it_tells_of_are_run_by_the_wake(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "And on."}])
    run_id = await rig.start()
    (response,) = await rig.model.responses()
    rig.clock.move(1.5)
    assert await tell(rig, response.id) == run_id
    assert isinstance((await rig.run(run_id)).phase, RunningTools)
    row = await rig.app.ports.due.get(run_id)
    assert row is not None
    assert row.due <= rig.clock.now + timedelta(seconds=60), "announced: the signal may get lost"
    await rig.wake(run_id)
    assert len(await rig.model.log("retrieve")) == 1
    await rig.finish(run_id)
    assert await rig.text(run_id) == "And on."


@pytest.mark.parametrize(
    ("fields", "backs_off", "status"),
    [({"deadline_seconds": 1}, None, RunStatus.FAILED), ({}, 60, RunStatus.IN_PROGRESS)],
    ids=["past its deadline", "backing off after a crash"],
)
async def test_what_a_wake_would_not_read_now_is_left_to_it(
    rig: Rig, fields: dict[str, Any], backs_off: float | None, status: RunStatus
) -> None:
    await rig.model.script("s", [{"text": "Late."}])
    run_id = await rig.start(**fields)
    (response,) = await rig.model.responses()
    rig.clock.move(1.5)
    if backs_off is not None:
        stored = await rig.app.ports.runs.load(run_id)
        assert stored is not None
        resume_at = rig.clock.now + timedelta(seconds=backs_off)
        schedule = replace(stored.value.schedule, resume_at=resume_at, crashes=1)
        await rig.app.ports.runs.save(stored, replace(stored.value, schedule=schedule))
    assert await tell(rig, response.id) == run_id
    assert (await rig.run(run_id)).status is RunStatus.IN_PROGRESS
    await rig.wake(run_id)
    assert (await rig.run(run_id)).status is status
