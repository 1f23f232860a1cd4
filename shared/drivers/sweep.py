"""The sweep: what drives runs under `timer`, and under `durable` the safety net.

It looks at the due rows whose time has come. It only polls: whatever needs more is handed to a one-shot orchestration,
so that slow work scales out and never delays the sweep. What it cannot poll within its period it hands out in pieces.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta

from shared.drivers.activity import NEWER_SCHEMA_WAIT
from shared.drivers.dates import Dates
from shared.drivers.driver import Driver
from shared.drivers.due_times import due_at, is_driven_by_due_row, remove_due, set_due_from_state, set_due_in
from shared.drivers.handing_out import AHEAD, TOGETHER, Piece, hand_out, most_inline
from shared.drivers.next_wake import next_wake_of, stored_outcome
from shared.runs.actions.advance import advance
from shared.runs.actions.outcome import Outcome
from shared.runs.batches.advance import advance_batch
from shared.runs.batches.submit import remove_leftovers_of_batch
from shared.runs.commands.leftovers import remove_leftovers_of_run
from shared.runs.model.ids import is_batch_id, is_schedule_id, parse_run_id
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import ActionKind, next_action
from shared.runs.schedules.own import ensure_own
from shared.runs.store.due import DueRow
from shared.runs.store.runs import Stored
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.unreadable import RowTooNew, RowUnreadable
from shared.telemetry import metrics

STEP_GRACE = timedelta(seconds=60)
"""How long a step has until the sweep looks at its run again."""
ORPHAN_AGE = timedelta(hours=1)
MAX_ROWS = 50_000
"""Rows that one sweep looks at: about as many as it has the time for."""
LOOKS_ONLY = frozenset({ActionKind.LOOK})

KEY_WAIT = timedelta(seconds=60)
"""When a run is looked at again whose encryption key is missing or does not answer."""


async def sweep(ports: Ports, driver: Driver) -> Counter[str]:
    """Handle what is due, once, within the sweep's own time limit.

    Returns the number of rows by what was done with them: ``polled``, ``handed_off``, ``handed_out``, ``overdue``, …
    While the app drains they stay due.
    """
    # Wakes report it as well, but after the last one only the sweep is left to.
    ports.interruptions.report(ports.clock())
    if await ports.controls.is_draining(ports.clock()):
        return Counter()
    turn = _Turn(ports, driver)
    try:
        async with asyncio.timeout(ports.settings.sweep_limit):
            await ensure_own(ports)
            rows: Sequence[DueRow] = await ports.due.due(ports.clock(), MAX_ROWS)
            if rows:
                overdue = ports.clock() - min(row.due for row in rows)
                ports.telemetry.measure(metrics.SWEEP_LAG, overdue.total_seconds())
            if ports.settings.driver == "timer":
                if len(rows) <= most_inline(ports.settings):
                    rows = await turn.handle(rows, ports.settings.sweep_concurrency, within=ports.settings.sweep_every)
                rows = await turn.hand_out(rows)
            await turn.handle(rows, ports.settings.sweep_concurrency)
    except TimeoutError:
        log.warning("the sweep ran into its limit of %g s", ports.settings.sweep_limit)
        turn.ends["cut_off"] += 1
    await turn.end()
    if turn.ends:
        log.info("sweep: %s", dict(turn.ends))
    return turn.ends


async def poll(ports: Ports, driver: Driver, piece: Mapping[str, str]) -> Counter[str]:
    """Handle a piece of what a sweep has handed out: the rows that are still its own. Returns what ``sweep`` does.

    ``piece``: the fields of a ``Piece``. Raises ``StoreUnavailable``.
    """
    turn, own = _Turn(ports, driver), Piece(**piece)
    try:
        # After that all are due again, and another piece may have them.
        async with asyncio.timeout(AHEAD.total_seconds()):
            rows = await ports.due.handed(own.handed_to, own.partition, own.first, own.last)
            await turn.handle(rows, TOGETHER, slots=ports.polls)
    except TimeoutError:
        log.warning("%s: a piece ran into its limit of %g s", own.handed_to, AHEAD.total_seconds())
        turn.ends["cut_off"] += 1
    await turn.end()
    return turn.ends


class _Turn:
    """What one sweep, or one piece of one, does with its rows."""

    def __init__(self, ports: Ports, driver: Driver) -> None:
        self._ports, self._driver = ports, driver
        self._dates = Dates(ports)
        self.ends: Counter[str] = Counter()

    async def handle(
        self,
        rows: Sequence[DueRow],
        at_once: int,
        *,
        within: float = math.inf,
        slots: AbstractAsyncContextManager[object] | None = None,
    ) -> Sequence[DueRow]:
        """Handle the rows, so many at a time; those that were not begun ``within`` so many seconds."""
        left, seconds = iter(rows), asyncio.get_running_loop().time
        end = seconds() + within

        async def handle_some() -> None:
            while seconds() < end and (row := next(left, None)) is not None:
                async with slots or nullcontext():
                    self.ends[await _safely(self._ports, row, self._driver, self._dates)] += 1

        await asyncio.gather(*(handle_some() for _ in range(at_once)))
        return [*left]

    async def hand_out(self, rows: Sequence[DueRow]) -> Sequence[DueRow]:
        """Hand out the rows; those that are left to be handled here."""
        handed = await hand_out(self._ports, self._driver.hub, rows)
        if handed.count:
            self.ends["handed_out"] += handed.count
        return handed.left

    async def end(self) -> None:
        """Write the dates that are left, and count what was done."""
        await self._dates.write()
        if self._dates.failed:
            self.ends["not_dated"] += self._dates.failed
        for what, count in self.ends.items():
            self._ports.telemetry.measure(metrics.SWEPT, count, {metrics.OUTCOME: what})


async def _safely(ports: Ports, row: DueRow, driver: Driver, dates: Dates) -> str:
    """Handle one row; an error with it must not keep the others from being handled."""
    try:
        return await _handle(ports, row, driver, dates)
    except Exception:
        log.exception("run %s: the sweep could not handle it", row.run_id)
        return "failed"


async def _handle(ports: Ports, row: DueRow, driver: Driver, dates: Dates) -> str:
    try:
        if await ports.controls.is_draining(ports.clock()):  # since this sweep, or piece, has begun
            return "draining"
        if is_driven_by_due_row(ports.settings, row.run_id):
            return await _poll(ports, row, driver, dates)
        return await _check(ports, row, driver, dates)
    except RowTooNew:
        await set_due_in(ports, row, NEWER_SCHEMA_WAIT)
        return "too_new"
    # Later, and by itself: rows of a key that is gone must not take the place of all others, sweep by sweep.
    except KeyUnavailable as error:
        log.error("run %s waits for its encryption key: %s (docs/encryption.md)", row.run_id, error)
        await set_due_in(ports, row, KEY_WAIT)
        return "no_key"
    except RowUnreadable as error:
        log.error("run %s is quarantined: its row cannot be read: %s (docs/operations.md)", row.run_id, error)
        await ports.due.quarantine(row, str(error), ports.clock())
        return "quarantined"


async def _poll(ports: Ports, row: DueRow, driver: Driver, dates: Dates) -> str:
    """Poll a run; hand over what needs more, as a batch or a deleted session always does."""
    if parse_run_id(row.run_id) is None:
        outcome = await stored_outcome(ports, row.run_id)
    else:
        outcome = await advance(ports, row.run_id, only=LOOKS_ONLY, stored=_known(ports, row))
    if outcome.wake_in is not None and outcome.wake_in <= 0:
        # Before the step is started: if this process dies in between, the row is due again and nothing is lost.
        await set_due_in(ports, row, await _gap_after_hand_off(ports, row.run_id))
        # A step that runs already has read the due row before, and may be setting it at this moment.
        if not await driver.hub.start_step(row.run_id):
            await set_due_from_state(ports, row.run_id)
        return "handed_off"
    return await _set_or_remove_due(ports, row, outcome, dates)


def _known(ports: Ports, row: DueRow) -> Stored[Run] | None:
    """The run as an earlier sweep has left it, if a look is what it waits for: only that is safe without a read."""
    # A look is written under the ETag of the run's row, and so after the due row was read, as its date must be.
    stored = ports.pending.take(row)
    action = None if stored is None else next_action(stored.value, ports.clock())
    return stored if action is not None and action.kind is ActionKind.LOOK else None


async def _gap_after_hand_off(ports: Ports, subject: str) -> timedelta:
    """Time until the sweep looks again: at the run's deadline at the latest, since a step may hang."""
    found = await next_wake_of(ports, subject)
    left = STEP_GRACE
    if found is not None and found.deadline_at is not None:
        left = found.deadline_at - ports.clock()
    return min(left, STEP_GRACE) if left > timedelta(0) else STEP_GRACE


