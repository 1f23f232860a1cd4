"""Pauses that a provider asks for with a 429: for the questions about one model, within reason, ended by a probe.

Who has met the 429 waits as long as was asked. For the others a probe, one question at a time, goes ahead from two
seconds on, ever later while it meets a 429 too: one answer of a limited response must not hold back all others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from shared.agentkit import faults

UNNAMED_SECONDS = 5.0
"""The pause after a 429 that names none."""
PROBE_SECONDS = 1.0
"""How long the others wait for the outcome of a probe, before they come back later."""
FIRST_PROBE_SECONDS = 2.0
"""When the first probe of a pause goes ahead; the next after one that met a 429 twice as late, and so on."""
AGAIN_SECONDS = 1.0
"""How much later, at least; at most twice that."""
JITTER = 0.1


@dataclass(slots=True)
class _Pause:
    """``next_probe``: when the next question may go ahead. ``gap``: how long that was after the last 429."""

    next_probe: float
    gap: float
    probe: asyncio.Event | None = field(default=None)
    """Set when the one question that goes first has met its end; None while nobody asks."""


class Pauses:
    """Which models are to be left alone, and until when. ``random`` gives numbers in [0, 1)."""

    def __init__(self, most: float, *, seconds: Callable[[], float], random: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._random = random
        self._pauses: dict[str, _Pause] = {}

    def begin(self, model: str, asked: float | None) -> float:
        """Leave the model alone for as long as was asked, or is honoured at most. Seconds until who asked may again."""
        wait = min(UNNAMED_SECONDS if asked is None else asked, self._most)
        before = self._pauses.get(model)
        gap = min(wait, FIRST_PROBE_SECONDS if before is None or before.probe is None else 2 * before.gap)
        self._pauses[model] = _Pause(self._seconds() + gap, gap)
        return wait

    @asynccontextmanager
    async def respected(self, model: str) -> AsyncIterator[None]:
        """Ask within this. Raises ``NoNews`` during a pause, but for a probe, whose outcome the others wait for."""
        pause = await self._over(model)
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
            pause.probe = None
            probe.set()

    async def _over(self, model: str) -> _Pause | None:
        """The pause that the next question is to probe; None when there is none. Raises ``NoNews``."""
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
        return wait * (1.0 + JITTER * self._random())

    def _later(self, wait: float) -> faults.NoNews:
        return faults.NoNews("The provider asked for a pause.", code="rate_limited", retry_after=wait)


def is_answer(fault: faults.ProviderFault) -> bool:
    """Whether the provider answered, if with an error, and not with another 429."""
    return isinstance(fault, faults.ResponseMissing) or (fault.code.startswith("http_") and fault.code != "http_429")
