"""A response while it is made: Server-Sent Events in the shape of the Responses API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response

from shared.api.openai.events import Event, EventWriter
from shared.api.openai.http import error_object
from shared.api.openai.objects import response_id
from shared.api.openai.starting import seconds_left
from shared.api.pacing import EventStream, TimeIsUp, paced
from shared.drivers.driver import Driver
from shared.errors import DormouseError, ResponseNotFound, StorageUnavailable, StreamEnded
from shared.runs.model.run import Run
from shared.runs.ports import log
from shared.runs.queries.conversation import current, turn_texts
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.viewer_limit import ViewerSlot
from shared.runs.watching.views import Delta, End, Snapshot
from shared.wiring import App

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
        return StorageUnavailable()
    log.error("run %s: a stream failed", run.id, exc_info=raised, extra={"run_id": run.id})
    return DormouseError()


async def response_events(run: Run, after: int | None, app: App, driver: Driver) -> AsyncGenerator[Event, None]:
    """The events as they come. Raises ``ResponseNotFound`` or ``RunNotFound`` when the run is deleted meanwhile."""
    writer = EventWriter(run, after, app.ports.agents.get(run.request.agent))
    for event in writer.start():
        yield event
    wake = driver.wake
    async with contextlib.aclosing(app.watching.watch(run.id, writer.resume_at, wake=wake)) as views:
        async for view in views:
            events: list[Event] = []
            match view:
                case Snapshot() | Delta():
                    # The deltas of an earlier turn may have been missed; its rows have the text in full.
                    if writer.lacks_turns_before(view.event_id.turn):
                        writer.set_stored(await turn_texts(app.ports, await current(app.ports, run)))
                    write = writer.append if isinstance(view, Delta) else writer.replace
                    events = write(view.event_id, view.text)
                case End():
                    writer.set_stored(await turn_texts(app.ports, view.run))
                    events = writer.end(view.run)
            for event in events:
                yield event
            if isinstance(view, End):
                return
    # A watch that ends without an `End`: the run was deleted.
    raise ResponseNotFound


def sse(data: Mapping[str, Any], kind: str | None = None) -> bytes:
    """One event: its kind, where it has one, and one line of JSON."""
    name = "" if kind is None else f"event: {kind}\n"
    try:
        return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
    except UnicodeEncodeError:  # a delta may end in half a surrogate pair
        return f"{name}data: {json.dumps(data)}\n\n".encode()


async def _body(run: Run, after: int | None, app: App, driver: Driver, arrived: float) -> AsyncGenerator[bytes, None]:
    number = -1 if after is None else after
    try:
        seconds = seconds_left(app.settings.events_seconds, arrived)
        async with contextlib.aclosing(paced(response_events(run, after, app, driver), seconds=seconds)) as events:
            async for event in events:
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
    except Exception as raised:
        error = error_of_stream(raised, run)
    yield sse(_error_event(error, max(number, 0)), "error")


def _error_event(error: DormouseError, number: int) -> Event:
    """OpenAI's ``error`` event, with the number of the event before: a client that resumes after it misses nothing."""
    body = error_object(error)
    fields = {name: body[name] for name in ("code", "message", "param")}
    # OpenAI's clients raise for an event with `error` in it; the flat fields alone would look like a normal end.
    return {"type": "error", "sequence_number": number, **fields, "error": body}