async def _check(ports: Ports, row: DueRow, driver: Driver, dates: Dates) -> str:
    """Under `durable`: start a run that was submitted for later at its time; do nothing about one that is in time.

    The orchestrator of one that is overdue is started if absent, and signalled. From the second time on a step is
    started too, since an orchestrator may exist and be stuck. Where the host takes neither, the run is polled here.
    """
    found = await next_wake_of(ports, row.run_id)
    now = ports.clock()
    if found is None or found.wake_at is None:
        ended = Outcome(None, None) if found is None else Outcome(found.status, None, to_list=found.to_list)
        return await _set_or_remove_due(ports, row, ended, dates)
    # What a drain has held up is late for that alone: its orchestrator comes back by itself.
    drained_until = (await ports.controls.drain(now)).since or found.wake_at
    late_since = drained_until if found.wake_at < drained_until <= now else found.wake_at
    overdue_at = late_since + timedelta(seconds=ports.settings.overdue)
    if now < overdue_at:
        if found.is_to_start and now < found.wake_at:
            await dates.add(await due_at(ports, row, found.wake_at, found.to_list))
            return "in_time"
        if found.is_to_start:
            await driver.hub.start_if_absent(row.run_id)
        await dates.add(await due_at(ports, row, overdue_at, found.to_list))
        return "started" if found.is_to_start else "in_time"
    # Half a sweep, so that the next one surely finds it, however late this one began.
    again = now + timedelta(seconds=ports.settings.sweep_every / 2)
    await ports.due.set_due(row, again, now, overdue_sweeps=row.overdue_sweeps + 1)
    log.warning("run %s is overdue since %s", row.run_id, found.wake_at)
    try:
        await driver.hub.start_if_absent(row.run_id)
        await driver.hub.wake(row.run_id)
        if row.overdue_sweeps == 0:
            return "overdue"
        await driver.hub.start_step(row.run_id)
    except Exception:
        log.exception("run %s: no orchestration can be started", row.run_id)
        if is_batch_id(row.run_id):
            await advance_batch(ports, row.run_id, driver)
        else:
            await advance(ports, row.run_id, only=LOOKS_ONLY)
    return "stepped"


async def _set_or_remove_due(ports: Ports, row: DueRow, outcome: Outcome, dates: Dates) -> str:
    """Make the row due at the next wake; remove it when nothing is left to do."""
    now = ports.clock()
    if outcome.wake_in is not None:
        due = now + timedelta(seconds=outcome.wake_in)
        await dates.add(await due_at(ports, row, due, outcome.to_list, outcome.listing), outcome.run)
        return "polled"
    if outcome.status is None and now - row.announced_at < ORPHAN_AGE:
        await ports.due.set_due(row, row.announced_at + ORPHAN_AGE, now)  # its submit may still commit
        return "absent"
    # A submit that was cut off after its due row: what it wrote besides has to go before the row that leads to it.
    remove_leftovers = remove_leftovers_of_batch if is_batch_id(row.run_id) else remove_leftovers_of_run
    has_leftovers = outcome.status is None and not is_schedule_id(row.run_id)  # a schedule is one row alone
    if has_leftovers and not await remove_leftovers(ports, row):
        return "absent"
    await remove_due(ports, row, outcome.to_list, outcome.listing)
    return "done"
