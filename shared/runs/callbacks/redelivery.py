"""Redelivery: a caller asks for the callback of a run's end again."""

from __future__ import annotations

from shared.errors import CallbacksDisabled, DormouseError, NoCallback, RunNotEnded
from shared.runs.run import Run
from shared.runs.services import RACES, Services
from shared.runs.store.tables import Conflict
from shared.runs.transitions import tell_again


class Redelivery:
    """The use case *deliver again*. The caller signals the driver afterwards."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def deliver_again(self, run_id: str) -> Run | None:
        """Owe the callback of the run's end anew, also after a 410 or when it was given up; None: no such run.

        Raises ``CallbacksDisabled``, ``NoCallback``, ``RunNotEnded``.
        """
        services = self._services
        for _ in range(RACES):
            stored = await services.store.load(run_id)
            if stored is None or stored.value.deleted_at is not None:
                return None
            run, now = stored.value, services.clock()
            check(services, run.callback_url, None if run.terminal else RunNotEnded(status_of_run=run.status.value))
            await services.watch.announce(run_id, now)
            try:
                return (await services.save(stored, tell_again(run, now))).run.value
            except Conflict:
                continue
        raise Conflict(run_id, "too many races")


def check(services: Services, callback_url: str | None, unended: DormouseError | None) -> None:
    """Raise what stands in the way of delivering something's end again. ``unended``: that it has none yet."""
    if callback_url is None:
        raise NoCallback
    if unended is not None:
        raise unended
    if services.sender is None:
        raise CallbacksDisabled("This app sends no callbacks any more. Set DORMOUSE_CALLBACK_SECRET (`whsec_…`).")
