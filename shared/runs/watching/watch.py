"""Watching a run: the rows, and the provider's own stream of the current turn, as one sequence of events.

Nothing is stored for viewers, and nothing runs when nobody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from shared.agentkit.agent import text_of
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.following import Cursor, Followed
from shared.runs.watching.looking import Look, Looks
from shared.runs.watching.places import Places
from shared.runs.watching.views import (
    ALL,
    End,
    EventId,
    Seen,
    Shown,
    Snapshot,
    Stale,
    State,
    ViewEvent,
    attempt_of,
    has_said,
    news,
    response_of,
)

TICK = 0.5
"""How often a viewer thinks again of itself, while its stream and the rows do not tell the same."""

STORE_GAP = 1.0
"""Seconds until a text is read again that the store did not give."""

PATIENCE = 2.0
"""How long a stream may go on when the rows are ahead of it: what is left of it is there to be read."""

WAKE_GAP = 2.0
"""Seconds until a wake that has not yet taken in the end of a response is asked for again; doubled each time."""

GONE_GAP = 2.0
"""Seconds between two questions whether a caller who waits is still there."""

WAKES_KNOWN = 1_000
"""Of how many responses a process remembers that it has asked for a wake."""

Wake = Callable[[str], Awaitable[None]]
"""Has the run of this id looked at now: what the webhook does, for a viewer who saw the response end."""


class Watching:
    """The use case *watch*. Any number of viewers of a run see the same, and share what it takes to see it."""

    def __init__(self, ports: Ports) -> None:
        self.places = Places(ports.settings.max_viewers)
        self._ports = ports
        self._shared = _Shared(ports, Looks(ports), Followed(ports.random), Asked())

    def look_now(self, run_id: str) -> None:
        """Something has been done to the run: whoever watches it in this process is to see that soon."""
        self._shared.looks.look_now(run_id)

    async def until(
        self,
        run_id: str,
        seconds: float,
        done: Callable[[Seen | None], bool],
        *,
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Seen | None:
        """The rows as soon as they are ``done``, or as they are after so many seconds; None: there is no such run.

        Nobody is left waiting for a caller that is ``gone``. Raises ``StoreUnavailable``.
        """
        bell, time = asyncio.Event(), asyncio.get_running_loop().time
        end = time() + seconds
        async with self._shared.looks.open(run_id, bell) as look:
            await look.fresh(patient=False)
            while True:
                bell.clear()
                seen, left = look.seen, end - time()
                if done(seen) or left <= 0 or (gone is not None and await gone()):
                    return seen
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left if gone is None else min(left, GONE_GAP)):
                        await bell.wait()

    async def watch(
        self, run_id: str, after: EventId | None = None, *, wake: Wake | None = None
    ) -> AsyncGenerator[ViewEvent, None]:
        """Every event from now to the run's end, going on exactly after ``after``.

        The last event is ``End``; a run that is not there, or is deleted meanwhile, ends the iteration without one.
        Close it (``aclosing``) to let go of the provider's stream. Who may see the run is checked by the caller.
        """
        bell = asyncio.Event()
        async with self._shared.looks.open(run_id, bell) as look:
            watch = _Watch(self._shared, look, bell, run_id, after, wake)
            try:
                async with contextlib.aclosing(watch.events()) as events:
                    async for event in events:
                        yield event
            finally:
                await watch.let_go()


class Asked:
    """The wakes that were asked for because a response has ended: one does for all who see that end."""

    def __init__(self) -> None:
        self._again: dict[str, tuple[float, float]] = {}

    def is_due(self, response_id: str, now: float) -> bool:
        """Whether to ask now, on a clock in seconds: the first time, and again when the rows still wait after a gap."""
        at, gap = self._again.pop(response_id, (now, WAKE_GAP))
        due = now >= at
        self._again[response_id] = (now + gap, gap * 2) if due else (at, gap)
        if len(self._again) > WAKES_KNOWN:
            del self._again[next(iter(self._again))]
        return due


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the viewers of this process have in common."""

    ports: Ports
    looks: Looks
    followed: Followed
    asked: Asked


