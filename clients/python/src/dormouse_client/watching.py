"""A run as it is watched: what each event makes of what was seen before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from dormouse_client._arguments import RunOrId, run_path
from dormouse_client._steps import LONGEST_PAUSE_SECONDS, Request, Rules, is_outage, pause_after
from dormouse_client.contract import Run, ToolCall
from dormouse_client.errors import DormouseError, UnexpectedResponse

SILENCE_SECONDS = 45.0
"""After so long without a byte a connection is dead: the server sends a ping every 15 seconds."""

SHORTEST_PAUSE_SECONDS = 0.5
"""Between two connections, whatever `retry` says."""

_RUN_EVENTS = frozenset({"state", "status", "end"})
_CALL_EVENTS = frozenset({"tool_started", "tool_progress", "tool_finished"})


@dataclass(frozen=True)
class View:
    """One event, and everything that is known after it."""

    event: str
    """`state`, `status`, `snapshot`, `delta`, `tool_started`, `tool_progress`, `tool_finished`, `annotation`,
    `hosted_call`, `reasoning`, `stale`, `wake`, `end`.
    More may come: leave alone what you do not know."""

    data: Any
    """The event's own data, as it came."""

    run: Run
    """The run, with its `tool_calls` as the latest events tell them."""

    text: str
    """The whole text so far."""

    delta: str
    """What the event has added to its end; empty for events that are not about the text."""

    replaced: bool
    """Whether the text began anew, as it does with each turn: then `delta` is all of it. Whoever prints what is added
    begins a new line here."""

    stale: bool
    """Whether the text does not grow for now; a `snapshot` makes it good later."""

    call: ToolCall | None
    """The tool call that the event is about."""

    id: str | None
    """Where to go on from: give it as `after`, with `text`, to watch on in another process."""


class ServerSentEvent(Protocol):
    """An event as httpx2 reads it."""

    @property
    def event(self) -> str: ...
    @property
    def data(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def retry(self) -> int | None: ...


class Watch:
    """What one who watches a run knows, over any number of connections."""

    def __init__(self, run: RunOrId, rules: Rules, *, after: str | None = None, text: str = "") -> None:
        self._path = run_path(run)
        self._rules = rules
        self._run: Run | None = None
        self._text = text
        self._half = ""
        """The first half of a character whose other half comes with the next delta."""
        self._id = after
        self._safe_id = after
        """The last event after which the text was whole."""
        self._stale = False
        self._failures = 0
        self._heard = False
        """Whether there has been a connection: from then on no outage ends the watch."""
        self._heard_now = False
        """Whether the present connection, or the last one, has brought an event."""
        self._between = 1.0
        """Seconds between two connections, as the server wants it (`retry`)."""
        self.ended = False

    def request(self) -> Request:
        """The next connection, exactly after the last event."""
        # No compression: something in between could hold events back until there is enough of them.
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Accept-Encoding": "identity"}
        return Request("GET", f"{self._path}/events", headers=headers | ({} if self._id is None else self._position))

    @property
    def _position(self) -> dict[str, str]:
        return {"Last-Event-ID": self._id or ""}

    def feed(self, event: ServerSentEvent) -> View | None:
        """What an event makes of it; None for what is no event of the run.

        Raises:
            UnexpectedResponse: the event is not the app's.
        """
        if event.retry is not None:
            self._between = min(max(event.retry / 1_000, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        if not event.data:
            return None
        data = _object(event.data, "status" if event.event in _RUN_EVENTS else None)
        self._heard = self._heard_now = True
        self._failures = 0
        self._id = event.id or self._id
        before, call = self._text, None
        if event.event in _RUN_EVENTS:
            self._run = cast(Run, data)
        elif event.event == "snapshot":
            self._text, self._half = _whole(str(data.get("text", "")))
            self._stale = False
        elif event.event == "delta":
            added, self._half = _whole(self._half + str(data.get("text", "")))
            self._text += added
        elif event.event == "stale":
            self._stale = True
        elif event.event == "wake" and self._run is not None:
            self._run = cast(Run, {**self._run, **data})  # what has changed of it, and nothing else
        elif event.event in _CALL_EVENTS:
            call = cast(ToolCall, data)
        if not self._half:
            self._safe_id = self._id
        if self._run is None:  # the state comes first; a run of which nothing is known is nothing to show
            return None
        if call is not None:
            self._run = with_call(self._run, call)
        if event.event == "end":
            self.ended, self._stale = True, False
            self._text, self._half = self._run.get("text", before), ""
        replaced = not self._text.startswith(before)
        return View(
            event=event.event,
            data=data,
            run=self._run,
            text=self._text,
            delta=self._text if replaced else self._text[len(before) :],
            replaced=replaced,
            stale=self._stale,
            call=call,
            id=self._safe_id,
        )

    def pause(self, error: DormouseError | None) -> float:
        """Seconds until the next connection, after one that ended as planned or with this error. Raises that error
        when it is the app's word, or when nothing was ever heard and trying again is over.
        """
        if error is None and not self._heard_now:
            error = UnexpectedResponse("The stream ended before its first event.", status=200)
        self._heard_now = False
        if error is None:
            return self._between
        if not is_outage(error):
            raise error
        self._failures += 1
        if not self._heard and (self._failures > self._rules.retries or error.status in (403, 404)):
            raise error
        return max(self._between, min(pause_after(self._failures, error.retry_after, self._rules.random()), 60.0))


def _whole(text: str) -> tuple[str, str]:
    """The text with the two halves of a character put together, and a last half that waits for the other."""
    if any("\ud800" <= each <= "\udfff" for each in text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
    return text[: len(text) - len(half)], half


def with_call(run: Run, call: ToolCall) -> Run:
    """The run with this call as it is now, in its place, or at the end when it is new."""
    calls = list(run.get("tool_calls", []))
    key = _key(call)
    places = [at for at, each in enumerate(calls) if _key(each) == key]
    if places:
        calls[places[0]] = call
    else:
        calls.append(call)
    return {**run, "tool_calls": calls}


def _key(call: Mapping[str, Any] | ToolCall) -> tuple[object, object]:
    """A provider may use a call's id again in a later turn."""
    return call.get("turn"), call.get("call_id")


def _object(text: str, field: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not (field is None or field in found):
        raise UnexpectedResponse("An event of the stream is not Dormouse's; it is opened again.", status=200)
    return found
