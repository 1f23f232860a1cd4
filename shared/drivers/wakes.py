"""The activity: one wake of whatever has a due row, wherever it was asked for."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from shared.drivers.dating import date_ahead, date_by_row, is_driven_by_date
from shared.drivers.driver import Driver
from shared.runs.actions.advance import advance
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.advance import advance_batch
from shared.runs.commands.delete import advance_session
from shared.runs.model.batch import is_batch_id
from shared.runs.model.ids import session_of_due_row
from shared.runs.ports import Ports, log
from shared.runs.store.rows import RowTooNew, RowUnreadable

LEFT_TO_NEWER = timedelta(minutes=10)
"""How long a row of a newer schema is left alone: in the middle of a deployment both versions run."""
STEP_SECONDS = 60.0
EARLY_SECONDS = 1.0


async def wake(ports: Ports, subject: str, driver: Driver) -> Outcome:
    """Advance it; where its due row alone drives it, as long as there is something to do at once, then date that.

    A row that cannot be read is put aside. Raises ``StoreUnavailable``.
    """
    row, began = None, time.monotonic()
    try:
        while True:
            if is_driven_by_date(ports.settings, subject):
                row = await ports.due.get(subject)
            outcome = await _once(ports, subject, driver)
            if row is None or outcome.wake_in != 0 or time.monotonic() - began >= STEP_SECONDS:
                break
    except RowTooNew as error:
        log.warning("run %s is left to a newer version: %s", subject, error, extra={"run_id": subject})
        if row is not None:
            await date_ahead(ports, row, LEFT_TO_NEWER)
        return Outcome(None, LEFT_TO_NEWER.total_seconds())
    except RowUnreadable as error:
        log.error("run %s is put aside: its row cannot be read: %s", subject, error, extra={"run_id": subject})
        row = row or await ports.due.get(subject)
        if row is not None:
            await ports.due.quarantine(row, str(error), ports.clock())
        return Outcome(None, None)
    if row is not None and outcome.status is not None:
        if outcome.wake_in is None:
            await ports.due.remove(row, ports.clock())
        elif not await date_ahead(ports, row, timedelta(seconds=outcome.wake_in)):
            await date_by_row(ports, subject)  # a sweep has handed it over meanwhile
    return outcome if ports.settings.driver == "timer" else not_too_early(outcome)


async def _once(ports: Ports, subject: str, driver: Driver) -> Outcome:
    if is_batch_id(subject):
        return await advance_batch(ports, subject, driver)
    if session_of_due_row(subject) is not None:
        return await advance_session(ports, subject, driver.woken)
    return await advance(ports, subject)


def not_too_early(outcome: Outcome) -> Outcome:
    """The outcome for Durable's timers, which are cut to whole seconds and so fire up to a second before their time."""
    if not outcome.wake_in or outcome.may_be_early:
        return outcome
    return replace(outcome, wake_in=outcome.wake_in + EARLY_SECONDS)
