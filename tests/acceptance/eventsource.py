"""A client of a run's events as a page would write one: it keeps one text and the last id, and comes back with it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.acceptance.client import TIMEOUT_SECONDS


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it came over the wire."""

    kind: str
    data: Any
    id: str | None = None


@dataclass
class Watcher:
    """What a client has of one run after any number of connections."""

    url: str
    run_id: str
    text: str = ""
    last: str | None = None
    events: list[Event] = field(default_factory=list)
    under: str = "/api/runs"
    """The address that its run is below."""
    headers: dict[str, str] = field(default_factory=dict)
    """What opens it."""
    connections: int = 0
    status: int = 0
    """That of the latest connection."""

    async def watch(self, until: Callable[[Event], object] = lambda _: False, *, by_query: bool = False) -> Watcher:
        """One connection, from where the client stands: to its end, or to an event for which ``until`` holds.

        A host that is gone, or goes meanwhile, is the end of a connection too.
        """
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with contextlib.aclosing(self._connect(by_query)) as events:
                async for event in events:
                    self.apply(event)
                    if until(event):
                        break
        return self

    async def one_further(self, *kinds: str, by_query: bool = False) -> Watcher:
        """One connection that is cut at the first event of these kinds, or with another id than it came with."""
        came_with = self.last
        return await self.watch(lambda e: e.kind in kinds or e.id not in (None, came_with), by_query=by_query)

    async def to_the_end(self) -> Watcher:
        """Connections until the end has come."""
        while not self.ended:
            await self.watch()
        return self

    async def _connect(self, by_query: bool) -> AsyncIterator[Event]:
        url = f"{self.url}{self.under}/{self.run_id}/events"
        headers = self.headers | ({} if self.last is None or by_query else {"Last-Event-ID": self.last})
        params = {"after": self.last} if self.last is not None and by_query else {}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=2**24) as session,
            session.get(url, headers=headers, params=params) as response,
        ):
            self.connections += 1
            self.status = response.status
            assert response.status in (200, 204), await response.text()
            async for event in parsed(response.content):
                yield event

    def apply(self, event: Event) -> None:
        """Take in one event, as the README tells pages to."""
        self.events.append(event)
        if event.kind == "snapshot":
            self.text = event.data["text"]
        elif event.kind == "delta":
            self.text += event.data["text"]
        if event.id is not None:
            self.last = event.id

    @property
    def ended(self) -> bool:
        return self.last == "end"

    def of(self, *kinds: str) -> list[Event]:
        """The events of these kinds."""
        return [event for event in self.events if event.kind in kinds]

    def said(self, turn: int) -> str:
        """What the deltas of that turn said, of its first attempt."""
        return "".join(event.data["text"] for event in self.of("delta") if str(event.id).startswith(f"{turn}.1."))

    def check(self) -> None:
        """No delta came twice, and at the end the text is the stored one, byte for byte."""
        ids = [event.id for event in self.of("delta")]
        assert len(ids) == len(set(ids)), ids
        assert all(event.data["continuation_token"] == event.id for event in self.of("delta", "snapshot"))
        assert self.events[-1].kind == "end"
        assert self.text.encode() == self.events[-1].data["text"].encode()


async def parsed(lines: aiohttp.StreamReader) -> AsyncIterator[Event]:
    """The events of a stream; comments and `retry` are passed over."""
    fields: dict[str, str] = {}
    async for raw in lines:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}
        else:
            fields = {}


def has_id(event: Event) -> bool:
    """Whether a client that is cut off now comes back with this event's id."""
    return event.id is not None
