"""One response, followed by a task of its own, through whatever befalls the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentUpdate, UpdateKind
from shared.runs import schedule
from shared.runs.services import log

OPEN_SECONDS = 10.0
BACKOFF_FIRST = 0.2
BACKOFF_MOST = 10.0
AHEAD = 64
"""How many updates are read ahead of a slow client before the provider is made to wait."""


class Following:
    """The updates of a response after a sequence number. ``None`` among them: the provider tells no more of it.

    A stream that breaks, or ends before its response does, is taken up again after the last update.
    """

    def __init__(self, agent: Agent, response_id: str, after: int, luck: Callable[[], float]) -> None:
        self.response_id = response_id
        self.over = False
        self._agent = agent
        self._last = after
        self._luck = luck
        self._updates: asyncio.Queue[AgentUpdate | None] = asyncio.Queue(AHEAD)
        self._task = asyncio.create_task(self._follow())

    async def next(self) -> AgentUpdate | None:
        """The next update; after the response's end, or None, there is no other."""
        update = await self._updates.get()
        self.over = update is None or update.kind is UpdateKind.ENDED
        return update

    async def close(self) -> None:
        """Let go of the provider's stream."""
        self._task.cancel()
        await asyncio.wait([self._task])

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
                log.info("response %s can no longer be followed: %s", self.response_id, fault.message)
                await self._updates.put(None)
                return
            except faults.ProviderFault as fault:
                failures = 0 if self._last > before else failures
                wait = fault.retry_after or 0.0
            except Exception:
                log.exception("response %s: following it failed", self.response_id)
                await self._updates.put(None)
                return
            failures += 1
            gap = schedule.backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST, luck=self._luck())
            await asyncio.sleep(max(gap, wait))

    async def _until_it_breaks(self) -> bool:
        """Follow over one connection; True when the response has ended."""
        async with contextlib.aclosing(
            self._agent.follow(self.response_id, after=self._last, timeout=OPEN_SECONDS)
        ) as updates:
            async for update in updates:
                self._last = update.sequence
                await self._updates.put(update)
                if update.kind is UpdateKind.ENDED:
                    return True
        return False
