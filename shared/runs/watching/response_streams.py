"""The provider's streams of responses: one of each response for all viewers in this process.

Each viewer has a position in the stream. Its updates are kept, up to a bound, for viewers that read more slowly or come
later; one that needs more than is kept gets a stream of its own until it has caught up.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections import deque
from collections.abc import Callable

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentUpdate, UpdateKind
from shared.runs.ports import log
from shared.runs.rules import schedule

OPEN_SECONDS = 10.0
BACKOFF_FIRST = 0.2
BACKOFF_MAX = 10.0
READ_AHEAD = 64
"""How many updates are read ahead of the fastest viewer before we stop reading from the provider."""

MAX_UPDATES_KEPT = 10_000
MAX_CHARACTERS_KEPT = 1_000_000
"""What is kept of one stream: some megabytes at most."""

CHARACTERS_BESIDE = 2_000
"""What an update counts as that is not text: about as much as the longest of them."""


class ResponseStreams:
    """The streams of one process, by response."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._by_response: dict[str, list[ResponseStream]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def open(self, agent: Agent, response_id: str, after: int, available: asyncio.Event) -> Cursor:
        """Follow the response from after that number; ``available`` is set whenever there may be more to take."""
        return Cursor(self, agent, response_id, after, available)

    def join(self, cursor: Cursor, agent: Agent, after: int) -> ResponseStream:
        """A stream that has every update after that number: the oldest that does, or a new one."""
        streams = self._by_response.setdefault(cursor.response_id, [])
        # The oldest first, so that viewers gather on one stream and the others can be closed.
        stream = next((each for each in streams if each.covers(after)), None)
        if stream is None:
            stream = ResponseStream(agent, cursor.response_id, after, self._jitter)
            streams.append(stream)
        stream.cursors.add(cursor)
        return stream

    def leave(self, cursor: Cursor, stream: ResponseStream) -> asyncio.Task[None] | None:
        """The task of the stream, which is ending, if that was its last viewer."""
        stream.cursors.discard(cursor)
        if stream.cursors:
            return None
        streams = self._by_response[cursor.response_id]
        streams.remove(stream)
        if not streams:
            del self._by_response[cursor.response_id]
        stream.task.cancel()
        # Kept until it has ended: the event loop holds only weak references to its tasks.
        self._stopping.add(stream.task)
        stream.task.add_done_callback(self._stopping.discard)
        return stream.task

    def must_rejoin(self, cursor: Cursor, stream: ResponseStream, after: int) -> bool:
        """Whether the viewer must change streams: its own no longer has the next update, or an older one has it too."""
        if stream.lacks(after) or stream.ended:
            return stream.lacks(after)
        return next((each for each in self._by_response[cursor.response_id] if each.covers(after)), None) is not stream


class Cursor:
    """One viewer's position in the stream of a response."""

    def __init__(
        self, streams: ResponseStreams, agent: Agent, response_id: str, after: int, available: asyncio.Event
    ) -> None:
        self.response_id = response_id
        self.available = available
        self.ended = False
        """Whether nothing follows: the response has ended, or the provider replays no more of it."""
        self._streams = streams
        self._agent = agent
        self._after = after
        self._stream = streams.join(self, agent, after)
        self._index = self._stream.index_after(after)

    def take(self) -> AgentUpdate | None:
        """The next update, if it is here. When none is left to come, ``ended`` says so."""
        if self._streams.must_rejoin(self, self._stream, self._after):
            self._rejoin()
        while (found := self._stream.next_from(self._index)) is not None:
            self._index, update = found
            # After a change of streams the new one may begin with updates that this viewer has had.
            if update.sequence > self._after:
                self._after = update.sequence
                self.ended = update.kind is UpdateKind.ENDED
                return update
        self.ended = self._stream.ended
        return None

    async def close(self) -> None:
        """Leave the stream; the connection to the provider is closed with the last viewer."""
        stopping = self._streams.leave(self, self._stream)
        if stopping is not None:
            # Waited for, so that the connection is closed when the viewer's request ends.
            await asyncio.wait([stopping])

    def _rejoin(self) -> None:
        old = self._stream
        # Joined before the old one is left: a stream that is found again would be closed with its last viewer.
        self._stream = self._streams.join(self, self._agent, self._after)
        self._index = self._stream.index_after(self._after)
        if old is not self._stream:
            self._streams.leave(self, old)


