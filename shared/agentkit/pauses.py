"""Pauses that a provider asks for with a 429: for queries about one model, up to a limit, ended by a probe.

The request that got the 429 waits as long as it was asked to. For the others one query at a time is let through as a
probe, after two seconds and with a doubled gap after each further 429: a limit of one response must not hold back all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shared.agentkit import faults

UNNAMED_SECONDS = 5.0
"""The pause after a 429 without `Retry-After`."""
PROBE_SECONDS = 1.0
"""How long the others wait for the outcome of a probe before they fail and are retried later."""
FIRST_PROBE_SECONDS = 2.0
"""Time from the 429 to the first probe of a pause; doubled after each probe that gets a 429."""
AGAIN_SECONDS = 1.0
"""The least delay that those are given who have waited for a probe in vain; the most is twice that."""
JITTER = 0.1


@dataclass(slots=True)
class _Pause:
    """``next_probe``: when the next query is let through. ``gap``: how long that is after the last 429."""

    next_probe: float
    gap: float
    probe: asyncio.Event | None = field(default=None)
    """Set when the probe under way has ended; None when there is none."""


class Pauses:
    """Which models are not to be queried, and until when. ``random`` gives numbers in [0, 1)."""

    def __init__(self, most: float, *, seconds: Callable[[], float], random: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._random = random
        self._pauses: dict[str, _Pause] = {}

    def begin(self, model: str, asked: float | None) -> float:
        """Begin, or prolong, the pause of a model. Returns how many seconds the request that got the 429 is to wait."""
        wait = min(UNNAMED_SECONDS if asked is None else asked, self._most)
        before = self._pauses.get(model)
        # Only a 429 to a probe doubles the gap: those of queries sent before the pause are no news.
        gap = min(wait, FIRST_PROBE_SECONDS if before is None or before.probe is None else 2 * before.gap)
        # A new object each time: a probe of the pause before must not end this one.
        self._pauses[model] = _Pause(self._seconds() + gap, gap)
        return wait

    @asynccontextmanager
    async def checked(self, model: str) -> AsyncIterator[None]:
        """Send a query inside this block. Raises ``NoNews`` during a pause, but for the one query that is its probe."""
        pause = await self._pause_to_probe(model)
        if pause is None:
            yield
            return
        probe = pause.probe = asyncio.Event()
        try:
            yield
            self._end(model, pause)
        except faults.ProviderFault as fault:
            if is_answer(fault):
                self._end(model, pause)
            raise
        finally:
            # Also when the probe is cancelled: else those who wait for it would wait in vain.
            pause.probe = None
            probe.set()

    async def _pause_to_probe(self, model: str) -> _Pause | None:
        """The pause that this query is the probe of; None when there is no pause. Raises ``NoNews``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                while (pause := self._pauses.get(model)) is not None:
                    left = pause.next_probe - self._seconds()
                    if left > 0:
                        raise self._later(self._spread(left))
                    if pause.probe is None:
                        return pause
                    await pause.probe.wait()
                return None
        raise self._later(AGAIN_SECONDS * (1.0 + self._random()))

    def _end(self, model: str, pause: _Pause) -> None:
        if self._pauses.get(model) is pause:
            del self._pauses[model]

    def _spread(self, wait: float) -> float:
        # Else all that were held back would come in the same moment.
        return wait * (1.0 + JITTER * self._random())

    def _later(self, wait: float) -> faults.NoNews:
        return faults.NoNews("The provider asked for a pause.", code="rate_limited", retry_after=wait)


def is_answer(fault: faults.ProviderFault) -> bool:
    """Whether the provider answered, if with an error, and not with another 429."""
    return isinstance(fault, faults.ResponseMissing) or (fault.code.startswith("http_") and fault.code != "http_429")
