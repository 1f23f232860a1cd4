"""``/api/runs/{id}/events``: a run as Server-Sent Events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.call_shapes import ToolCall, call_on_the_wire
from shared.api.native.extra_shapes import (
    Annotation,
    HostedCall,
    annotation_on_the_wire,
    hosted_call_on_the_wire,
)
from shared.api.native.fields import Count, Time
from shared.api.native.run_shapes import Run
from shared.api.native.runs import TAG, body_of, own_run, run_url, viewer_of
from shared.api.operations import Answer, Parameter, operation
from shared.api.pacing import HEADERS, MEDIA_TYPE, EventStream, TimeIsUp, paced
from shared.api.run_tokens import Access
from shared.drivers.driver import Driver
from shared.errors import InvalidEventId, RunNotFound, TooManyViewers
from shared.runs.model.calls import ToolCall as CallRecord
from shared.runs.model.run import Run as RunRecord
from shared.runs.ports import log
from shared.runs.rules.waiting import waiting_of
from shared.runs.watching.views import (
    AnnotationAdded,
    Delta,
    End,
    EventId,
    HostedCallMoved,
    ReasoningDelta,
    Snapshot,
    Stale,
    State,
    StatusChanged,
    ToolFinished,
    ToolProgress,
    ToolStarted,
    ViewEvent,
    Woken,
)
from shared.runs.watching.watch import Wake as WakeNow
from shared.wiring import App

END = "end"
"""The id of the last event: a client that reconnects with it has everything."""

RETRY_MILLISECONDS = 1_000

EVENT_ID = {"type": "string", "pattern": r"^([1-9][0-9]{0,5}\.[1-9][0-9]{0,5}\.(0|[1-9][0-9]{0,9})|end)?$"}


class Piece(TypedDict):
    """More text of a run that is watched: it goes to the end of what was shown."""

    text: str
    """The text so far (`snapshot`), or what comes after it (`delta`)."""

    continuation_token: str
    """The event's id."""


class Wake(TypedDict):
    """The app was at work for the run, and what it says of the next time. Nothing else has changed."""

    wakes: Count
    """How often it was, by now."""

    active_seconds: Annotated[float, Field(ge=0)]
    """How long, all together."""

    wake_at: Time | None
    """When it looks or tries next by itself."""

    waiting_for: str
    """What it waits for, in a word, as in the run."""

    waiting_text: str
    """The same, in a sentence for people."""


class WholeText(Piece):
    """The text of a run that is watched, and what goes with it in this turn: it takes the place of what was shown."""

    annotations: list[Annotation]
    """Citations and other marks on the text."""

    hosted_calls: list[HostedCall]
    """What the provider's own tools did."""

    reasoning: str
    """The summary of the model's reasoning in this turn."""


class AddedAnnotation(TypedDict):
    """A citation, or another mark on the text, as it comes."""

    annotation: Annotation
    """The one that is added."""

    continuation_token: str
    """The event's id."""


class MovedHostedCall(TypedDict):
    """A call of one of the provider's own tools that has begun or ended, as it now is."""

    hosted_call: HostedCall
    """The call: one of the same `id` and `turn` takes the place of the one before."""

    continuation_token: str
    """The event's id."""


class Position(TypedDict):
    """Where a watch stands."""

    continuation_token: str
    """The event's id."""


PARAMETERS = (
    Parameter(
        name="Last-Event-ID",
        place="header",
        text="Go on exactly after this event; goes before `after`.",
        schema=EVENT_ID,
    ),
    Parameter(
        name="after",
        place="query",
        text="The same, for who cannot set headers.",
        schema=EVENT_ID,
        example="1.1.42",
    ),
)
ANSWERS = {
    200: Answer(
        text="The events, each with one line of JSON, until the connection or the run ends.",
        events={
            "state": Run,
            "status": Run,
            "snapshot": WholeText,
            "delta": Piece,
            "annotation": AddedAnnotation,
            "hosted_call": MovedHostedCall,
            "reasoning": Piece,
            "wake": Wake,
            "tool_started": ToolCall,
            "tool_progress": ToolCall,
            "tool_finished": ToolCall,
            "stale": Position,
            "end": Run,
        },
    ),
    204: Answer(text="The run has ended and the caller has its end."),
}


@operation(
    tag=TAG,
    parameters=PARAMETERS,
    answers=ANSWERS,
    problems=(RunNotFound, InvalidEventId, TooManyViewers),
    never_to_head=(TooManyViewers,),
)
async def watch_run(request: Request, app: App, driver: Driver, access: Access | None = None) -> Response:
    """Watch a run.

    Server-Sent Events. First `state`, the whole run; then what happens, to the `end`. A client keeps one text, which
    `snapshot` replaces and `delta` continues; at the end it is the run's. After `stale` the text shown stays as it is
    until a `snapshot` makes it good. What goes with the text comes beside it: `annotation` adds a citation,
    `hosted_call` tells of a call of the provider's own tools (the same `id` and `turn` again takes the place of the one
    before), `reasoning` continues the summary of the model's reasoning in this turn; a `snapshot` replaces these of its
    turn too. `wake` says that the app was at work and when it looks next. Ignore events that you do not know: more may
    come. The connection ends by itself after some minutes: come back with the last `id`, and nothing is lost. A run
    that was submitted without `stream` shows no `delta`.
    """
    run = await own_run(request, app, access)
    given = request.headers.get("last-event-id") or request.query_params.get("after") or ""
    # 204 tells an EventSource to stop; when a stream just ends it reconnects.
    if given == END and run.terminal:
        return Response(status_code=204, headers=HEADERS)
    after = EventId.parse(given)
    if after is None and given not in ("", END):
        raise InvalidEventId(param="Last-Event-ID" if request.headers.get("last-event-id") else "after")
    # Before a viewer's slot is taken: nothing is going to be streamed.
    if request.method == "HEAD":
        return Response(headers=HEADERS, media_type=MEDIA_TYPE)
    wake = driver.wake
    return EventStream(stream(app, run.id, after, wake), app.watching.limit.acquire(viewer_of(run, access)))


