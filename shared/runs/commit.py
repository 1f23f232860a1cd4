"""Decide and write: the only way a run's row changes.

A fact is decided on the row as it was read, and what it comes to is one transaction under the row's ETag. Who lost the
race reads again and decides again; but a right that was lost in a race is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.agentkit.agent import AgentResponse, ResponseStatus
from shared.agentkit.redaction import plain_code
from shared.runs import traces
from shared.runs.concurrency import LostRace, Races, both
from shared.runs.execution import time_at_work, time_is_written
from shared.runs.listing import after_change, before_change, list_first, may_list_first, repaired, unlist_deleted
from shared.runs.model import facts
from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.facts import Fact
from shared.runs.model.phases import Ended, RunStatus
from shared.runs.model.run import Run, Text
from shared.runs.model.session import Session
from shared.runs.ports import Ports, log
from shared.runs.rules import schedule
from shared.runs.rules.change import Before, Change, Refused
from shared.runs.rules.decide import decide
from shared.runs.store.due import DueRow
from shared.runs.store.parts import INLINE_UNITS
from shared.runs.store.runs import CallChange, DeliveryChange, SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable, units

INLINE_OF_ALL = 400_000
"""UTF-16 units of all values of a write together, beyond which they go into parts."""

FROM_OUTSIDE = (facts.Answered, facts.CancelRequested, facts.Deleted, facts.CallbackRequested)
"""What comes from no wake, and brings the next one nearer: its due row is written first."""

Beside = Callable[[Run], DeliveryChange]
"""Makes the row of the delivery log that is written with a change, from the run after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a fact came to."""

    run: Stored[Run]
    """As it was written; where the fact was refused, as it was read."""

    calls: tuple[Stored[ToolCall], ...] = ()
    """The calls that were written with it."""

    beside: Stored[Delivery] | None = None
    """The row of the delivery log that was written with it."""

    refused: Refused | None = None
    """Why nothing was written; None: it was."""


async def commit(
    ports: Ports,
    stored: Stored[Run],
    fact: Fact,
    *,
    calls: Sequence[Stored[ToolCall]] | None = None,
    beside: Beside | None = None,
    outside: bool = False,
) -> Committed:
    """Decide the fact on the run and write what it comes to.

    ``calls``: those of the turn, where the caller has just read them, after the run. ``outside``: it comes from no
    wake, as whatever is in ``FROM_OUTSIDE`` does. Raises ``LostRace`` for a right that another has taken and for a run
    that is gone, ``StoreUnavailable``.
    """
    due: DueRow | None = None
    races = Races(stored.value.id)
    while True:
        rows, session = await _read_with(ports, stored, fact) if calls is None else (calls, None)
        now = ports.clock()
        before = Before(
            run=stored.value,
            calls=tuple(each.value for each in rows),
            session=_value(session),
            took_ms=time_at_work(),
        )
        decision = decide(before, fact, now, ports.settings)
        if isinstance(decision, Refused):
            return Committed(run=stored, refused=decision)
        # A crash between the row and the signal must leave a due row, or no wake would come for the change.
        # Where nothing is left to do, nobody need come sooner.
        from_outside = (outside and not decision.run.is_done) or isinstance(fact, FROM_OUTSIDE)
        if from_outside or _is_orphan(stored.value, decision, fact):
            due = await _announced(ports, due, stored.value, now)
        try:
            committed = await _write(ports, stored, decision, rows, session, fact, beside, due)
            if due is not None:  # this process may have stood still over its write, and the row is gone since
                await ports.due.keep_announced(due, ports.clock())
            time_is_written()
            traces.committed(ports, stored.value, fact, committed.run.value)
            return committed
        except Conflict as error:
            # Decided again, both sides of a race could hold the right and send, or run, the same twice.
            if isinstance(fact, facts.Right) or _says_nothing_new(fact):
                raise LostRace(stored.value.id) from error
        again = await ports.runs.load(stored.value.id)
        # Deleted meanwhile: there is nothing left to decide on.
        if again is None:
            raise LostRace(stored.value.id)
        # The list's row as it was before a write is good for a later one, too.
        stored, calls = replace(again, listing=stored.listing), None
        races.lost()


async def commit_through(
    ports: Ports, stored: Stored[Run], fact: Fact, until: Callable[[], datetime | None]
) -> Committed:
    """Write what only this process knows, through an outage of the store, as long as its claim or lease holds.

    ``until`` says how long that is. Raises as ``commit`` does.
    """
    # The claim or lease is ours, so that no other wake decides about this attempt meanwhile.
    tries = 0
    while True:
        try:
            return await commit(ports, stored, fact)
        # Lost here, a response would run on and be billed, and its id would be known nowhere.
        except StoreUnavailable:
            tries += 1
            gap = schedule.backoff(tries, first=0.5, most=8.0, jitter=0.0)
            end = until()
            if end is None or ports.clock() + timedelta(seconds=gap) >= end:
                raise
            await asyncio.sleep(gap)


def session_after(session: Session, after: Run, settings_chain: str) -> Session:
    """The session once its run has ended, or was deleted.

    Only a completed run moves it forward: to the response that it ended with. A deleted one clears that, so that the
    next run is rebuilt from the items that remain.
    """
    if after.is_deleted:
        if session.open_calls == after.request.number:
            session = replace(session, open_calls=None, answered_in=None)
        return replace(session, active_run=None, response_id=None, last_activity=after.updated_at)
    released = replace(session, active_run=None, last_activity=after.updated_at)
    if after.status is RunStatus.COMPLETED:
        # Only under ``auto`` is a replay what was found out; otherwise the setting says so for every run.
        learnt = after.chain.replay and settings_chain == "auto"
        calls = after.request.number if after.result.open_calls else None
        released = replace(
            released,
            response_id=after.chain.last_response_id,
            replay=learnt,
            open_calls=calls,
            answered_in=None,
        )
    return released


async def _read_with(
    ports: Ports, stored: Stored[Run], fact: Fact
) -> tuple[Sequence[Stored[ToolCall]], Stored[Session] | None]:
    """What is read after the run, for the fact to be decided on."""
    match fact:
        # Read after the run: a call that changes later moves its own ETag, and the write fails.
        case facts.LeaseTaken() | facts.ToolsSettled():
            return await calls_of_turn(ports, stored.value), None
        case facts.Answered():
            return await ports.runs.calls(stored.value), None
        case facts.Deleted():
            return [], await ports.runs.load_session(stored.value.request.session_id)
    return [], None


async def calls_of_turn(ports: Ports, run: Run) -> list[Stored[ToolCall]]:
    """The calls of the run's turn. Raises ``LookupError`` when some are missing."""
    # They were written with the run's row, so fewer can only mean rows that were lost.
    calls = await ports.runs.calls(run, run.turn.number)
    if len(calls) != run.turn.calls:
        raise LookupError(f"{run.id} turn {run.turn.number}: {len(calls)} of {run.turn.calls} calls are there")
    return calls


