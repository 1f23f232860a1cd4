"""The activity of all orchestrators: one wake of a run, a batch, a schedule or a deleted session."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from shared.drivers.driver import Driver
from shared.drivers.due_times import is_driven_by_due_row, remove_due, set_due_at, set_due_from_state, set_due_in
from shared.runs.actions.advance import advance
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.advance import advance_batch
from shared.runs.commands.delete import advance_session
from shared.runs.model.ids import is_batch_id, is_schedule_id, session_of_due_row
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.schedules.advance import advance_schedule
from shared.runs.store.runs import Stored
from shared.runs.store.unreadable import RowTooNew, RowUnreadable

NEWER_SCHEMA_WAIT = timedelta(minutes=10)
"""How long a row of a newer schema is left alone: in the middle of a deployment both versions run."""
STEP_SECONDS = 60.0
"""After this long a step returns and leaves the rest to the next: it must stay far below `functionTimeout`."""
EARLY_SECONDS = 1.0
DRAINED_SECONDS = 30.0
"""When a wake comes back that found the app draining: after the end of a drain all goes on within that time."""


async def wake(ports: Ports, subject: str, driver: Driver) -> Outcome:
    """Advance it as long as there is something to do at once; where the sweep drives it, then set its due row.

    While the app drains nothing is begun, and the due row stays as it is. A row that cannot be read is quarantined.
    Raises ``StoreUnavailable``.
    """
    if await ports.controls.is_draining(ports.clock()):
        return Outcome(None, DRAINED_SECONDS)
    row, left, began = None, None, time.monotonic()
    try:
        while True:
            # Read before the run is: a change of the due row after that makes the write below fail, and is kept.
            if left is None and is_driven_by_due_row(ports.settings, subject):
                row = await ports.due.get(subject)
            outcome = await _once(ports, subject, driver, left)
            left = outcome.run
            if outcome.wake_in != 0 or time.monotonic() - began >= STEP_SECONDS:
                break
            if await ports.controls.is_draining(ports.clock()):
                break
    except RowTooNew as error:
        log.warning("run %s is left to a newer version: %s", subject, error)
        if row is not None:
            await set_due_in(ports, row, NEWER_SCHEMA_WAIT)
        return Outcome(None, NEWER_SCHEMA_WAIT.total_seconds())
    except RowUnreadable as error:
        log.error("run %s is quarantined: its row cannot be read: %s (docs/operations.md)", subject, error)
        row = row or await ports.due.get(subject)
        if row is not None:
            await ports.due.quarantine(row, str(error), ports.clock())
        return Outcome(None, None)
    # Without a status there is no run (yet): its submit may still be writing it, and needs the due row.
    if row is not None and outcome.status is not None:
        if outcome.wake_in is None:
            await remove_due(ports, row, outcome.to_list, outcome.listing)
        else:
            due = ports.clock() + timedelta(seconds=outcome.wake_in)
            if not await set_due_at(ports, row, due, outcome.to_list, outcome.listing):
                await set_due_from_state(ports, subject)  # a sweep has changed the row meanwhile
    outcome = replace(outcome, run=None)  # what the host keeps of a wake is to be short
    return outcome if ports.settings.driver == "timer" else not_too_early(outcome)


async def _once(ports: Ports, subject: str, driver: Driver, left: Stored[Run] | None) -> Outcome:
    if is_batch_id(subject):
        return await advance_batch(ports, subject, driver)
    if is_schedule_id(subject):
        return await advance_schedule(ports, subject, driver)
    if session_of_due_row(subject) is not None:
        return await advance_session(ports, subject, driver.wake)
    return await advance(ports, subject, stored=left)


def not_too_early(outcome: Outcome) -> Outcome:
    """The outcome for Durable's timers, which are cut to whole seconds and so fire up to a second before their time."""
    if not outcome.wake_in or outcome.may_be_early:
        return outcome
    return replace(outcome, wake_in=outcome.wake_in + EARLY_SECONDS)
