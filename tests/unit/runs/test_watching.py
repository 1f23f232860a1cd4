"""Watching a run: what a viewer is shown, whenever it comes, leaves and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.runs.commands.cancel import cancel
from shared.runs.commands.delete import delete_run
from shared.runs.model.phases import RunStatus
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.views import (
    Delta,
    End,
    EventId,
    Snapshot,
    Stale,
    StatusChanged,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from tests.parts.waiting import eventually
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.viewers import Client, LiveRig, has_id, staged

TEXT = "Once upon a time there was a dormouse, and it slept through most of what follows. "
LONG = TEXT * 3
LATER = 540.0
"""Seconds to the first poll, where the end is to come because a viewer has seen it."""


def run_to_end(*, think: float = 0.15) -> list[dict[str, Any]]:
    """Three turns: two that say something and ask for a tool, then the text."""
    return [
        {"think": think, "text": "First I look. " * 3, "calls": [{"name": "work", "arguments": {"label": "a"}}]},
        {"think": think, "text": "Now I check. " * 3, "calls": [{"name": "work", "arguments": {"label": "b"}}]},
        {"think": think, "text": LONG, "refusal": "And no more. " * 2},
    ]


@pytest.fixture
async def stage(rigs: NewRig) -> AsyncIterator[LiveRig]:
    async with staged(await rigs(poll_first=0.1)) as stage:
        yield stage


@pytest.fixture
async def late(rigs: NewRig) -> AsyncIterator[LiveRig]:
    """Here nobody polls for minutes."""
    async with staged(await rigs(poll_first=LATER, poll_max=LATER)) as stage:
        yield stage


async def streams(rig: Rig) -> list[tuple[int, str | None]]:
    """Each stream that was opened to follow a response: its starting point, and how it ended."""
    return [
        (int(entry.query["starting_after"]), entry.closed)
        for entry in await rig.model.log("retrieve")
        if "starting_after" in entry.query
    ]


# The whole of a run


async def test_a_watch_gives_state_deltas_and_end_and_these_are_the_text(stage: LiveRig) -> None:
    await stage.rig.model.script("s", [{"think": 0.2, "text": LONG}])
    run_id = await stage.start()
    client = await stage.watch(run_id, Client())
    client.check()
    assert client.kinds() == ["State", "Snapshot", "Delta", "End"]
    assert client.of(Snapshot) == [Snapshot(event_id=EventId(1, 1, 0), text="")]
    assert client.text == LONG == await stage.rig.text(run_id)
    assert len(client.of(Delta)) > 5


async def test_turns_begin_with_empty_snapshots_and_tools_are_told(stage: LiveRig) -> None:
    await stage.rig.model.script("s", run_to_end())
    client = await stage.watch(await stage.start(), Client())
    client.check()
    assert [event.event_id for event in client.of(Snapshot)] == [EventId(turn, 1, 0) for turn in (1, 2, 3)]
    assert client.text == LONG + "And no more. " * 2
    said: dict[int, str] = {}
    for delta in client.of(Delta):
        said[delta.event_id.turn] = said.get(delta.event_id.turn, "") + delta.text
    assert said == {1: "First I look. " * 3, 2: "Now I check. " * 3, 3: client.text}
    assert [event.call.turn for event in client.of(ToolStarted)] == [1, 2]
    assert [event.call.turn for event in client.of(ToolFinished)] == [1, 2]
    tools = [type(event) for event in client.of((ToolStarted, ToolFinished))]
    assert tools == [ToolStarted, ToolFinished] * 2


async def test_the_end_of_a_response_is_taken_in_at_once_and_not_at_the_next_poll(late: LiveRig) -> None:
    await late.rig.model.script("s", run_to_end())
    run_id = await late.start()
    client = await late.watch(run_id, Client())
    client.check()
    assert client.kinds()[-1] == "End"
    assert set(late.woken) == {run_id}
    assert len(late.woken) >= 3, "once a turn"


async def test_an_ended_run_gives_state_snapshot_and_end_from_any_id(stage: LiveRig) -> None:
    await stage.rig.model.script("s", [{"think": 0.0, "text": TEXT}])
    run = await stage.rig.run_to_end(stream=True)
    for after in (None, EventId(1, 1, 0), EventId(1, 1, 7), EventId(3, 2, 1)):
        client = await stage.watch(run.id, Client(text="what it had", last=after))
        assert client.kinds() == ["State", "Snapshot", "End"]
        assert client.text == TEXT
    assert await streams(stage.rig) == []


async def test_a_run_that_is_not_there_has_nothing_to_show(stage: LiveRig) -> None:
    client = await stage.watch(f"run_{'0' * 32}_1", Client())
    assert client.events == []


async def test_a_run_without_live_text_shows_status_tools_and_progress_then_snapshot_and_end(stage: LiveRig) -> None:
    await stage.rig.model.script("s", run_to_end(think=0.05))
    client = await stage.watch(await stage.start(stream=False), Client())
    client.check()
    assert client.of(Delta) == []
    assert len(client.of(Snapshot)) == 1
    assert client.kinds()[-2:] == ["Snapshot", "End"]
    assert [type(event) for event in client.of((ToolStarted, ToolFinished))] == [ToolStarted, ToolFinished] * 2
    assert await streams(stage.rig) == []


async def test_an_agent_without_live_text_is_watched_by_its_rows(rigs: NewRig) -> None:
    from tests.parts import workshop

    async with staged(await rigs(factories=[workshop.build_chat])) as stage:
        await stage.rig.model.script("s", run_to_end(think=0.05))
        client = await stage.watch(await stage.start(agent="phone"), Client())
    client.check()
    assert client.kinds()[-2:] == ["Snapshot", "End"]
    assert client.of(Delta) == []
    assert client.text == LONG + "And no more. " * 2 or client.text == LONG


@pytest.mark.parametrize("status", ["failed", "incomplete"])
async def test_a_response_that_ends_otherwise_leaves_the_run_s_text(stage: LiveRig, status: str) -> None:
    error = {"code": "invalid_prompt", "message": "No."}
    await stage.rig.model.script("s", [{"think": 0.1, "text": LONG, "status": status, "error": error}])
    client = await stage.watch(await stage.start(), Client())
    client.check()
    assert client.of(Delta)
    assert client.text == ("" if status == "failed" else LONG)


async def test_a_cancelled_run_ends_with_an_empty_text_and_its_stream_is_let_go(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = await late.watch(run_id, Client(), until=lambda event: isinstance(event, Delta))
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: len(client.of(Delta)) > 3)
    await cancel(late.rig.app.ports, run_id)
    await watching
    client.check()
    assert client.text == ""
    assert client.of(End)[-1].run.status is RunStatus.CANCELLED


async def test_a_run_deleted_under_its_viewer_just_ends(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.of(Delta))
    await delete_run(late.rig.app.ports, run_id)
    await watching
    assert client.of(End) == []


# Coming back


async def test_a_viewer_who_is_cut_off_after_every_single_event_misses_nothing(late: LiveRig) -> None:
    """Each connection gets as far as one event that has an id; deltas alone, without a last snapshot, are the text."""
    script = run_to_end(think=0.4)
    await late.rig.model.script("s", script)
    run_id = await late.start()
    client = Client()
    while not client.ended:
        await late.one_further(run_id, client)
    client.check()
    assert client.text == LONG + "And no more. " * 2
    for turn, text in ((1, script[0]["text"]), (2, script[1]["text"])):
        said = "".join(event.text for event in client.of(Delta) if event.event_id.turn == turn)
        assert said == text or text.startswith(said)  # the run may have gone on meanwhile


async def test_the_provider_is_asked_only_for_what_the_viewer_has_not_seen(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = Client()
    for _ in range(3):
        await late.watch(run_id, client, until=lambda event: isinstance(event, Delta))
    await eventually(lambda: _closed(late.rig, 3))
    first, second, _ = (delta.event_id.sequence for delta in client.of(Delta))
    assert [start for start, _ in await streams(late.rig)] == [0, first, second]
    assert client.of(Snapshot) == [Snapshot(event_id=EventId(1, 1, 0), text="")], "coming back is no new start"


async def _closed(rig: Rig, count: int) -> bool:
    found = await streams(rig)
    return len(found) == count and all(how is not None for _, how in found)


async def test_a_viewer_who_left_closes_the_provider_s_stream(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.of(Delta))
    assert [how for _, how in await streams(late.rig)] == [None]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await eventually(lambda: _closed(late.rig, 1))
    assert [how for _, how in await streams(late.rig)] == ["left"]


@pytest.mark.parametrize("after", [EventId(1, 1, 3), EventId(2, 7, 0), EventId(9, 1, 12)])
async def test_an_id_of_another_turn_or_attempt_begins_the_current_one_anew(late: LiveRig, after: EventId) -> None:
    script = run_to_end()[1:]
    script[1] |= {"stuck": True}
    await late.rig.model.script("s", script)
    run_id = await late.start()
    await late.watch(run_id, Client(), until=lambda e: isinstance(e, Delta) and e.event_id.turn == 2)
    client = Client(text="something old", last=after)
    await late.watch(run_id, client, until=lambda event: isinstance(event, Delta))
    assert [type(event) for event in client.events if has_id(event)] == [Snapshot, Delta]
    assert client.of(Snapshot) == [Snapshot(event_id=EventId(2, 1, 0), text="")]
    assert LONG.startswith(client.text)


async def test_an_id_beyond_everything_reaches_nothing_and_the_end_comes_all_the_same(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = Client(text="forged", last=EventId(1, 1, 9_999_999_998))
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: streams(late.rig))
    await late.rig.model.finish((await late.rig.model.responses())[0].id)
    await late.wake(run_id)
    await watching
    assert client.of(Delta) == []
    assert client.text == LONG
    assert client.kinds()[-2:] == ["Snapshot", "End"]


async def test_two_viewers_see_the_same(late: LiveRig) -> None:
    await late.rig.model.script("s", run_to_end(think=0.3))
    run_id = await late.start()
    first, second = await asyncio.gather(late.watch(run_id, Client()), late.watch(run_id, Client()))
    first.check()
    assert [event for event in first.events if has_id(event)] == [event for event in second.events if has_id(event)]


async def test_who_comes_in_the_middle_is_shown_the_turn_from_its_start(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    first = Client()
    watching = asyncio.create_task(late.watch(run_id, first))
    await eventually(lambda: len(first.of(Delta)) > 5)
    second = await late.watch(run_id, Client(), until=lambda e: isinstance(e, Delta) and e.event_id >= first.last)  # type: ignore[operator]
    assert second.text == "".join(event.text for event in first.of(Delta) if event.event_id <= second.last)
    watching.cancel()


async def test_while_tools_run_the_turn_that_asked_for_them_is_still_shown(late: LiveRig) -> None:
    """Whoever was cut off in a turn that has meanwhile ended gets the rest of it, as long as its tools are at work."""
    script = [
        {"think": 0.1, "text": LONG, "calls": [{"name": "hold", "arguments": {"label": "t"}}]},
        {"think": 0.0, "text": "Done."},
    ]
    await late.rig.model.script("s", script)
    run_id = await late.start()
    client = await late.watch(run_id, Client(), until=lambda event: isinstance(event, Delta))
    await eventually(lambda: _responses_ended(late.rig))
    await late.wake(run_id)
    await eventually(lambda: _tools_run(late.rig, run_id))
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.text == LONG)
    newcomer = Client()
    other = asyncio.create_task(late.watch(run_id, newcomer))
    await eventually(lambda: newcomer.text == LONG)
    assert client.of(Snapshot) == newcomer.of(Snapshot)
    watching.cancel()
    other.cancel()


async def _responses_ended(rig: Rig) -> bool:
    return all(response.status == "completed" for response in await rig.model.responses())


async def _tools_run(rig: Rig, run_id: str) -> bool:
    return any(call.starts for call in await rig.calls(run_id))


# What goes wrong on the way


async def test_a_stream_that_breaks_or_just_stops_is_taken_up_where_it_was(late: LiveRig) -> None:
    faults = [{"after_events": 1}, {"after_events": 7, "drop": True}, {"after_events": 3}, {"after_events": 0}]
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "faults": {"stream": faults}}])
    client = await late.watch(await late.start(), Client())
    client.check()
    assert client.kinds() == ["State", "Snapshot", "Delta", "End"]
    assert client.of(Snapshot) == [Snapshot(event_id=EventId(1, 1, 0), text="")]
    assert len(await streams(late.rig)) >= 3


async def test_a_reset_is_an_empty_snapshot_and_the_text_begins_again(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.2, "text": LONG, "stream_restart": True}])
    client = await late.watch(await late.start(), Client())
    client.check()
    start, reset = client.of(Snapshot)
    assert (reset.text, reset.event_id.same_attempt(start.event_id)) == ("", True)
    assert client.text == LONG


async def test_a_viewer_cut_off_around_a_reset_has_the_text_all_the_same(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.4, "text": LONG, "stream_restart": True}])
    run_id = await late.start()
    client = Client()
    while not client.ended:
        await late.one_further(run_id, client)
    client.check()
    assert client.text == LONG


async def test_past_the_wall_the_text_stays_the_rows_go_on_and_a_snapshot_comes_before_the_end(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.1, "text": LONG, "stuck": True}])
    run_id = await late.start()
    client = await late.watch(run_id, Client(), until=lambda event: isinstance(event, Delta))
    await late.rig.model.switches(stream_wall=-1)
    shown = client.text
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.of(Stale))
    assert client.text == shown != ""
    await late.rig.model.finish((await late.rig.model.responses())[0].id)
    await late.wake(run_id)
    await watching
    client.check()
    assert client.kinds()[-3:] == ["Stale", "Snapshot", "End"]
    assert len(client.of(Stale)) == 1
    assert client.text == LONG


async def test_the_turn_after_a_stale_one_is_live_again(late: LiveRig) -> None:
    script = run_to_end()[1:]
    script[0] |= {"stuck": True}
    await late.rig.model.script("s", script)
    run_id = await late.start()
    await late.rig.model.switches(stream_wall=-1)
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.of(Stale))
    await late.rig.model.switches(stream_wall=300)
    await late.rig.model.finish((await late.rig.model.responses())[0].id)
    await late.wake(run_id)
    await watching
    client.check()
    assert len(client.of(Stale)) == 1
    assert {event.event_id.turn for event in client.of(Delta)} == {2}


async def test_a_new_attempt_of_a_turn_begins_anew(stage: LiveRig) -> None:
    attempts = [{"status": "failed", "error": {"code": "server_error", "message": "Oh."}}, {}]
    await stage.rig.model.script("s", [{"think": 0.1, "text": LONG, "attempts": attempts}])
    client = await stage.watch(await stage.start(), Client())
    client.check()
    assert [event.event_id for event in client.of(Snapshot)] == [EventId(1, 1, 0), EventId(1, 2, 0)]
    assert client.text == LONG


async def test_a_store_that_is_away_for_a_while_ends_no_watch(late: LiveRig) -> None:
    await late.rig.model.script("s", [{"think": 0.3, "text": LONG}])
    run_id = await late.start()
    away = 3

    async def outage(operation: str, *_: Any) -> None:
        nonlocal away
        if away and operation in ("get", "query", "read"):
            away -= 1
            raise StoreUnavailable("away")

    late.rig.tables.before = outage
    client = await late.watch(run_id, Client())
    client.check()
    assert client.text == LONG


async def test_progress_and_questions_are_told(late: LiveRig) -> None:
    script = [
        {
            "think": 0.0,
            "calls": [{"name": "hold", "arguments": {"label": "p"}}, {"name": "send", "arguments": {"label": "q"}}],
        },
        {"think": 0.0, "text": "Done."},
    ]
    await late.rig.model.script("s", script)
    run_id = await late.start()
    client = Client()
    watching = asyncio.create_task(late.watch(run_id, client))
    await eventually(lambda: client.of(ToolProgress))
    assert client.of(ToolProgress)[0].call.progress == "p: step 0"
    await cancel(late.rig.app.ports, run_id)
    await watching
    asked = [event for event in client.of(StatusChanged) if any(call.approval == "pending" for call in event.calls)]
    assert asked, "a question is a change of status"


@pytest.mark.slow
async def test_a_viewer_who_does_not_read_makes_the_provider_wait(late: LiveRig) -> None:
    """Nothing piles up here: the stream is read a little ahead, and no further."""
    await late.rig.model.script("s", [{"think": 0.0, "repeat_text": {"text": "word " * 1_000, "times": 2_000}}])
    run_id = await late.start()
    watched = late.rig.app.watching.watch(run_id, wake=late.wake)
    client = Client()
    async with contextlib.aclosing(watched) as events:
        async for event in events:
            client.apply(event)
            if isinstance(event, Delta):
                break
        await eventually(lambda: _sent_no_more(late.rig))
        assert [how for _, how in await streams(late.rig)] == [None]
        async for event in events:
            client.apply(event)
    client.check()
    assert client.kinds() == ["State", "Snapshot", "Delta", "End"]


async def _sent_no_more(rig: Rig) -> bool:
    """Whether the stream has stood still for a moment."""
    before = [entry.events for entry in await rig.model.log("retrieve")]
    await asyncio.sleep(0.1)
    return before == [entry.events for entry in await rig.model.log("retrieve")]