def _says_nothing_new(fact: Fact) -> bool:
    """Whether it is a look at a response that goes on.

    Of many looks at once each would be written, the last after it has lost against all others.
    """
    return isinstance(fact, facts.Looked) and fact.answer.response.status is ResponseStatus.PENDING


def _is_orphan(before: Run, decision: Change, fact: Fact) -> bool:
    """Whether a response was created that the run does not want."""
    return (
        isinstance(fact, facts.ResponseCreated)
        and decision.run.outbox != before.outbox
        and (type(decision.run.phase) is type(before.phase))
    )


async def _announced(ports: Ports, due: DueRow | None, run: Run, now: datetime) -> DueRow:
    return await ports.due.announce(run.id, now) if due is None else await ports.due.keep_announced(due, now)


async def _write(
    ports: Ports,
    stored: Stored[Run],
    decision: Change,
    rows: Sequence[Stored[ToolCall]],
    session: Stored[Session] | None,
    fact: Fact,
    beside: Beside | None,
    due: DueRow | None,
) -> Committed:
    before, after = stored.value, decision.run
    room = room_of_each(decision.calls)
    known = {(each.value.turn, each.value.index): each for each in rows}
    calls = []
    for call in decision.calls:
        was = known.get((call.turn, call.index))
        fitting = await call_with_parts(ports, after, call, room, is_new=was is None)
        calls.append(CallChange(before=was, after=fitting))
    # Long values go first: a crash then leaves parts that nothing names, not a row that names nothing.
    items = [await ports.runs.store_text(after, item) for item in decision.items]
    after = await _with_parts(ports, _with_items(after, decision.items))
    change = None
    # In the same transaction: a session that named an ended run as active would be busy for ever.
    if (after.terminal and not before.terminal) or isinstance(fact, facts.Deleted):
        session = session or await ports.runs.load_session(after.request.session_id)
        if session is not None and (isinstance(fact, facts.Deleted) or _is_of(session.value, after)):
            moved = session_after(session.value, after, ports.settings.chain)
            change = SessionChange(before=session, after=moved)
    line = None if beside is None else beside(after)
    if due is not None:  # long values may have taken their time
        await ports.due.keep_announced(due, ports.clock())
    listing = await before_change(ports, stored, after)
    save = ports.runs.save(stored, after, session=change, calls=calls, items=items, delivery=line)
    if may_list_first(stored, after, listing):
        try:
            saved, listing = await both(save, list_first(ports, after))
        except Conflict:
            await unlist_deleted(ports, after)
            raise
        listing = listing or await repaired(ports, after)
    else:
        saved = await save
        listing = await after_change(ports, before, after, listing)
    await _log_status(ports, before, after)
    if (
        after.status is RunStatus.FAILED
        and not before.terminal
        and isinstance(fact, facts.Looked | facts.ResponseCreated)
    ):
        _log_failure(after, fact.answer.response)
    asked = saved.calls if all(each.before is None for each in calls) else ()
    last = items[-1] if items else None
    appended = last if isinstance(last, str) else None
    written = replace(saved.run, listing=listing, asked=asked, appended=appended)
    return Committed(run=written, calls=saved.calls, beside=saved.delivery)


