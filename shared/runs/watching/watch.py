"""Watching a run: the rows, and the provider's own stream of the current turn, as one sequence of events.

Nothing is stored for viewers, and nothing runs when nobody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run, Text
from shared.runs.ports import Ports
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.response_streams import Cursor, ResponseStreams
from shared.runs.watching.run_reader import RunReader, RunReaders
from shared.runs.watching.viewer_limit import ViewerLimit
from shared.runs.watching.views import (
    ALL,
    ClientText,
    End,
    EventId,
    RunRows,
    Snapshot,
    Stale,
    State,
    ViewEvent,
    attempt_of,
    changes_between,
    final_snapshot,
    has_answered,
    response_of,
)

RECHECK_SECONDS = 0.5
"""How often a viewer compares its stream with the rows while they differ, though neither has changed."""

STORE_RETRY_SECONDS = 1.0
"""Pause before a text is read again after the store was unavailable."""

CATCH_UP_SECONDS = 2.0
"""How long a stream may go on after the rows are ahead of it: the provider has the rest of it ready."""

WAKE_RETRY_SECONDS = 2.0
"""Pause before a wake is requested again, when the rows still say that the response is pending; doubled each time."""

DISCONNECT_CHECK_SECONDS = 2.0
"""How often a waiting request is checked for a client that has disconnected."""

MAX_WAKES_REMEMBERED = 1_000
"""For how many responses a process remembers when it requested a wake."""

Wake = Callable[[str], Awaitable[None]]
"""Wakes the run of this id now, as a webhook does: for a viewer that saw the response end."""


class Watching:
    """The use case *watch*. Any number of viewers of a run see the same, and share what it takes to see it."""

    def __init__(self, ports: Ports) -> None:
        self.limit = ViewerLimit(ports.settings.max_viewers)
        self._ports = ports
        self._shared = _Shared(ports, RunReaders(ports), ResponseStreams(ports.random), WakeRequests())

    def read_now(self, run_id: str) -> None:
        """Read the run's rows now, if somebody watches it in this process, which has just changed them."""
        self._shared.readers.read_now(run_id)

    async def until(
        self,
        run_id: str,
        seconds: float,
        done: Callable[[RunRows | None], bool],
        *,
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> RunRows | None:
        """The rows as soon as they are ``done``, or as they are after so many seconds; None: there is no such run.

        Returns early when the caller is ``gone``. Raises ``StoreUnavailable``.
        """
        changed, time = asyncio.Event(), asyncio.get_running_loop().time
        end = time() + seconds
        async with self._shared.readers.open(run_id, changed) as reader:
            # A request that waits fails at once while the store is unavailable: its client can repeat it.
            await reader.refresh(wait_for_store=False)
            while True:
                # Cleared before the rows are read: a change in between must not go unnoticed.
                changed.clear()
                seen, left = reader.current, end - time()
                if done(seen) or left <= 0 or (gone is not None and await gone()):
                    return seen
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left if gone is None else min(left, DISCONNECT_CHECK_SECONDS)):
                        await changed.wait()

    async def watch(
        self, run_id: str, after: EventId | None = None, *, wake: Wake | None = None
    ) -> AsyncGenerator[ViewEvent, None]:
        """Every event from now to the run's end, going on exactly after ``after``.

        The last event is ``End``; a run that is not there, or is deleted meanwhile, ends the iteration without one.
        Close it (``aclosing``) to close the provider's stream. Who may see the run is checked by the caller.
        """
        changed = asyncio.Event()
        async with self._shared.readers.open(run_id, changed) as reader:
            watch = _Watch(self._shared, reader, changed, run_id, after, wake)
            try:
                async with contextlib.aclosing(watch.events()) as events:
                    async for event in events:
                        yield event
            # The host cancels the stream of a viewer that disconnects: the provider's must then be closed, too.
            finally:
                await watch.close()


