"""The activity of batches: one wake, with the hub through which their runs are started and signalled."""

from __future__ import annotations

from shared.drivers.durable import Hub
from shared.drivers.signals import Signals, Told
from shared.drivers.timer import Wakes
from shared.runs.batches.work import BatchWork
from shared.runs.services import Outcome, Services


class BatchWakes:
    """Wakes of batches, wherever they were asked for."""

    def __init__(self, services: Services, work: BatchWork, signals: Signals) -> None:
        self._services = services
        self._work = work
        self._signals = signals

    async def advance(self, batch_id: str, hub: Hub) -> Outcome:
        """Advance the batch; under `timer` date its watch row too. Raises ``StoreUnavailable``."""
        return await Wakes(self._services, _Bound(self._work, Told(self._signals, hub))).advance(batch_id)


class _Bound:
    """The life of batches, with the drivers of their runs."""

    def __init__(self, work: BatchWork, drivers: Told) -> None:
        self._work = work
        self._drivers = drivers

    async def advance(self, subject: str, /) -> Outcome:
        """One wake of a batch."""
        return await self._work.advance(subject, self._drivers)
