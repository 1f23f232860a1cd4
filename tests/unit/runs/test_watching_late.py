"""Who comes to a turn that is over: its text is in the rows, whatever the provider still tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.runs.commands.answer import answer
from shared.runs.commands.cancel import cancel
from shared.runs.model.facts import Approve
from shared.runs.model.phases import RunningTools, RunStatus, WaitingForAnswers
from shared.runs.watching.views import Delta, EventId, Snapshot, Stale, ViewEvent
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig
from tests.unit.runs.viewers import Client, LiveRig, staged

WORDS = "Here is what I mean to do, step by step. " * 4
WHOLE = 9_999_999_999
"""The sequence of a turn's text that came from the rows: after everything the provider says of it."""

PARKED: list[dict[str, Any]] = [
    {"think": 0.0, "text": WORDS, "calls": [{"name": "send", "arguments": {"label": "q"}}]},
    {"think": 0.0, "text": "Done."},
]


@pytest.fixture
async def late(rigs: NewRig) -> AsyncIterator[LiveRig]:
    async with staged(await rigs(poll_first=540.0, poll_max=540.0)) as stage:
        yield stage


async def parked(stage: LiveRig, **switches: Any) -> str:
    """A run that waits for a person, its provider as these switches have it."""
    await stage.rig.model.script("s", PARKED)
    run_id = await stage.start()

    async def waits() -> bool:
        await stage.wake(run_id)
        return (await stage.rig.run(run_id)).status is RunStatus.REQUIRES_ACTION

    await eventually(waits)
    await stage.rig.model.switches(**switches)
    return run_id


def whole(event: ViewEvent) -> bool:
    return isinstance(event, Snapshot) and event.text != ""


async def test_a_newcomer_to_a_parked_run_has_its_text_when_the_provider_replays_no_more(late: LiveRig) -> None:
    run_id = await parked(late, stream_wall=-1)
    client = await late.watch(run_id, Client(), until=whole)
    assert client.kinds() == ["State", "Snapshot"]
    assert client.of(Snapshot) == [
        Snapshot(event_id=EventId(1, 1, 0), text=""),
        Snapshot(event_id=EventId(1, 1, WHOLE), text=WORDS),
    ]


@pytest.mark.parametrize("after", [EventId(1, 1, 5), EventId(1, 7, 3)])
async def test_who_comes_back_to_a_parked_run_has_its_text_too(late: LiveRig, after: EventId) -> None:
    run_id = await parked(late, stream_wall=-1)
    client = await late.watch(run_id, Client(text="some of it", last=after), until=whole)
    assert client.of(Stale) == []
    assert client.text == WORDS


async def test_a_provider_that_says_nothing_of_a_finished_turn_is_not_waited_for(late: LiveRig) -> None:
    run_id = await parked(late, down=True)
    client = await late.watch(run_id, Client(), until=whole)
    assert client.text == WORDS


async def test_coming_back_after_the_text_from_the_rows_tells_no_word_of_it_again(late: LiveRig) -> None:
    """Even of a provider that has found its tongue again."""
    run_id = await parked(late, stream_wall=-1)
    client = await late.watch(run_id, Client(), until=whole)
    await late.rig.model.switches(stream_wall=300)
    before = len(await late.rig.model.log("retrieve"))
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: len(client.events) > 3)
    await cancel(late.rig.app.ports, run_id)
    await watching
    client.check()
    asked = [entry for entry in (await late.rig.model.log("retrieve"))[before:] if "starting_after" in entry.query]
    assert (client.of(Delta), asked) == ([], [])
    assert client.text == ""


async def test_the_turn_after_is_live_again_and_the_end_is_exact(late: LiveRig) -> None:
    run_id = await parked(late, stream_wall=-1)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.text == WORDS)
    await late.rig.model.switches(stream_wall=300)
    (call,) = await late.rig.calls(run_id)
    await answer(late.rig.app.ports, run_id, {call.call_id: Approve(approve=True, reason="")})
    await late.wake(run_id)
    await watching
    client.check()
    assert client.text == "Done."


async def test_a_stale_viewer_has_the_text_as_soon_as_the_rows_do(late: LiveRig) -> None:
    await late.rig.model.script("s", [{**PARKED[0], "think": 0.1, "stuck": True}, PARKED[1]])
    run_id = await late.start()
    await late.rig.model.switches(stream_wall=-1)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client, until=whole))
    await eventually(lambda: client.of(Stale))
    await late.rig.model.finish((await late.rig.model.responses())[0].id)
    await late.wake(run_id)
    await watching
    assert client.text == WORDS
    assert isinstance((await late.rig.run(run_id)).phase, RunningTools | WaitingForAnswers)


async def test_many_viewers_of_one_end_ask_for_one_wake(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.2, "text": WORDS}])
    run_id = await late.start()
    asked: list[str] = []

    async def wake(run: str) -> None:
        """A driver that takes its time."""
        asked.append(run)

    clients = [Client() for _ in range(8)]
    watching = [asyncio.create_task(late.watch(run_id, client, wake=wake)) for client in clients]
    await eventually(lambda: asked and all(client.text == WORDS for client in clients))
    assert len(asked) < len(clients), "one, and another only when it has had no effect for a while"
    await late.wake(run_id)
    await asyncio.gather(*watching)
    for client in clients:
        client.check()