async def stream(app: App, run_id: str, after: EventId | None, wake: WakeNow) -> AsyncGenerator[bytes, None]:
    """The body: events as they come, a ping when none did for a while, and an end in good time."""
    # Browsers wait some seconds by default, and a planned end would be seen as a pause.
    yield b"retry: %d\n\n" % RETRY_MILLISECONDS
    # No event for it: the client reconnects with the last id and misses nothing.
    with contextlib.suppress(TimeIsUp):
        async with contextlib.aclosing(
            paced(_chunks(app, run_id, after, wake), seconds=app.settings.events_seconds)
        ) as chunks:
            async for chunk in chunks:
                yield b": ping\n\n" if chunk is None else chunk


async def _chunks(app: App, run_id: str, after: EventId | None, wake: WakeNow) -> AsyncGenerator[bytes, None]:
    """The events, each as it is sent."""
    try:
        async with contextlib.aclosing(app.watching.watch(run_id, after, wake=wake)) as events:
            async for event in events:
                yield await _written(app, event)
    except RunNotFound:
        log.info("run %s was deleted while it was watched", run_id)
    except Exception:  # the client reconnects, and gets a problem if it still fails
        log.exception("run %s: a watch failed", run_id)


async def _written(app: App, event: ViewEvent) -> bytes:
    """One event as it is sent."""
    match event:
        # Without an id: a client that reconnects gets the state anew in any case.
        case State():
            return sse("state", await body_of(app, event.run, event.calls))
        case StatusChanged():
            return sse("status", await body_of(app, event.run, event.calls))
        case Woken():
            return sse("wake", _wake(event.run, event.calls))
        case Snapshot():
            return sse("snapshot", _whole(event), str(event.event_id))
        case Delta():
            return sse("delta", _piece(event.event_id, event.text), str(event.event_id))
        case AnnotationAdded():
            added: AddedAnnotation = {
                "annotation": annotation_on_the_wire(event.annotation),
                "continuation_token": str(event.event_id),
            }
            return sse("annotation", added, str(event.event_id))
        case HostedCallMoved():
            call: MovedHostedCall = {
                "hosted_call": hosted_call_on_the_wire(event.call),
                "continuation_token": str(event.event_id),
            }
            return sse("hosted_call", call, str(event.event_id))
        case ReasoningDelta():
            return sse("reasoning", _piece(event.event_id, event.text), str(event.event_id))
        case ToolStarted():
            return sse("tool_started", _call(app, event.call))
        case ToolFinished():
            return sse("tool_finished", _call(app, event.call))
        case ToolProgress():
            return sse("tool_progress", _call(app, event.call))
        case Stale():
            position: Position = {"continuation_token": str(event.event_id)}
            return sse("stale", position)
        case End():
            return sse("end", await body_of(app, event.run, event.calls), END)


def _call(app: App, call: CallRecord) -> ToolCall:
    # Each of these tells what has just happened to the call, so it is no call of a run that is over.
    return call_on_the_wire(call, run_url=run_url(app, call.run), is_over=False)


def _wake(run: RunRecord, calls: Sequence[CallRecord]) -> Wake:
    waiting = waiting_of(run, calls)
    return {
        "wakes": run.counters.wakes,
        "active_seconds": run.counters.active_ms / 1_000,
        "wake_at": time_on_the_wire(waiting.next_try),
        "waiting_for": waiting.word,
        "waiting_text": waiting.sentence,
    }


def _piece(event_id: EventId, text: str) -> Piece:
    return {"text": text, "continuation_token": str(event_id)}


def _whole(event: Snapshot) -> WholeText:
    return {
        **_piece(event.event_id, event.text),
        "annotations": [annotation_on_the_wire(each) for each in event.annotations],
        "hosted_calls": [hosted_call_on_the_wire(each) for each in event.hosted_calls],
        "reasoning": event.reasoning,
    }


def sse(kind: str, data: Mapping[str, object], event_id: str | None = None) -> bytes:
    """One event: its id, if a client is to come back with it, its kind, and one line of JSON."""
    name = "" if event_id is None else f"id: {event_id}\n"
    # JSON escapes line ends, so it is one `data` line.
    line = json.dumps(data, ensure_ascii=False)
    try:
        return f"{name}event: {kind}\ndata: {line}\n\n".encode()
    except UnicodeEncodeError:  # a delta may end in half a surrogate pair
        return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
