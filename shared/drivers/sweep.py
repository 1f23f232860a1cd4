"""The sweep: what drives runs under `timer`, and under `durable` the safety net.

It looks at the due rows whose time has come. It only polls: whatever needs more is handed to a one-shot orchestration,
so that slow work scales out and never delays the sweep.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from shared.drivers.dating import date_ahead, date_by_row, is_driven_by_date
from shared.drivers.driver import Driver
from shared.drivers.standing import outcome_by_row, standing_of
from shared.drivers.wakes import LEFT_TO_NEWER
from shared.runs.actions.advance import advance
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.advance import advance_batch
from shared.runs.batches.submit import clear_batch_away
from shared.runs.commands.submit import clear_away
from shared.runs.model.batch import is_batch_id
from shared.runs.model.ids import parse_run_id
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import ActionKind
from shared.runs.store.due import DueRow
from shared.runs.store.rows import RowTooNew, RowUnreadable

HAND_OFF = timedelta(seconds=60)
ORPHAN_AGE = timedelta(hours=1)
MOST_A_SWEEP = 2_000
LOOKS_ONLY = frozenset({ActionKind.LOOK})


async def sweep(ports: Ports, driver: Driver) -> Counter[str]:
    """Look at what is due, once, within the sweep's own time limit.

    Returns how many rows ended how: ``polled``, ``handed_off``, ``overdue``, …
    """
    ports.interruptions.report(ports.clock())
    ends: Counter[str] = Counter()
    gate = asyncio.Semaphore(ports.settings.sweep_concurrency)

    async def handle(row: DueRow) -> None:
        async with gate:
            ends[await _safely(ports, row, driver)] += 1

    try:
        async with asyncio.timeout(ports.settings.sweep_limit):
            due = await ports.due.due(ports.clock(), MOST_A_SWEEP)
            await asyncio.gather(*(handle(row) for row in due))
    except TimeoutError:
        log.warning("the sweep ran into its limit of %g s", ports.settings.sweep_limit)
        ends["cut_off"] += 1
    if ends:
        log.info("sweep: %s", dict(ends))
    return ends


async def _safely(ports: Ports, row: DueRow, driver: Driver) -> str:
    """Handle one row; whatever goes wrong with it stays with it."""
    try:
        return await _handle(ports, row, driver)
    except Exception:
        log.exception("run %s: the sweep could not handle it", row.run_id, extra={"run_id": row.run_id})
        return "failed"


async def _handle(ports: Ports, row: DueRow, driver: Driver) -> str:
    try:
        if is_driven_by_date(ports.settings, row.run_id):
            return await _poll(ports, row, driver)
        return await _check(ports, row, driver)
    except RowTooNew:
        await date_ahead(ports, row, LEFT_TO_NEWER)
        return "too_new"
    except RowUnreadable as error:
        log.error("run %s is put aside: its row cannot be read: %s", row.run_id, error)
        await ports.due.quarantine(row, str(error), ports.clock())
        return "quarantined"


async def _poll(ports: Ports, row: DueRow, driver: Driver) -> str:
    """Poll, and hand over what needs more: a batch, or a deleted session, always does."""
    if parse_run_id(row.run_id) is None:
        outcome = await outcome_by_row(ports, row.run_id)
    else:
        outcome = await advance(ports, row.run_id, only=LOOKS_ONLY)
    if outcome.wake_in is not None and outcome.wake_in <= 0:
        await date_ahead(ports, row, await _gap_after_hand_off(ports, row.run_id))
        if await driver.hub.step(row.run_id):  # it knows the due row from before, and may be dating it just now
            await date_by_row(ports, row.run_id)
        return "handed_off"
    return await _date(ports, row, outcome)


async def _gap_after_hand_off(ports: Ports, subject: str) -> timedelta:
    """How long the step has before the next look; until the run's deadline if that is sooner: a step may hang."""
    found = await standing_of(ports, subject)
    left = HAND_OFF
    if found is not None and found.deadline_at is not None:
        left = found.deadline_at - ports.clock()
    return min(left, HAND_OFF) if left > timedelta(0) else HAND_OFF


async def _check(ports: Ports, row: DueRow, driver: Driver) -> str:
    """Under `durable`: leave a run alone that is in time.

    For one that is not, its orchestrator is ensured and signalled each time; from the second time on a step is started
    too, since an orchestrator may be there and stand still. Where the host takes neither, it is polled here.
    """
    found = await standing_of(ports, row.run_id)
    now = ports.clock()
    if found is None or found.wake_at is None:
        return await _date(ports, row, Outcome(found.status if found else None, None))
    overdue_at = found.wake_at + timedelta(seconds=ports.settings.overdue)
    if now < overdue_at:
        await ports.due.set_due(row, overdue_at, now)
        return "in_time"
    again = now + timedelta(seconds=ports.settings.sweep_every / 2)
    await ports.due.set_due(row, again, now, overdue_sweeps=row.overdue_sweeps + 1)
    log.warning("run %s is overdue since %s", row.run_id, found.wake_at, extra={"run_id": row.run_id})
    try:
        await driver.hub.ensure(row.run_id)
        await driver.hub.wake(row.run_id)
        if row.overdue_sweeps == 0:
            return "overdue"
        await driver.hub.step(row.run_id)
    except Exception:
        log.exception("run %s: no orchestration to be had", row.run_id, extra={"run_id": row.run_id})
        if is_batch_id(row.run_id):
            await advance_batch(ports, row.run_id, driver)
        else:
            await advance(ports, row.run_id, only=LOOKS_ONLY)
    return "stepped"


async def _date(ports: Ports, row: DueRow, outcome: Outcome) -> str:
    """Date the row to the next wake; remove it when there is nothing left to look at."""
    now = ports.clock()
    if outcome.wake_in is not None:
        await ports.due.set_due(row, now + timedelta(seconds=outcome.wake_in), now)
        return "polled"
    if outcome.status is None and now - row.announced_at < ORPHAN_AGE:
        await ports.due.set_due(row, row.announced_at + ORPHAN_AGE, now)  # its submit may still commit
        return "absent"
    clear = clear_batch_away if is_batch_id(row.run_id) else clear_away
    if outcome.status is None and not await clear(ports, row):
        return "absent"
    await ports.due.remove(row, now)
    return "done"
