"""The responses that are followed: one stream from the provider for all who watch the same in this process.

Each viewer stands somewhere in what the stream has told. What it has told is kept, up to a bound, for those who read
more slowly or come later; who lacks more than is kept follows a stream of its own until it has caught up.
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
BACKOFF_MOST = 10.0
AHEAD = 64
"""How many updates are read ahead of the fastest viewer before the provider is made to wait."""

MOST_KEPT = 10_000
MOST_CHARACTERS = 1_000_000
"""What is kept of one stream: some megabytes at most."""


class Followed:
    """The streams of one process, by response."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._of: dict[str, list[Stream]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def open(self, agent: Agent, response_id: str, after: int, bell: asyncio.Event) -> Cursor:
        """Follow the response from after that number; ``bell`` is set whenever there may be more to take."""
        return Cursor(self, agent, response_id, after, bell)

    def join(self, cursor: Cursor, agent: Agent, after: int) -> Stream:
        """A stream that tells all that comes after that number: the oldest that does, or a new one."""
        streams = self._of.setdefault(cursor.response_id, [])
        stream = next((each for each in streams if each.covers(after)), None)
        if stream is None:
            stream = Stream(agent, cursor.response_id, after, self._jitter)
            streams.append(stream)
        stream.cursors.add(cursor)
        return stream

    def leave(self, cursor: Cursor, stream: Stream) -> asyncio.Task[None] | None:
        """The task of the stream, which is ending, if that was its last viewer."""
        stream.cursors.discard(cursor)
        if stream.cursors:
            return None
        streams = self._of[cursor.response_id]
        streams.remove(stream)
        if not streams:
            del self._of[cursor.response_id]
        stream.task.cancel()
        self._ending.add(stream.task)
        stream.task.add_done_callback(self._ending.discard)
        return stream.task

    def is_behind(self, cursor: Cursor, stream: Stream, after: int) -> bool:
        """Whether the viewer is to join again: its stream no longer has what it lacks, or an older one has it too."""
        if stream.lacks(after) or stream.over:
            return stream.lacks(after)
        return next((each for each in self._of[cursor.response_id] if each.covers(after)), None) is not stream


class Cursor:
    """Where one viewer stands in a response."""

    def __init__(self, followed: Followed, agent: Agent, response_id: str, after: int, bell: asyncio.Event) -> None:
        self.response_id = response_id
        self.bell = bell
        self.over = False
        """Whether nothing follows: the response has ended, or the provider tells no more of it."""
        self._followed = followed
        self._agent = agent
        self._after = after
        self._stream = followed.join(self, agent, after)
        self._index = self._stream.index_after(after)

    def take(self) -> AgentUpdate | None:
        """The next update, if it is here. When none is left to come, ``over`` says so."""
        if self._followed.is_behind(self, self._stream, self._after):
            self._join_again()
        while (found := self._stream.next_from(self._index)) is not None:
            self._index, update = found
            if update.sequence > self._after:
                self._after = update.sequence
                self.over = update.kind is UpdateKind.ENDED
                return update
        self.over = self._stream.over
        return None

    async def close(self) -> None:
        """Let go of the stream; the provider's is closed with its last viewer."""
        ending = self._followed.leave(self, self._stream)
        if ending is not None:
            await asyncio.wait([ending])

    def _join_again(self) -> None:
        old = self._stream
        self._stream = self._followed.join(self, self._agent, self._after)
        self._index = self._stream.index_after(self._after)
        if old is not self._stream:
            self._followed.leave(self, old)


class Stream:
    """The updates of a response after a number, as the provider tells them.

    A connection that breaks, or ends before the response does, is taken up again after the last update.
    """

    def __init__(self, agent: Agent, response_id: str, after: int, jitter: Callable[[], float]) -> None:
        self.cursors: set[Cursor] = set()
        self.over = False
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
        """The place of the first update after that number."""
        return self._dropped + bisect.bisect_right(self._kept, sequence, key=lambda update: update.sequence)

    def next_from(self, index: int) -> tuple[int, AgentUpdate] | None:
        """The update in that place, or the first that is still here, with the place after it; None: it is to come."""
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
                if await self._until_it_breaks():
                    return
                failures = 0 if self._last > before else failures
            except faults.NotStreamed as fault:
                log.info("response %s can no longer be followed: %s", self._response_id, fault.message)
                self._end()
                return
            except faults.ProviderFault as fault:
                failures = 0 if self._last > before else failures
                wait = fault.retry_after or 0.0
            except Exception:
                log.exception("response %s: following it failed", self._response_id)
                self._failed = True
                self._end()
                return
            failures += 1
            gap = schedule.backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST, jitter=self._jitter())
            await asyncio.sleep(max(gap, wait))

    async def _until_it_breaks(self) -> bool:
        """Follow over one connection; True when the response has ended."""
        async with contextlib.aclosing(
            self._agent.follow(self._response_id, after=self._last, timeout=OPEN_SECONDS)
        ) as updates:
            async for update in updates:
                await self._wait_for_room()
                self._last = update.sequence
                self._keep(update)
                if update.kind is UpdateKind.ENDED:
                    self._end()
                    return True
        return False

    async def _wait_for_room(self) -> None:
        while self._dropped + len(self._kept) - self._read >= AHEAD:
            self._room.clear()
            await self._room.wait()

    def _keep(self, update: AgentUpdate) -> None:
        self._kept.append(update)
        self._characters += len(update.text)
        self._drop()
        self._ring()

    def _drop(self) -> None:
        """Keep no more than may be, of what the fastest viewer has read."""
        while (len(self._kept) > MOST_KEPT or self._characters > MOST_CHARACTERS) and self._dropped < self._read:
            dropped = self._kept.popleft()
            self._dropped += 1
            self._floor = dropped.sequence
            self._characters -= len(dropped.text)

    def _end(self) -> None:
        self.over = True
        self._ring()

    def _ring(self) -> None:
        for cursor in self.cursors:
            cursor.bell.set()
