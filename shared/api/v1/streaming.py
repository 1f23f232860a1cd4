"""A response as it is made: Server-Sent Events in the shape of the Responses API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from shared.api.pacing import EventStream, TimeIsUp, paced
from shared.api.v1.errors import error_object
from shared.api.v1.names import response_id
from shared.api.v1.starting import now, said_in, seconds_left
from shared.api.v1.telling import Event, Telling
from shared.drivers.driver import Driver
from shared.errors import DormouseError, ResponseNotFound, StorageUnavailable, StreamEnded
from shared.runs.model.run import Run
from shared.runs.ports import log
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.places import Place
from shared.runs.watching.views import Delta, End, Snapshot
from shared.wiring import App

PING = b": ping\n\n"


def streamed(run: Run, after: int | None, app: App, driver: Driver, *, since: float, place: Place) -> Any:
    """The response's events, from the first or from after that number, to its end or the planned one.

    ``since`` is the ``moment`` at which the request came.
    """
    return EventStream(_body(run, after, app, driver, since), place)


def failure(raised: Exception, run: Run) -> DormouseError:
    """What a caller is told of that which ended a stream; the unexpected is logged."""
    if isinstance(raised, DormouseError):
        return raised
    if isinstance(raised, StoreUnavailable):
        log.warning("run %s: a stream ended: the store: %s", run.id, raised)
        return StorageUnavailable()
    log.error("run %s: a stream failed", run.id, exc_info=raised, extra={"run_id": run.id})
    return DormouseError()


async def told(run: Run, after: int | None, app: App, driver: Driver) -> AsyncGenerator[Event, None]:
    """The events as they come. Raises ``ResponseNotFound`` when the run is deleted meanwhile."""
    telling = Telling(run, after, app.ports.agents.get(run.request.agent))
    for event in telling.begin():
        yield event
    wake = driver.woken
    async with contextlib.aclosing(app.watching.watch(run.id, telling.event_id, wake=wake)) as views:
        async for view in views:
            events: list[Event] = []
            match view:
                case Snapshot() | Delta():
                    if telling.lacks(view.event_id.turn):
                        telling.learn(await said_in(await now(run, app), app))
                    tell = telling.delta if isinstance(view, Delta) else telling.snapshot
                    events = tell(view.event_id, view.text)
                case End():
                    telling.learn(await said_in(view.run, app))
                    events = telling.end(view.run)
            for event in events:
                yield event
            if isinstance(view, End):
                return
    raise ResponseNotFound


def sse(data: Mapping[str, Any], kind: str | None = None) -> bytes:
    """One event: its kind, where it has one, and one line of JSON."""
    name = "" if kind is None else f"event: {kind}\n"
    try:
        return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
    except UnicodeEncodeError:  # a delta may end in half a surrogate pair
        return f"{name}data: {json.dumps(data)}\n\n".encode()


async def _body(run: Run, after: int | None, app: App, driver: Driver, since: float) -> AsyncGenerator[bytes, None]:
    number = -1 if after is None else after
    try:
        events = paced(told(run, after, app, driver), seconds=seconds_left(app.settings.events_seconds, since))
        async with contextlib.aclosing(events):
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
        error = failure(raised, run)
    yield sse(_error_event(error, max(number, 0)), "error")


def _error_event(error: DormouseError, number: int) -> Event:
    """OpenAI's ``error`` event. With ``error`` in it, its clients raise instead of ending as if all were told.

    The number is that of the event before: who goes on after it misses nothing.
    """
    told = error_object(error)
    flat = {name: told[name] for name in ("code", "message", "param")}
    return {"type": "error", "sequence_number": number, **flat, "error": told}
