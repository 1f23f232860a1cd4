"""The activity of batches and of deleted sessions: one wake, with the hub through which their runs are signalled."""

from __future__ import annotations

from typing import Protocol

from shared.drivers.durable import Hub
from shared.drivers.signals import Signals, Told
from shared.drivers.timer import Wakes
from shared.runs.batches.work import BatchWork
from shared.runs.deletion import Deletion
from shared.runs.run import session_of_due_row
from shared.runs.services import Outcome, Services


class BatchWakes:
    """Wakes of batches and of deleted sessions, wherever they were asked for."""

    def __init__(self, services: Services, work: BatchWork, deletion: Deletion, signals: Signals) -> None:
        self._services = services
        self._work = work
        self._deletion = deletion
        self._signals = signals

    async def advance(self, subject: str, hub: Hub) -> Outcome:
        """Advance it; date its watch row where nothing else does. Raises ``StoreUnavailable``."""
        moves = self._work if session_of_due_row(subject) is None else self._deletion
        return await Wakes(self._services, _Bound(moves, Told(self._signals, hub))).advance(subject)


class _Moves(Protocol):
    async def advance(self, subject: str, drivers: Told, /) -> Outcome: ...


class _Bound:
    """The life of batches, or of deleted sessions, with the drivers of their runs."""

    def __init__(self, moves: _Moves, drivers: Told) -> None:
        self._moves = moves
        self._drivers = drivers

    async def advance(self, subject: str, /) -> Outcome:
        """One wake."""
        return await self._moves.advance(subject, self._drivers)