class ResponseStream:
    """The updates of a response after a sequence number, as the provider sends them.

    A connection that breaks, or ends before the response does, is opened again after the last update.
    """

    def __init__(self, agent: Agent, response_id: str, after: int, jitter: Callable[[], float]) -> None:
        self.cursors: set[Cursor] = set()
        self.ended = False
        self._failed = False
        self._agent = agent
        self._response_id = response_id
        self._jitter = jitter
        self._floor = self._last = after
        self._kept: deque[AgentUpdate] = deque()
        self._characters = 0
        self._dropped = 0
        self._read = 0
        self._room = asyncio.Event()
        self.task = asyncio.create_task(self._follow())

    def covers(self, after: int) -> bool:
        """Whether all that comes after that number is here, or is still to come."""
        return not self.lacks(after) and not self._failed

    def lacks(self, after: int) -> bool:
        """Whether some of what comes after that number has been dropped, or never was asked for."""
        return after < self._floor

    def index_after(self, sequence: int) -> int:
        """The index of the first update after that number."""
        return self._dropped + bisect.bisect_right(self._kept, sequence, key=lambda update: update.sequence)

    def next_from(self, index: int) -> tuple[int, AgentUpdate] | None:
        """The update at that index, or the first one kept after it, with the next index; None: it has not come yet."""
        # Updates before it were dropped: `must_rejoin` has moved every viewer that needs one of them.
        index = max(index, self._dropped)
        if index >= self._dropped + len(self._kept):
            return None
        update = self._kept[index - self._dropped]
        if index >= self._read:
            self._read = index + 1
            self._room.set()
            self._drop()
        return index + 1, update

    async def _follow(self) -> None:
        failures = 0
        while True:
            wait = 0.0
            try:
                before = self._last
                if await self._follow_once():
                    return
                # Gateways cut long streams: only connections that bring nothing count as failures in a row.
                failures = 0 if self._last > before else failures
            # Minutes after its creation the provider answers 400 for good: viewers go on with the rows.
            except faults.NotStreamed as fault:
                log.info("response %s can no longer be followed: %s", self._response_id, fault.for_log)
                self._end()
                return
            except faults.ProviderFault as fault:
                failures = 0 if self._last > before else failures
                wait = fault.retry_after or 0.0
            except Exception:
                log.exception("response %s: following it failed", self._response_id)
                # A defect of ours: those who come later get a stream of their own instead of this one's end.
                self._failed = True
                self._end()
                return
            failures += 1
            gap = schedule.backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MAX, jitter=self._jitter())
            await asyncio.sleep(max(gap, wait))

    async def _follow_once(self) -> bool:
        """Follow over one connection; True when the response has ended."""
        async with contextlib.aclosing(
            self._agent.follow(self._response_id, after=self._last, timeout=OPEN_SECONDS)
        ) as updates:
            async for update in updates:
                # The provider is made to wait rather than memory filled: it keeps the response's events for minutes.
                await self._wait_for_room()
                self._last = update.sequence
                self._keep(update)
                if update.kind is UpdateKind.ENDED:
                    self._end()
                    return True
        return False

    async def _wait_for_room(self) -> None:
        while self._dropped + len(self._kept) - self._read >= READ_AHEAD:
            self._room.clear()
            await self._room.wait()

    def _keep(self, update: AgentUpdate) -> None:
        self._kept.append(update)
        self._characters += _size(update)
        self._drop()
        self._notify()

    def _drop(self) -> None:
        """Drop the oldest updates above the bound, but none that the fastest viewer has not read."""
        while (
            len(self._kept) > MAX_UPDATES_KEPT or self._characters > MAX_CHARACTERS_KEPT
        ) and self._dropped < self._read:
            dropped = self._kept.popleft()
            self._dropped += 1
            self._floor = dropped.sequence
            self._characters -= _size(dropped)

    def _end(self) -> None:
        self.ended = True
        self._notify()

    def _notify(self) -> None:
        for cursor in self.cursors:
            cursor.available.set()


def _size(update: AgentUpdate) -> int:
    beside = update.annotation is not None or update.hosted_call is not None
    return len(update.text) + (CHARACTERS_BESIDE if beside else 0)
