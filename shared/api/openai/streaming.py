"""A response while it is made: Server-Sent Events in the shape of the Responses API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response

from shared.api.openai.events import Event, EventWriter
from shared.api.openai.http import error_object
from shared.api.openai.objects import response_id
from shared.api.openai.starting import seconds_left
from shared.api.pacing import EventStream, TimeIsUp, paced
from shared.drivers.driver import Driver
from shared.errors import (
    DormouseError,
    EncryptionKeyUnavailable,
    ResponseNotFound,
    StorageUnavailable,
    StreamEnded,
    TextRestarted,
)
from shared.runs.model.run import Run
from shared.runs.ports import log
from shared.runs.queries.conversation import current, of_caller, open_calls_of, turn_texts
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.viewer_limit import ViewerSlot
from shared.runs.watching.views import Delta, End, Snapshot, State, StatusChanged, ViewEvent
from shared.wiring import App

TEXT_EVENTS = ("response.output_text.delta", "response.refusal.delta")
"""What the text of a message is sent in."""

BEGINNINGS = (*TEXT_EVENTS, "response.content_part.added", "response.output_item.added")
"""Events that go on with a response that has begun anew."""

PING = b": ping\n\n"


def event_stream(
    run: Run, after: int | None, app: App, driver: Driver, *, arrived: float, slot: ViewerSlot
) -> Response:
    """The response's events, from the first or from after that number, to its end or that of the connection's time.

    ``arrived`` is the ``loop_time`` at which the request came.
    """
    return EventStream(_body(run, after, app, driver, arrived), slot)


def error_of_stream(raised: Exception, run: Run) -> DormouseError:
    """The error to send for what ended a stream; an unexpected exception is logged."""
    if isinstance(raised, DormouseError):
        return raised
    if isinstance(raised, StoreUnavailable):
        log.warning("run %s: a stream ended: the store: %s", run.id, raised)
        return EncryptionKeyUnavailable() if isinstance(raised, KeyUnavailable) else StorageUnavailable()
    log.error("run %s: a stream failed", run.id, exc_info=raised)
    return DormouseError()


async def response_events(run: Run, after: int | None, app: App, driver: Driver) -> AsyncGenerator[Event, None]:
    """The events as they come. Raises ``ResponseNotFound`` or ``RunNotFound`` when the run is deleted meanwhile."""
    callers = await of_caller(app.ports, run)
    writer = EventWriter(run, after, app.ports.agents.get(run.request.agent), callers=callers)
    for event in writer.start():
        yield event
    # From the start of the current attempt, also for a client that comes back: its number counts the words it has.
    async with contextlib.aclosing(app.watching.watch(run.id, wake=driver.wake)) as views:
        async for view in views:
            for event in await _events_of(view, writer, run, app):
                yield event
            if isinstance(view, End):
                return
    # A watch that ends without an `End`: the run was deleted.
    raise ResponseNotFound


async def not_doubled(events: AsyncIterator[Event | None]) -> AsyncGenerator[Event | None, None]:
    """The events, as long as each can be added to what this connection has sent. Raises ``TextRestarted``.

    Many clients only append. Sent the new words of a message that begins anew, they would have both, and take that for
    the answer. Who takes the stream up again has asked for what follows, and is told of the new beginning.
    """
    begun, done, anew = set[str](), set[str](), list[Event]()
    async for event in events:
        if event is None:
            yield None
        elif event["type"] == "response.in_progress" and begun - done:
            anew = [event]  # it may yet turn out that there are no other words
        elif anew and event["type"] in BEGINNINGS:
            raise TextRestarted
        else:
            for each in (*anew, event):
                yield each
            anew = []
            if event["type"] in TEXT_EVENTS:
                begun.add(event["item_id"])
            elif event["type"] == "response.output_item.done":
                done.add(event["item"]["id"])


async def _events_of(view: ViewEvent, writer: EventWriter, run: Run, app: App) -> list[Event]:
    match view:
        case State() | StatusChanged():
            return writer.leave_queue(view.run)
        case End():
            turns, calls = await turn_texts(app.ports, view.run), await open_calls_of(app.ports, view.run)
            return writer.end(view.run, turns, calls)
        case Snapshot() if view.text:
            # The whole text of the turn: the rows show its parts, too.
            now = await current(app.ports, run)
            if now.terminal:  # the end, which is about to come, shows it
                return []
            writer.set_stored(now, await turn_texts(app.ports, now), through=view.event_id.turn)
            return writer.tell_stored(view.event_id.turn)
        case Snapshot() | Delta():
            turn = view.event_id.turn
            if writer.needs_turns_before(turn):
                now = await current(app.ports, run)
                writer.set_stored(now, await turn_texts(app.ports, now), through=turn - 1)
            if isinstance(view, Snapshot):
                return writer.begin(view.event_id)
            return writer.append(view.event_id, view.text, refusal=view.refusal)
    return []


def sse(data: Mapping[str, Any], kind: str | None = None) -> bytes:
    """One event: its kind, where it has one, and one line of JSON."""
    name = "" if kind is None else f"event: {kind}\n"
    # Whatever else in it may hold half a surrogate pair: some clients fail at one.
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


async def _body(run: Run, after: int | None, app: App, driver: Driver, arrived: float) -> AsyncGenerator[bytes, None]:
    number = -1 if after is None else after
    try:
        seconds = seconds_left(app.settings.events_seconds, arrived)
        async with contextlib.aclosing(paced(response_events(run, after, app, driver), seconds=seconds)) as events:
            async for event in not_doubled(events):
                if event is None:
                    yield PING
                    continue
                number = event["sequence_number"]
                yield sse(event, event["type"])
        return
    except TimeIsUp:
        error: DormouseError = StreamEnded(
            f"This connection ends as planned; the response goes on. Retrieve {response_id(run.id)} with "
            f"`stream=true` and `starting_after={max(number, 0)}`, and nothing is lost."
        )
    except TextRestarted:
        error = TextRestarted(
            "The model began its text anew, with other words: drop what you have of this message. Retrieve "
            f"{response_id(run.id)} with `stream=true` and `starting_after={max(number, 0)}`, and it comes from its "
            "beginning."
        )
    except Exception as raised:
        error = error_of_stream(raised, run)
    yield sse(_error_event(error, max(number, 0)), "error")


def _error_event(error: DormouseError, number: int) -> Event:
    """OpenAI's ``error`` event, with the number of the event before: a client that resumes after it misses nothing."""
    body = error_object(error)
    fields = {name: body[name] for name in ("code", "message", "param")}
    # OpenAI's clients raise for an event with `error` in it; the flat fields alone would look like a normal end.
    return {"type": "error", "sequence_number": number, **fields, "error": body}