class WakeRequests:
    """The wakes requested because a response has ended: one is enough for all viewers that see that end."""

    def __init__(self) -> None:
        self._next_at: dict[str, tuple[float, float]] = {}

    def is_due(self, response_id: str, now: float) -> bool:
        """Whether to request one now, on a clock in seconds: the first time, and again after a growing pause."""
        at, gap = self._next_at.pop(response_id, (now, WAKE_RETRY_SECONDS))
        due = now >= at
        # Inserted anew each time, so that the one removed below is the one not used for longest.
        self._next_at[response_id] = (now + gap, gap * 2) if due else (at, gap)
        if len(self._next_at) > MAX_WAKES_REMEMBERED:
            del self._next_at[next(iter(self._next_at))]
        return due


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the viewers of this process have in common."""

    ports: Ports
    readers: RunReaders
    streams: ResponseStreams
    wakes: WakeRequests


class _Watch:
    """One viewer: what it was shown, the rows as last read, and the provider's stream that it follows."""

    def __init__(
        self,
        shared: _Shared,
        reader: RunReader,
        changed: asyncio.Event,
        run_id: str,
        after: EventId | None,
        wake: Wake | None,
    ) -> None:
        self._shared = shared
        self._ports = shared.ports
        self._reader = reader
        self._changed = changed
        self._time = asyncio.get_running_loop().time
        self._run_id = run_id
        self._after = after
        self._wake = wake
        self._shown: ClientText | None = None
        self._following: Cursor | None = None
        self._behind_since: float | None = None
        self._updated_at = 0.0

    async def events(self) -> AsyncGenerator[ViewEvent, None]:
        """Every event: the rows, the provider's stream until the rows change, and so on to the end of the run."""
        seen = await self._reader.refresh()
        if seen is None:
            return
        # Always first: changes of the rows have no event ids, so a client that comes back may have missed some.
        yield State(run=seen.run, calls=seen.calls)
        while not seen.run.terminal or self._is_still_streaming(seen.run):
            if (start := await self._follow_attempt(seen.run)) is not None:
                yield start
            async with contextlib.aclosing(self._stream_events(seen)) as streamed:
                async for event in streamed:
                    yield event
            if (whole := await self._text_from_rows(seen.run)) is not None:
                yield whole
            elif (stale := self._report_stale()) is not None:
                yield stale
            rows = self._reader.current
            if rows is None:
                return
            for event in changes_between(seen, rows):
                yield event
            seen = rows
            await self._request_wake(seen.run)
        text = await self._loaded(seen.run, seen.run.result.text)
        if text is None:
            return
        # Whatever was lost on the way is made up for here: the client's text ends as the run's.
        if self._shown is None or not self._shown.has_text(seen.run, text):
            notes = await self._loaded(seen.run, seen.run.result.annotations)
            if notes is None:
                return
            yield final_snapshot(seen.run, self._last_id(seen.run), text, notes)
        yield End(run=seen.run, calls=seen.calls, text=text)

    async def close(self) -> None:
        """Close the provider's stream."""
        if self._following is not None:
            following, self._following = self._following, None
            await following.close()

    async def _follow_attempt(self, run: Run) -> Snapshot | None:
        """Follow the current attempt; the empty snapshot that a new one begins with, if it is one."""
        here, agent = attempt_of(run), self._ports.agents.get(run.request.agent)
        if run.terminal or here is None or not run.request.stream or agent is None or not agent.streams:
            return None
        start = None
        if self._shown is None or not self._shown.position.same_attempt(here):
            # The text of the attempt before first: its last updates are still on their way.
            if self._is_behind():
                return None
            await self.close()
            after, self._after, self._behind_since = self._after, None, None
            if after is not None and after.same_attempt(here):
                # The client comes back in mid-response: it has the beginning of the text, and this process has not.
                self._shown = ClientText(after, whole=after.sequence == 0)
            else:
                self._shown = ClientText(here)
                start = Snapshot(event_id=here, text="")
        response_id = response_of(run)
        if self._following is None and response_id is not None and self._shown.position.sequence < ALL:
            after = self._shown.position
            self._following = self._shared.streams.open(agent, response_id, after.sequence, self._changed)
            self._updated_at = self._time()
        return start

    async def _stream_events(self, seen: RunRows) -> AsyncGenerator[ViewEvent, None]:
        """The provider's updates as events, until the rows change, the response ends or it is time to compare."""
        until = self._time() + RECHECK_SECONDS if self._differs(seen.run) else None
        follows = self._following is not None and not self._following.ended
        while True:
            # Cleared before looking: an update that comes in between sets it again.
            self._changed.clear()
            if self._reader.current is not seen:
                return
            if follows and self._following is not None and self._shown is not None:
                update = self._following.take()
                if update is not None:
                    self._updated_at = self._time()
                    event = self._shown.apply(update)
                    if event is not None:
                        yield event
                        continue
                if self._following.ended:
                    self._reader.read_soon()  # a webhook or a poll is about to store the result
                    return
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _differs(self, run: Run) -> bool:
        """Whether the stream is ahead of the rows, or the rows of the stream: then time alone may require an event."""
        here, shown = attempt_of(run), self._shown
        if self._following is None or shown is None or here is None:
            return False
        if shown.ended and shown.position.same_attempt(here):
            return run.terminal or not has_answered(run)
        return run.terminal or has_answered(run) or not shown.position.same_attempt(here)

    async def _text_from_rows(self, run: Run) -> Snapshot | None:
        """The whole text of a finished turn, where the provider replays no more of it or sends nothing."""
        here, shown = attempt_of(run), self._shown
        if shown is None or here is None or not shown.position.same_attempt(here) or not has_answered(run):
            return None
        if not self._is_stalled(shown):
            return None
        try:
            items = await self._ports.runs.last_items(run)
        except (StoreUnavailable, LookupError):  # tried again later, or the next read finds the run deleted
            return None
        await self.close()
        return shown.replace(items)

    def _is_stalled(self, shown: ClientText) -> bool:
        """Whether the provider sends no more though this viewer has not seen the end of the response."""
        if shown.ended or shown.position.sequence == ALL or self._following is None:
            return False
        return self._following.ended or self._time() - self._updated_at >= CATCH_UP_SECONDS

    def _report_stale(self) -> Stale | None:
        """The event, once, that says that the provider replays no more."""
        shown = self._shown
        if shown is None or shown.stale or shown.ended or self._following is None or not self._following.ended:
            return None
        shown.stale = True
        return Stale(event_id=shown.position)

    async def _request_wake(self, run: Run) -> None:
        """Wake the run when its response has ended but its row is still pending: else that waits for the next poll."""
        if self._wake is None or self._following is None or self._shown is None or not self._shown.ended:
            return
        response_id = self._following.response_id
        pending = run.token is not None and run.token.response_id == response_id
        if pending and self._shared.wakes.is_due(response_id, self._time()):
            await self._wake(self._run_id)

    def _is_behind(self) -> bool:
        """Whether the stream has more to send, though the rows are ahead of it."""
        if self._following is None or self._following.ended:
            return False
        # Bounded: a provider that never sends the rest must not keep a viewer from the next turn.
        if self._behind_since is None:
            self._behind_since = self._time()
        return self._time() - self._behind_since < CATCH_UP_SECONDS

    def _is_still_streaming(self, run: Run) -> bool:
        """Whether the run has ended with a text that is still being streamed to this viewer."""
        here = attempt_of(run)
        has_text = run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE)
        mine = here is not None and self._shown is not None and self._shown.position.same_attempt(here)
        return has_text and mine and self._is_behind()

    async def _loaded(self, run: Run, value: Text) -> str | None:
        """A long value of the run's; None when the run was deleted while we were reading."""
        while True:
            try:
                return await self._ports.runs.load_text(run, value)
            except StoreUnavailable:
                await asyncio.sleep(STORE_RETRY_SECONDS)
            except LookupError:
                if await self._reader.refresh() is None:
                    return None
                raise  # the run is there and its text is not: nothing that waiting would mend

    def _last_id(self, run: Run) -> EventId:
        here = attempt_of(run) or EventId(run.turn.number, 1, 0)
        known = self._shown is not None and self._shown.position.same_attempt(here)
        return self._shown.position if known and self._shown is not None else here
