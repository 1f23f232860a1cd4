"""Agents without background mode: they answer within a wake, under a renewed lease, and never leave a token."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from shared.runs.actions.outcome import outcome
from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.commit import commit
from shared.runs.model.facts import AgentUnknown, Approve
from shared.runs.model.phases import Claim, Creating, Pending, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.parts import workshop
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import HeldCreate, NewRig, Rig
from tests.unit.runs.crashes import Killed

QUICK = {"tool_lease": 60.0, "tool_renewal": 0.01}
SLOW = {"text": "At last.", "faults": {"create": [{"hang": 0.3}]}}
LATE = [{"text": "At last."}]
"""With `Held`: answered when the test says so."""


@pytest.fixture
async def phone(rigs: NewRig) -> Rig:
    return await rigs([workshop.build_chat], **QUICK)


async def script(rig: Rig, name: str, turns: list[dict[str, Any]]) -> None:
    """A script whose turns take no time of the (standing) clock: a chat completion is answered when it is done."""
    await rig.model.script(name, [{"think": 0, **turn} for turn in turns])


async def begin(rig: Rig, **fields: Any) -> str:
    """A run of the agent over Chat Completions, submitted."""
    return await rig.start(agent=None if "session_id" in fields else "phone", **fields)


async def run_to_end(rig: Rig, text: str = "[script:s]", **fields: Any) -> Run:
    return await rig.run_to_end(text, agent=None if "session_id" in fields else "phone", **fields)


async def completions(rig: Rig) -> list[dict[str, Any]]:
    """The bodies of the calls, in order."""
    return [entry.body or {} for entry in await rig.model.log("chat")]


def claim_of(run: Run) -> Claim | None:
    """The claim that is a lease while the call runs, if any."""
    return run.phase.claim if isinstance(run.phase, Creating) else None


def claims(change: Change) -> bool:
    """Whether the row is written with a claim in it: a new one, or one that is renewed."""
    return '"claim":' in str(change.values.get("phase"))


async def say_that_the_agent_is_unknown(rig: Rig, run_id: str) -> None:
    """What a process of another version, which does not know the agent, writes that looked before the call began."""
    stored = await rig.app.ports.runs.load(run_id)
    assert stored is not None
    assert (await commit(rig.app.ports, stored, AgentUnknown())).refused is None


async def calling(rig: Rig, run_id: str) -> asyncio.Task[Any]:
    """A wake in the midst of its call."""
    before = len(await rig.model.log("chat"))
    wake = asyncio.create_task(rig.wake(run_id))

    async def called() -> bool:
        return len(await rig.model.log("chat")) > before

    await eventually(called)
    return wake


async def test_a_submit_does_not_call_the_model(phone: Rig) -> None:
    await script(phone, "s", [{"text": "Fine."}])
    run_id = await begin(phone)
    run = await phone.run(run_id)
    assert (run.status, type(run.phase), run.turn.attempt) == (RunStatus.QUEUED, Creating, 0)
    assert await completions(phone) == []
    assert (await phone.wake(run_id)).wake_in is None
    assert (await phone.run(run_id)).status is RunStatus.COMPLETED


async def test_tools_run_in_the_ledger_and_no_token_is_ever_stored(phone: Rig) -> None:
    seen: list[Any] = []

    async def note(_o: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        phases = [str(change.values.get("phase")) for change in changes]
        seen.extend(phase for phase in phases if '"token"' in phase or Pending.__name__ in phase)

    phone.tables.before = note
    calls = [{"name": name, "arguments": {"label": "a"}} for name in ("work", "pay")]
    await script(phone, "s", [{"text": "Wait.", "calls": calls}, {"text": "Done: ", "echo": True}])
    run = await run_to_end(phone)
    assert (run.status, run.turn.number, run.counters.tool_calls, seen) == (RunStatus.COMPLETED, 2, 2, [])
    text = await phone.text(run.id)
    assert "worked on a" in text
    assert "paid for a" in text
    assert [call.starts for call in await phone.calls(run.id)] == [1, 1]
    _, second = await completions(phone)
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool", "tool"]


async def test_the_conversation_is_sent_again_with_every_run(phone: Rig) -> None:
    await script(phone, "s", [{"calls": [{"name": "work", "arguments": {"label": "a"}}]}, {"text": "First."}])
    first = await run_to_end(phone)
    await script(phone, "bad", [{"status": "incomplete", "text": "Fi"}])
    bad = await run_to_end(phone, "[script:bad]", session_id=first.request.session_id)
    assert (bad.status, bad.result.incomplete_reason) == (RunStatus.INCOMPLETE, "max_output_tokens")
    await script(phone, "t", [{"text": "Second."}])
    second = await run_to_end(phone, "Again. [script:t]", session_id=first.request.session_id)
    assert second.status is RunStatus.COMPLETED
    body = (await completions(phone))[-1]
    assert [(each["role"], each["content"]) for each in body["messages"][1:]] == [
        ("user", "[script:s]"),
        ("assistant", None),
        ("tool", "worked on a"),
        ("assistant", "First."),
        ("user", "Again. [script:t]"),
    ]


async def test_a_call_longer_than_its_lease_is_renewed_and_made_once(phone: Rig) -> None:
    await script(phone, "s", LATE)
    run_id = await begin(phone)
    held = HeldCreate(phone)
    wake = await calling(phone, run_id)
    for _ in range(5):
        now = phone.clock.move(50)

        async def renewed(now: Any = now) -> bool:
            run = await phone.run(run_id)
            claim, soonest = claim_of(run), next_time(run)
            assert claim is not None
            assert soonest is not None
            return all(each > now for each in (claim.until, claim.unknown_at, soonest.due))

        await eventually(renewed)
        left = await phone.wake(run_id)  # another driver looks, and leaves it alone
        assert left.wake_in is not None
        assert left.wake_in > 0
    held.released.set()
    assert (await wake).status is RunStatus.COMPLETED
    run = await phone.run(run_id)
    assert (run.turn.attempt, run.turn.unknown_outcomes, claim_of(run)) == (1, 0, None)
    assert len(await completions(phone)) == 1


async def test_a_process_that_stood_still_until_its_lease_was_over_calls_nobody(phone: Rig) -> None:
    await script(phone, "s", [{"text": "Fine."}])
    run_id = await begin(phone)

    async def freeze(_o: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if any(claims(change) for change in changes):
            phone.tables.after = None
            phone.clock.move(61)  # the lease is 60 s

    phone.tables.after = freeze
    await phone.wake(run_id)
    run = await phone.run(run_id)
    assert isinstance(run.phase, Creating)
    assert (run.turn.unknown_outcomes, run.phase.claim, run.chain.provider_status) == (0, None, "not_sent")
    assert await completions(phone) == []
    assert (await phone.follow(run_id)).status is RunStatus.COMPLETED


async def test_twenty_wakes_at_once_make_one_call(phone: Rig) -> None:
    await script(phone, "s", [SLOW])
    run_id = await begin(phone)
    await asyncio.gather(*(phone.wake(run_id) for _ in range(20)))
    assert (await phone.run(run_id)).status is RunStatus.COMPLETED
    assert len(await completions(phone)) == 1


async def test_a_crash_in_the_call_is_an_unknown_outcome_and_these_are_bounded(phone: Rig) -> None:
    await script(phone, "s", [{"faults": {"create": [{"hang": 60.0, "times": -1}]}}])
    run_id = await begin(phone)
    starts = []
    for attempt in range(1, 6):
        starts.append(phone.clock.seconds())
        wake = await calling(phone, run_id)
        wake.cancel()
        await asyncio.wait([wake])
        run = await phone.run(run_id)
        claim = claim_of(run)
        assert claim is not None
        assert (run.turn.attempt, claim.owner != "") == (attempt, True), "as a dead process leaves it"
        phone.clock.move(60)  # the lease runs out; no grace on top
        gap = outcome(await phone.run(run_id), phone.clock.now).wake_in
        assert gap == 0
        if attempt in (1, 5):
            continue
        await phone.wake(run_id)
        gap = outcome(await phone.run(run_id), phone.clock.now).wake_in
        assert gap is not None
        phone.clock.move(gap)
    run = await phone.follow(run_id)
    assert (run.status, run.result.error_code) == (RunStatus.FAILED, "start_uncertain")
    assert len(await completions(phone)) == 5
    assert [round(b - a) for a, b in itertools.pairwise(starts)] == [60, 360, 1_260, 3_660]
    assert (await phone.session(run_id)).active_run is None


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"drop": True, "after_accept": True}, {"html": True}, {"body": '{"id": "c", "choices": []}'}],
)
async def test_a_call_of_unknown_outcome_is_made_again(phone: Rig, fault: dict[str, Any]) -> None:
    await script(phone, "s", [{"text": "Fine.", "faults": {"create": [fault]}}])
    run = await run_to_end(phone)
    assert (run.status, run.turn.attempt, run.turn.unknown_outcomes) == (RunStatus.COMPLETED, 2, 1)
    assert await phone.gaps("chat") == [0]


@pytest.mark.parametrize(
    ("fault", "status", "gap"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, RunStatus.COMPLETED, [7]),
        ({"status": 401}, RunStatus.COMPLETED, [30]),
        ({"status": 400}, RunStatus.FAILED, []),
    ],
)
async def test_a_call_that_was_surely_not_accepted_is_no_unknown_outcome(
    phone: Rig, fault: dict[str, Any], status: RunStatus, gap: list[float]
) -> None:
    await script(phone, "s", [{"text": "Fine.", "faults": {"create": [fault]}}])
    run_id = await begin(phone)
    await phone.wake(run_id)
    run = await phone.run(run_id)
    assert claim_of(run) is None
    run = await phone.follow(run_id)
    assert (run.status, run.turn.unknown_outcomes, await phone.gaps("chat")) == (status, 0, gap)


@pytest.mark.parametrize("renewal", [0.01, 30.0], ids=["noticed", "unnoticed"])
async def test_who_lost_the_lease_writes_nothing(rigs: NewRig, renewal: float) -> None:
    one = await rigs([workshop.build_chat], tool_lease=60.0, tool_renewal=renewal)
    two = await rigs([workshop.build_chat], tool_lease=60.0, tool_renewal=30.0)
    await script(one, "s", [{"text": "Fine."}])
    run_id = await begin(one)
    held = HeldCreate(one)
    living = asyncio.current_task()

    async def cut_off(operation: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if operation == "commit" and asyncio.current_task() is not living:
            raise StoreUnavailable("cut off")

    lost = await calling(one, run_id)
    one.tables.before = cut_off
    one.clock.move(61)
    run = await two.follow(run_id)
    one.tables.before = None
    assert not lost.done()
    assert (run.status, run.turn.attempt, run.turn.unknown_outcomes) == (RunStatus.COMPLETED, 2, 1)
    held.released.set()
    await lost
    assert await two.run(run_id) == run, "the late answer changes nothing"
    assert await two.text(run_id) == "Fine."


async def test_an_answer_of_the_model_is_not_lost_with_an_answer_of_the_store(phone: Rig) -> None:
    """A renewal was applied without our hearing of it; the result is written all the same, and not asked for twice."""
    await script(phone, "s", LATE)
    run_id = await begin(phone)
    held = HeldCreate(phone)
    lost = 0

    async def lose(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        nonlocal lost
        if operation == "commit" and any(claims(change) for change in changes):
            lost += 1
            if lost > 1:  # the claim itself arrives
                raise StoreUnavailable("answer lost")

    phone.tables.after = lose
    wake = await calling(phone, run_id)
    phone.clock.move(1)
    await eventually(lambda: lost > 1)
    held.released.set()
    await wake
    phone.tables.after = None
    run = await phone.run(run_id)
    assert (run.status, run.turn.attempt) == (RunStatus.COMPLETED, 1)
    assert len(await completions(phone)) == 1


async def test_a_write_of_another_that_leaves_the_lease_does_not_cost_the_answer(rigs: NewRig) -> None:
    """A process of another version, which does not know the agent, notes just that while the call runs."""
    rig = await rigs([workshop.build_chat], tool_lease=60.0, tool_renewal=30.0)
    older = await rigs()
    await script(rig, "s", LATE)
    run_id = await begin(rig)
    held = HeldCreate(rig)
    wake = await calling(rig, run_id)
    await say_that_the_agent_is_unknown(older, run_id)
    assert (await rig.run(run_id)).schedule.agent_unknown_since is not None
    held.released.set()
    assert (await wake).status is RunStatus.COMPLETED
    assert len(await completions(rig)) == 1


async def test_a_write_of_another_that_leaves_the_lease_makes_no_refusal_an_unknown_outcome(rigs: NewRig) -> None:
    rig = await rigs([workshop.build_chat], tool_lease=60.0, tool_renewal=30.0)
    older = await rigs()
    await script(rig, "s", [{"text": "Fine.", "faults": {"create": [{"status": 429}]}}])
    run_id = await begin(rig)
    raced = False

    async def race(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        nonlocal raced
        if operation == "commit" and any("not_accepted" in str(change.values) for change in changes) and not raced:
            raced = True
            await say_that_the_agent_is_unknown(older, run_id)

    rig.tables.before = race
    left = await rig.wake(run_id)
    run = await rig.run(run_id)
    assert raced
    assert isinstance(run.phase, Creating)
    assert (run.phase.claim, run.turn.unknown_outcomes, left.wake_in) == (None, 0, 2.0)
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


async def test_a_crash_right_after_the_answer_asks_again(phone: Rig) -> None:
    await script(phone, "s", [{"text": "Fine."}])
    run_id = await begin(phone)

    async def die(operation: str, _t: Table, _p: str | None, changes: Sequence[Change]) -> None:
        if operation == "commit" and any('"completed"' in str(change.values.get("phase")) for change in changes):
            raise Killed

    phone.tables.before = die
    with pytest.raises(Killed):
        await phone.wake(run_id)
    phone.tables.before = None
    run = await phone.follow(run_id)
    assert (run.status, run.turn.attempt, len(await completions(phone))) == (RunStatus.COMPLETED, 2, 2)


async def test_the_deadline_ends_a_call(phone: Rig) -> None:
    await script(phone, "s", [{"faults": {"create": [{"hang": 60.0}]}}])
    run_id = await begin(phone, deadline_seconds=100.0)
    wake = await calling(phone, run_id)
    phone.clock.move(101)
    assert (await asyncio.wait_for(wake, 5)).wake_in == 0
    run = await phone.follow(run_id)
    assert (run.status, run.result.error_code, run.outbox.entries) == (RunStatus.FAILED, "deadline_exceeded", ())


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_run_that_ends_during_the_call_takes_no_answer(phone: Rig, how: str) -> None:
    await script(phone, "s", [{"faults": {"create": [{"hang": 60.0}]}}])
    run_id = await begin(phone)
    wake = await calling(phone, run_id)
    if how == "cancel":
        await cancel(phone.app.ports, run_id)
    else:
        await delete_run(phone.app.ports, run_id)
    assert (await asyncio.wait_for(wake, 5)).status is RunStatus.CANCELLED
    run = await phone.run(run_id)
    assert (run.status, run.result.text) == (RunStatus.CANCELLED, "")
    assert (await phone.session(run_id)).active_run is None


async def test_an_approval_is_asked_for_and_heard(phone: Rig) -> None:
    await script(phone, "s", [{"calls": [{"name": "send", "arguments": {"label": "a"}}]}, {"echo": True}])
    run_id = await begin(phone)
    await phone.follow(run_id, lambda run: isinstance(run.phase, WaitingForAnswers))
    (call,) = await phone.calls(run_id)
    await answer(phone.app.ports, run_id, {call.call_id: Approve(approve=True)})
    run = await phone.follow(run_id)
    assert run.status is RunStatus.COMPLETED
    assert "sent a" in await phone.text(run_id)
