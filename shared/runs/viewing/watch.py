"""Watching a run: the rows, and the provider's own stream of the current turn, as one sequence of events.

Nothing is stored for viewers, and nothing runs when nobody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from shared.agentkit.agent import text_of
from shared.runs.run import Next, Run, RunStatus
from shared.runs.services import Services, log
from shared.runs.store.tables import StoreUnavailable
from shared.runs.viewing.following import Following
from shared.runs.viewing.views import (
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

LOOK_FIRST = 0.1
LOOK_MOST = 1.0
LOOK_GROWTH = 1.5
"""Seconds between two looks at the rows: soon after something happened, then ever more seldom."""

PATIENCE = 2.0
"""How long a stream may go on when the rows are ahead of it: what is left of it is there to be read."""

WAKE_GAP = 2.0
"""Seconds until a wake that has not yet taken in the end of a response is asked for again; doubled each time."""

WAKES_KNOWN = 1_000
"""Of how many responses a process remembers that it has asked for a wake."""

Wake = Callable[[str], Awaitable[None]]
"""Has the run of this id looked at now: what the webhook does, for a viewer who saw the response end."""


class Viewing:
    """The use case *watch*. Any number of viewers of a run see the same."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._asked = Asked()

    async def watch(
        self, run_id: str, after: EventId | None = None, *, wake: Wake | None = None
    ) -> AsyncGenerator[ViewEvent, None]:
        """Every event from now to the run's end, going on exactly after ``after``.

        The last event is ``End``; a run that is not there, or is deleted meanwhile, ends the iteration without one.
        Close it (``aclosing``) to let go of the provider's stream. Who may see the run is checked by the caller.
        """
        watch = _Watch(self._services, self._asked, run_id, after, wake)
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


class _Watch:
    """One viewer: what it was shown, the rows as last read, and the provider's stream that it follows."""

    def __init__(self, services: Services, asked: Asked, run_id: str, after: EventId | None, wake: Wake | None) -> None:
        self._services = services
        self._asked = asked
        self._time = asyncio.get_running_loop().time
        self._run_id = run_id
        self._after = after
        self._wake = wake
        self._shown: Shown | None = None
        self._following: Following | None = None
        self._behind_since: float | None = None
        self._silence = 0.0

    async def events(self) -> AsyncGenerator[ViewEvent, None]:
        """The whole watch: look at the rows, hear the provider until the next look, and so on to the end."""
        seen = await self._look(None)
        if seen is None:
            return
        yield State(run=seen.run, calls=seen.calls)
        gap = LOOK_FIRST
        while not seen.run.terminal or self._has_a_rest(seen.run):
            if (start := await self._keep_up(seen.run)) is not None:
                yield start
            async with contextlib.aclosing(self._hear(gap)) as heard:
                async for event in heard:
                    yield event
            if (whole := await self._from_rows(seen.run)) is not None:
                yield whole
            elif (stale := self._fall_behind()) is not None:
                yield stale
            looked = await self._look(seen)
            if looked is None:
                return
            for event in news(seen, looked):
                yield event
            gap = min(gap * LOOK_GROWTH, LOOK_MOST) if looked == seen else LOOK_FIRST
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

    async def _look(self, before: Seen | None) -> Seen | None:
        """The rows as they are; as they were while the store is away. None: there is no such run (any more)."""
        while True:
            try:
                stored = await self._services.store.load(self._run_id)
                if stored is None or stored.value.deleted_at is not None:
                    return None
                run = stored.value
                if before is not None and not _ledger_may_differ(before.run, run):
                    return Seen(run, before.calls)
                calls = await self._services.store.calls(run) if run.tool_calls else []
                return Seen(run, tuple(call.value for call in calls))
            except StoreUnavailable as error:
                log.info("run %s: a viewer does not see its rows: %s", self._run_id, error)
                if before is not None:
                    return before
                await asyncio.sleep(LOOK_MOST)

    async def _keep_up(self, run: Run) -> Snapshot | None:
        """Follow the current attempt; the empty snapshot that a new one begins with, if it is one."""
        here, agent = attempt_of(run), self._services.agents.get(run.agent)
        if run.terminal or here is None or not run.stream or agent is None or not agent.streams:
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
            self._following = Following(agent, response_id, after.sequence, self._services.luck)
            self._silence = 0.0
        return start

    async def _hear(self, seconds: float) -> AsyncGenerator[ViewEvent, None]:
        """What the provider says in that time; until it says that the response has ended, which is worth a look."""
        until = self._time() + seconds
        while (left := until - self._time()) > 0:
            if self._following is None or self._following.over or self._shown is None:
                await asyncio.sleep(left)
                return
            try:
                async with asyncio.timeout(left):
                    update = await self._following.next()
            except TimeoutError:
                self._silence += left
                return
            self._silence = 0.0
            if update is None or ((event := self._shown.apply(update)) is None and self._shown.ended):
                return
            if event is not None:
                yield event

    async def _from_rows(self, run: Run) -> Snapshot | None:
        """The whole text of a turn that is over, where the provider replays no more of it, or is silent."""
        here, shown = attempt_of(run), self._shown
        if shown is None or here is None or not shown.position.same_attempt(here) or not has_said(run):
            return None
        if not self._is_left_alone(shown):
            return None
        try:
            text = text_of(await self._services.store.last_items(run))
        except (StoreUnavailable, LookupError):  # later; or the next look finds it deleted
            return None
        await self.let_go()
        return shown.replace(text)

    def _is_left_alone(self, shown: Shown) -> bool:
        """Whether the provider has nothing (more) to say to a viewer who has not heard the response's end."""
        if shown.ended or shown.position.sequence == ALL or self._following is None:
            return False
        return self._following.over or self._silence >= PATIENCE

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
        if pending and self._asked.is_due(response_id, self._time()):
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
                return await self._services.store.read(run, run.text)
            except StoreUnavailable:
                await asyncio.sleep(LOOK_MOST)
            except LookupError:
                if await self._look(None) is None:
                    return None
                raise

    def _last_id(self, run: Run) -> EventId:
        here = attempt_of(run) or EventId(run.turn, 1, 0)
        known = self._shown is not None and self._shown.position.same_attempt(here)
        return self._shown.position if known and self._shown is not None else here


def _ledger_may_differ(before: Run, after: Run) -> bool:
    """Whether a tool may have been called, or may have said something, between two looks."""
    at_work = {before.next, after.next} & {Next.TOOLS, Next.ANSWERS}
    return bool(at_work) or (before.turn, before.tool_calls) != (after.turn, after.tool_calls)
