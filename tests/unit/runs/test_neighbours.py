"""Nobody's work waits for somebody else's: deaf receivers, slow names, hanging creates, and a provider's pauses."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from shared.agentkit.agent import Agent
from shared.agentkit.provider import Provider
from shared.runs.actions.outcome import outcome
from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.model.run import Run
from shared.runs.rules.callbacks import callback_status
from shared.settings import Settings
from tests.parts import workshop
from tests.parts.receiver import SECRET, Receiver
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.test_callbacks import log_of

STORY = [{"text": "Fine."}]
SLOW_DOWN = {"status": 429, "headers": {"Retry-After": "900"}}


@pytest.fixture
async def sending(rigs: NewRig) -> Rig:
    """A process that sends four callbacks at once: two to one host, three of one owner."""
    rig = await rigs(callback_secret=SECRET, callback_allow="127.0.0.1,localhost", callback_timeout=30.0)
    await rig.model.script("s", STORY)
    return rig


async def told_later(rig: Rig, url: str, count: int, owner: str = "ann") -> list[str]:
    """Runs that have ended, and of whose end nobody was told yet."""
    found = [await rig.start(callback_url=url, owner=owner) for _ in range(count)]
    for run_id in found:
        await rig.follow(run_id)
    return found


# Callbacks


async def test_a_deaf_receiver_holds_some_wakes_and_the_others_are_over_at_once(sending: Rig) -> None:
    async with Receiver() as deaf, Receiver() as well:
        deaf.hold.clear()
        waiting = await told_later(sending, deaf.url, 12)
        (calm,) = await told_later(sending, well.url.replace("127.0.0.1", "localhost"), 1, owner="bob")
        wakes = [asyncio.create_task(sending.wake(run_id)) for run_id in waiting]
        await eventually(lambda: sum(wake.done() for wake in wakes) == 10 and len(deaf.received) == 2)
        assert (await sending.wake(calm)).wake_in is None
        assert len(well.received) == 1
        for wake, run_id in zip(wakes, waiting, strict=True):
            if wake.done():
                await assert_put_off(sending, run_id, wake.result().wake_in)
        deaf.hold.set()
        await asyncio.gather(*wakes)
        for run_id in waiting:
            assert callback_status((await sending.finish(run_id)).outbox) == "delivered"
        assert len({each.webhook_id for each in deaf.received}) == len(deaf.received) == 12


async def assert_put_off(rig: Rig, run_id: str, wake_in: float | None) -> None:
    """It comes back in some seconds, and nothing was counted."""
    run = await rig.run(run_id)
    assert (run.terminal, [entry.tries for entry in run.outbox], run.schedule.crashes) == (True, [0], 0)
    assert wake_in is not None
    assert 1.0 <= wake_in <= 60.0
    assert await log_of(rig, run_id) == []


async def test_an_owner_with_deaf_receivers_everywhere_leaves_room_for_others(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"deaf{n}.example" for n in range(9)]
    rig = await rigs(callback_secret=SECRET, callback_allow=",".join([*names, "127.0.0.1"]), callback_timeout=30.0)
    await rig.model.script("s", STORY)
    by_name(monkeypatch, dict.fromkeys(names))
    async with Receiver() as deaf, Receiver() as well:
        deaf.hold.clear()
        waiting = [*await asyncio.gather(*(told_later(rig, f"http://{name}:{deaf.port}/", 1) for name in names))]
        (calm,) = await told_later(rig, well.url, 1, owner="bob")
        wakes = [asyncio.create_task(rig.wake(run_id)) for (run_id,) in waiting]
        await eventually(lambda: sum(wake.done() for wake in wakes) == 6 and len(deaf.received) == 3)
        assert (await rig.wake(calm)).wake_in is None
        assert len(well.received) == 1
        deaf.hold.set()
        await asyncio.gather(*wakes)


def by_name(monkeypatch: pytest.MonkeyPatch, names: dict[str, threading.Event | None]) -> None:
    """Let these names be this machine; who has an event is not told before it is set."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if (let_go := names.get(host)) is not None:
            let_go.wait(60)
        return real("127.0.0.1" if host in names else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def name_service() -> Iterator[threading.Event]:
    """Set: it answers. Set at the end, so that no thread hangs."""
    let_go = threading.Event()
    yield let_go
    let_go.set()


async def test_a_slow_name_keeps_nobody_else_s_name_from_being_looked_up(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch, name_service: threading.Event
) -> None:
    names = [f"slow{n}.example" for n in range(40)]
    rig = await rigs(callback_secret=SECRET, callback_allow=",".join([*names, "localhost"]), callback_timeout=0.5)
    await rig.model.script("s", STORY)
    by_name(monkeypatch, dict.fromkeys(names, name_service))
    async with Receiver() as well:
        waiting = [*await asyncio.gather(*(told_later(rig, f"http://{name}/", 1) for name in names))]
        (calm,) = await told_later(rig, well.url.replace("127.0.0.1", "localhost"), 1, owner="bob")
        await asyncio.gather(*(rig.wake(run_id) for (run_id,) in waiting))
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().getaddrinfo("localhost", 80)  # as any other part of the app asks
            assert (await rig.wake(calm)).wake_in is None
        assert len(well.received) == 1
        tried = [run_id for (run_id,) in waiting if await log_of(rig, run_id)]
        assert len(tried) == 3, "a look-up that goes on after its attempt keeps its place"
        name_service.set()
        rig.clock.move(60)
        await eventually(lambda: one_more_is_tried(rig, waiting, tried))


async def one_more_is_tried(rig: Rig, waiting: list[list[str]], tried: list[str]) -> bool:
    (run_id,) = next(each for each in waiting if each[0] not in tried)
    await rig.wake(run_id)
    rig.clock.move(60)
    return bool(await log_of(rig, run_id))


# Creates


async def test_creates_of_one_owner_that_hang_slow_no_run_of_another(rigs: NewRig) -> None:
    rig = await rigs(provider_concurrency=4, create_timeout=20.0)
    await rig.model.script("hangs", [{"text": "Late.", "faults": {"create": [{"hang": 60.0, "times": -1}]}}])
    await rig.model.script("s", STORY)
    hanging = [asyncio.create_task(rig.submit("[script:hangs]", owner="ann")) for _ in range(8)]
    await eventually(lambda: sum(each.done() for each in hanging) == 5)
    for submitted in hanging:
        if not submitted.done():
            continue
        run = submitted.result().run
        assert (run.status, run.chain.provider_status) == (RunStatus.QUEUED, "not_sent")
        assert isinstance(run.phase, Creating)
        assert (run.phase.claim, run.turn.unknown_outcomes) == (None, 0)
    async with asyncio.timeout(10):
        assert (await rig.run_to_end(owner="bob")).status is RunStatus.COMPLETED
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_a_create_without_a_place_comes_back_within_seconds_however_often(
    rigs: NewRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.agentkit.provider.SLOT_WAIT_SECONDS", 0.01)
    rig = await rigs(provider_concurrency=1)
    await rig.model.script("s", STORY)
    async with rig.provider.create_slot("ann"):
        run_id = await rig.start()
        gaps = []
        for _ in range(6):
            gaps.append(outcome(await rig.run(run_id), rig.clock.now).wake_in or 0.0)
            rig.clock.move(gaps[-1])
            await rig.wake(run_id)
    assert gaps == [4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert (await rig.follow(run_id)).status is RunStatus.COMPLETED


# Pauses


def build_small(settings: Settings, provider: Provider) -> Agent:
    """The workshop, with another model."""
    made = workshop.build(settings, provider)
    made.name, made._model = "small", "gpt-5-nano"  # type: ignore[misc, attr-defined]
    return made


async def seconds_of(rig: Rig, run_id: str) -> float:
    run: Run = await rig.follow(run_id)
    assert run.status is RunStatus.COMPLETED, run
    assert run.completed_at is not None
    return (run.completed_at - run.request.created_at).total_seconds()


async def test_one_retry_after_of_a_quarter_of_an_hour_is_two_minutes_for_its_run_and_seconds_for_others(
    rigs: NewRig,
) -> None:
    rig = await rigs([build_small])
    await rig.model.script("busy", [{"text": "Fine.", "faults": {"retrieve": [SLOW_DOWN]}}])
    await rig.model.script("s", STORY)
    busy, calm = await rig.start("[script:busy]"), await rig.start()
    other = await rig.start(agent="small")
    rig.clock.move(2)
    for run_id in (busy, calm, other):
        await rig.wake(run_id)
    assert (await rig.run(other)).status is RunStatus.COMPLETED
    assert await seconds_of(rig, calm) <= 6
    assert 120 <= await seconds_of(rig, busy) < 135


async def test_a_cancel_goes_out_while_the_polls_are_held_back(rig: Rig) -> None:
    await rig.model.script("busy", [{"stuck": True, "faults": {"retrieve": [SLOW_DOWN]}}])
    run_id = await rig.start("[script:busy]")
    rig.clock.move(2)
    assert (await rig.wake(run_id)).wake_in == pytest.approx(120)
    await cancel(rig.app.ports, run_id)
    await rig.wake(run_id)
    assert len(await rig.model.log("cancel")) == 1
    assert (await rig.run(run_id)).is_done


@pytest.mark.parametrize("operation", ["cancel", "delete"])
async def test_a_cancel_or_delete_that_meets_a_429_has_a_schedule_of_its_own(rig: Rig, operation: str) -> None:
    await rig.model.script("s", [{"stuck": True, "faults": {operation: [SLOW_DOWN]}}])
    run_id = await rig.start()
    if operation == "cancel":
        await cancel(rig.app.ports, run_id)
    else:
        await delete_run(rig.app.ports, run_id)
    await rig.follow(run_id, lambda run: any(entry.tries for entry in run.outbox))
    (entry,) = [entry for entry in (await rig.run(run_id)).outbox if entry.kind.value == operation]
    assert (entry.due - rig.clock.now).total_seconds() == 5.0


@pytest.mark.parametrize("fault", [SLOW_DOWN, {"status": 503, "headers": {"Retry-After": "900"}}])
async def test_a_create_that_is_to_come_back_in_a_quarter_of_an_hour_comes_in_two_minutes(
    rig: Rig, fault: dict[str, Any]
) -> None:
    await rig.model.script("s", [{"text": "Fine.", "faults": {"create": [fault]}}])
    assert (await rig.submit()).run.schedule.retry_after == 120.0


async def test_not_all_come_back_at_the_same_moment(rigs: NewRig) -> None:
    rig = await rigs()
    drawn = (number / 100 for number in itertools.count())
    object.__setattr__(rig.app.ports, "random", lambda: next(drawn))
    await rig.model.script("s", [{"text": "Fine.", "faults": {"create": [{**SLOW_DOWN, "times": -1}]}}])
    gaps = {(await rig.submit()).run.schedule.retry_after for _ in range(4)}
    assert len(gaps) == 4
    assert all(120.0 <= gap <= 132.0 for gap in gaps)