def _is_of(session: Session, run: Run) -> bool:
    return session.active_run == run.request.number


def _with_items(run: Run, items: Sequence[str]) -> Run:
    added = sum(bytes_of(item) for item in items)
    return replace(run, chain=replace(run.chain, item_bytes=run.chain.item_bytes + added)) if added else run


def bytes_of(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


async def _with_parts(ports: Ports, run: Run) -> Run:
    result = run.result
    values = (result.text, result.output, result.annotations)
    if not isinstance(run.phase, Ended) or not any(map(_is_long, values)):
        return run
    text, output, annotations = [await _kept(ports, run, value) for value in values]
    return replace(run, result=replace(result, text=text, output=output, annotations=annotations))


def room_of_each(calls: Sequence[ToolCall]) -> int:
    """UTF-16 units that each of the calls may have inline: what people's reasons leave, for those always are."""
    # A transaction takes 4 MiB, and a turn may have ninety calls.
    left = INLINE_OF_ALL - sum(units(call.reason) for call in calls)
    return min(INLINE_UNITS, max(0, left) // max(1, len(calls)))


async def call_with_parts(ports: Ports, run: Run, call: ToolCall, room: int, *, is_new: bool) -> ToolCall:
    """The call as its row can hold it, with ``room`` UTF-16 units for each of its long values."""
    arguments = await _kept(ports, run, call.arguments, room) if is_new else call.arguments  # they never change
    return replace(call, arguments=arguments, result=await _kept(ports, run, call.result, room))


async def _kept(ports: Ports, run: Run, value: Text, room: int = INLINE_UNITS) -> Text:
    return await ports.runs.store_text(run, value, inline=room) if isinstance(value, str) else value


def _is_long(value: Text) -> bool:
    # A character outside the BMP counts as two units, so this is the most that the text can take.
    return isinstance(value, str) and 2 * len(value) > INLINE_UNITS


def _value(session: Stored[Session] | None) -> Session | None:
    return None if session is None else session.value


async def _log_status(ports: Ports, before: Run, after: Run) -> None:
    """One line in the log for each change of status; and a run that has ended gives its slot back."""
    if after.status is not before.status:
        # A warning when it failed, so that an alert sees it whatever a function's log level is.
        level = logging.WARNING if after.status is RunStatus.FAILED else logging.INFO
        log.log(level, "run %s is %s", after.id, after.status, extra={"error_code": after.result.error_code})
    if after.terminal and not before.terminal:
        await give_slot_back(ports, after)


def _log_failure(run: Run, response: AgentResponse) -> None:
    """The code of the provider's error for a response that it failed: its words may quote the prompt."""
    if response.status is ResponseStatus.FAILED:
        code = plain_code(response.error_code, "provider_failed")
        log.warning("run %s: failed by the provider: %s", run.id, code)


async def give_slot_back(ports: Ports, run: Run) -> None:
    """Let another run of the owner have the slot of this one, which is over or was never committed with it.

    Where that fails, the slot is found when it is needed.
    """
    request = run.request
    if request.slot is not None:
        with contextlib.suppress(StoreUnavailable):
            await ports.slots.give_back(request.owner, request.slot, run.id, request.fingerprint)
