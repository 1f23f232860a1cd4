"""A client that watches, as a page would: it keeps one text, and the last id that it saw. And what makes time pass."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from shared.runs.actions.outcome import outcome
from shared.runs.store.tables import StoreUnavailable
from shared.runs.watching.views import (
    AnnotationAdded,
    Delta,
    End,
    EventId,
    HostedCallMoved,
    Moved,
    ReasoningDelta,
    Snapshot,
    State,
    StatusChanged,
    ViewEvent,
)
from shared.runs.watching.watch import Wake
from tests.unit.runs.conftest import Rig

TICK = 0.005


@dataclass
class Client:
    """What a client has after the events that it was sent, over any number of connections."""

    text: str = ""
    last: EventId | None = None
    events: list[ViewEvent] = field(default_factory=list)

    def apply(self, event: ViewEvent) -> None:
        """Take in one event, as the contract says."""
        self.events.append(event)
        match event:
            case Snapshot():
                self.text, self.last = event.text, event.event_id
            case Delta():
                self.text, self.last = self.text + event.text, event.event_id
            case AnnotationAdded() | HostedCallMoved() | ReasoningDelta():
                self.last = event.event_id

    @property
    def ended(self) -> bool:
        return any(isinstance(event, End) for event in self.events)

    def of(self, kind: Any) -> list[Any]:
        """The events of one kind (or several)."""
        return [event for event in self.events if isinstance(event, kind)]

    def kinds(self) -> list[str]:
        """The kinds in order, runs of equal ones once; without what depends on when the rows were looked at."""
        names = [type(event).__name__ for event in self.events if not isinstance(event, StatusChanged)]
        return [name for n, name in enumerate(names) if n == 0 or names[n - 1] != name]

    def check(self) -> None:
        """No delta came twice, each connection began with the state, and the text is the run's at the end."""
        ids = [event.event_id for event in self.of(Delta)]
        assert len(ids) == len(set(ids)), ids
        assert isinstance(self.events[0], State)
        end = self.events[-1]
        assert isinstance(end, End)
        assert self.text == end.text


@dataclass
class LiveRig:
    """A rig in which time passes and runs are woken, by their own schedule and by whoever asks."""

    rig: Rig
    nudges: dict[str, asyncio.Event] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, text: str = "[script:s]", **fields: Any) -> str:
        """Submit a run that is to be streamed, and drive it."""
        run_id = await self.rig.start(text, **{"stream": True, **fields})
        self.nudges[run_id] = asyncio.Event()
        gap = outcome(await self.rig.run(run_id), self.rig.clock.now).wake_in
        self.tasks.append(asyncio.create_task(self._drive(run_id, gap)))
        return run_id

    async def wake(self, run_id: str) -> None:
        """What the signal does."""
        self.woken.append(run_id)
        self.nudges[run_id].set()

    async def watch(
        self,
        run_id: str,
        client: Client,
        until: Callable[[ViewEvent], object] = lambda _: False,
        *,
        wakes: bool = True,
        wake: Wake | None = None,
    ) -> Client:
        """One connection: from where the client stands, up to the end, or until an event for which ``until`` holds."""
        watched = self.rig.app.watching.watch(run_id, client.last, wake=(wake or self.wake) if wakes else None)
        async with asyncio.timeout(20), contextlib.aclosing(watched) as events:
            async for event in events:
                client.apply(event)
                if until(event):
                    break
        return client

    async def one_further(self, run_id: str, client: Client) -> Client:
        """One connection that is cut at the first event with another id than the client came with."""
        came_with = client.last
        return await self.watch(run_id, client, lambda event: has_id(event) and event.event_id != came_with)

    async def _drive(self, run_id: str, gap: float | None) -> None:
        nudge = self.nudges[run_id]
        while gap is not None:
            due = self.rig.clock.seconds() + gap
            while self.rig.clock.seconds() < due and not nudge.is_set():  # noqa: ASYNC110 - the clock is the rig's
                await asyncio.sleep(TICK)
            nudge.clear()
            try:
                gap = (await self.rig.wake(run_id)).wake_in
            except StoreUnavailable:
                gap = 2 * TICK


@contextlib.asynccontextmanager
async def staged(rig: Rig) -> AsyncIterator[LiveRig]:
    """Let the rig's clock go at the pace of the real one."""
    loop = asyncio.get_running_loop()

    async def tick() -> None:
        before = loop.time()
        while True:
            await asyncio.sleep(TICK)
            rig.clock.move(loop.time() - before)
            before = loop.time()

    stage = LiveRig(rig)
    stage.tasks.append(asyncio.create_task(tick()))
    try:
        yield stage
    finally:
        for task in stage.tasks:
            task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)


def has_id(event: ViewEvent) -> TypeGuard[Moved]:
    """Whether a client remembers it as where it stands."""
    return isinstance(event, Moved)