class _Watch:
    """One viewer: what it was shown, the rows as last read, and the provider's stream that it follows."""

    def __init__(
        self,
        shared: _Shared,
        look: Look,
        bell: asyncio.Event,
        run_id: str,
        after: EventId | None,
        wake: Wake | None,
    ) -> None:
        self._shared = shared
        self._ports = shared.ports
        self._look = look
        self._bell = bell
        self._time = asyncio.get_running_loop().time
        self._run_id = run_id
        self._after = after
        self._wake = wake
        self._shown: Shown | None = None
        self._following: Cursor | None = None
        self._behind_since: float | None = None
        self._heard_at = 0.0

    async def events(self) -> AsyncGenerator[ViewEvent, None]:
        """The whole watch: see the rows, hear the provider until they change, and so on to the end."""
        seen = await self._look.fresh()
        if seen is None:
            return
        yield State(run=seen.run, calls=seen.calls)
        while not seen.run.terminal or self._has_a_rest(seen.run):
            if (start := await self._keep_up(seen.run)) is not None:
                yield start
            async with contextlib.aclosing(self._hear(seen)) as heard:
                async for event in heard:
                    yield event
            if (whole := await self._from_rows(seen.run)) is not None:
                yield whole
            elif (stale := self._fall_behind()) is not None:
                yield stale
            looked = self._look.seen
            if looked is None:
                return
            for event in news(seen, looked):
                yield event
            seen = looked
            await self._hasten(seen.run)
        text = await self._text(seen.run)
        if text is None:
            return
        if self._shown is None or not self._shown.is_surely(seen.run, text):
            yield Snapshot(event_id=self._last_id(seen.run), text=text)
        yield End(run=seen.run, calls=seen.calls, text=text)

    async def let_go(self) -> None:
        """Close the provider's stream."""
        if self._following is not None:
            following, self._following = self._following, None
            await following.close()

    async def _keep_up(self, run: Run) -> Snapshot | None:
        """Follow the current attempt; the empty snapshot that a new one begins with, if it is one."""
        here, agent = attempt_of(run), self._ports.agents.get(run.request.agent)
        if run.terminal or here is None or not run.request.stream or agent is None or not agent.streams:
            return None
        start = None
        if self._shown is None or not self._shown.position.same_attempt(here):
            if self._lags():
                return None
            await self.let_go()
            after, self._after, self._behind_since = self._after, None, None
            if after is not None and after.same_attempt(here):
                self._shown = Shown(after, whole=after.sequence == 0)
            else:
                self._shown = Shown(here)
                start = Snapshot(event_id=here, text="")
        response_id = response_of(run)
        if self._following is None and response_id is not None and self._shown.position.sequence < ALL:
            after = self._shown.position
            self._following = self._shared.followed.open(agent, response_id, after.sequence, self._bell)
            self._heard_at = self._time()
        return start

    async def _hear(self, seen: Seen) -> AsyncGenerator[ViewEvent, None]:
        """What the provider says until the rows change, or say that it is worth a thought.

        That is when the response has ended, and every now and then while stream and rows do not agree.
        """
        until = self._time() + TICK if self._disagrees(seen.run) else None
        listens = self._following is not None and not self._following.over
        while True:
            self._bell.clear()
            if self._look.seen is not seen:
                return
            if listens and self._following is not None and self._shown is not None:
                update = self._following.take()
                if update is not None:
                    self._heard_at = self._time()
                    event = self._shown.apply(update)
                    if event is not None:
                        yield event
                        continue
                if self._following.over:
                    self._look.hurry()  # the rows are about to have it
                    return
            try:
                async with asyncio.timeout_at(until):
                    await self._bell.wait()
            except TimeoutError:
                return

    def _disagrees(self, run: Run) -> bool:
        """Whether time alone may bring something: the rows are ahead of the stream, or the stream of the rows."""
        here, shown = attempt_of(run), self._shown
        if self._following is None or shown is None or here is None:
            return False
        if shown.ended and shown.position.same_attempt(here):
            return run.terminal or not has_said(run)
        return run.terminal or has_said(run) or not shown.position.same_attempt(here)

    async def _from_rows(self, run: Run) -> Snapshot | None:
        """The whole text of a turn that is over, where the provider replays no more of it, or is silent."""
        here, shown = attempt_of(run), self._shown
        if shown is None or here is None or not shown.position.same_attempt(here) or not has_said(run):
            return None
        if not self._is_left_alone(shown):
            return None
        try:
            text = text_of(await self._ports.runs.last_items(run))
        except (StoreUnavailable, LookupError):  # later; or the next look finds it deleted
            return None
        await self.let_go()
        return shown.replace(text)

    def _is_left_alone(self, shown: Shown) -> bool:
        """Whether the provider has nothing (more) to say to a viewer who has not heard the response's end."""
        if shown.ended or shown.position.sequence == ALL or self._following is None:
            return False
        return self._following.over or self._time() - self._heard_at >= PATIENCE

    def _fall_behind(self) -> Stale | None:
        """Say, once, that the provider replays no more."""
        shown = self._shown
        if shown is None or shown.stale or shown.ended or self._following is None or not self._following.over:
            return None
        shown.stale = True
        return Stale(event_id=shown.position)

    async def _hasten(self, run: Run) -> None:
        """Have the end of a response taken in now that the rows still wait for, and not at the next scheduled poll."""
        if self._wake is None or self._following is None or self._shown is None or not self._shown.ended:
            return
        response_id = self._following.response_id
        pending = run.token is not None and run.token.response_id == response_id
        if pending and self._shared.asked.is_due(response_id, self._time()):
            await self._wake(self._run_id)

    def _lags(self) -> bool:
        """Whether the stream that is followed has a rest to tell, though the rows are ahead of it."""
        if self._following is None or self._following.over:
            return False
        if self._behind_since is None:
            self._behind_since = self._time()
        return self._time() - self._behind_since < PATIENCE

    def _has_a_rest(self, run: Run) -> bool:
        """Whether the run has ended with a text that its viewer is still being told."""
        here = attempt_of(run)
        told = run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE)
        mine = here is not None and self._shown is not None and self._shown.position.same_attempt(here)
        return told and mine and self._lags()

    async def _text(self, run: Run) -> str | None:
        """The run's text; None when it was deleted while we were reading."""
        while True:
            try:
                return await self._ports.runs.read(run, run.result.text)
            except StoreUnavailable:
                await asyncio.sleep(STORE_GAP)
            except LookupError:
                if await self._look.fresh() is None:
                    return None
                raise

    def _last_id(self, run: Run) -> EventId:
        here = attempt_of(run) or EventId(run.turn.number, 1, 0)
        known = self._shown is not None and self._shown.position.same_attempt(here)
        return self._shown.position if known and self._shown is not None else here
