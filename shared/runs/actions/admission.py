"""How many runs an owner may have active at once, kept exactly: a run holds one of so many slots.

A slot is taken before anything else of a submit is written, or before a run that was submitted for later begins, and
given back when the run ends. It is a row that only one can insert, so that racing submits never get more than there
are: a count that each of them reads and then adds to would let all of them in. What a crash left behind is found by
reading the runs again, when no slot seems to be free.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import TooManyActiveRuns
from shared.runs.concurrency import Races, side_by_side
from shared.runs.model.phases import Scheduled, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.agenda import next_time
from shared.runs.rules.starting import COMMIT_WITHIN
from shared.runs.store.slots import Slot
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.unreadable import RowUnreadable

ABSENT_FOR = timedelta(minutes=5)
"""How long a slot is kept for a run that is not there, or has not begun: who took it may yet commit."""

READS = 16
"""How many runs are read side by side."""

MAX_SECONDS = 60
"""The longest `Retry-After` of a refusal."""


async def admit(ports: Ports, run: Run) -> Run:
    """The run with a slot; with the one that it has already, when an earlier call for it was cut off.

    Does nothing while ``DORMOUSE_MAX_ACTIVE_RUNS`` is not set. Raises ``TooManyActiveRuns``, having written nothing.
    """
    most, owner = ports.settings.max_active_runs, run.request.owner
    if most is None:
        return run
    races = Races(run.id)
    while True:
        held = await ports.slots.held(owner)
        now = ports.clock()
        # A key sent again means the same run; its first try may have died after it had taken the slot.
        own = next((slot for slot in held if slot.holds(run.id, run.request.fingerprint)), None)
        if own is None and len(held) >= most:
            await _make_room(ports, owner, held, most)
            races.lost()  # there was room, and whoever comes first has it
            continue
        number = _choose(ports, held, most) if own is None else own.number
        slot = Slot(
            number=number,
            run_id=run.id,
            fingerprint=run.request.fingerprint,
            taken_at=now,
            etag=own.etag if own else "",
        )
        try:
            # One of its own is written again as well: its new ETag keeps it from whoever found it abandoned just now.
            await ports.slots.take(owner, slot)
        except Conflict:
            races.lost()
            continue
        return replace(run, request=replace(run.request, slot=slot.number))


def check_in_time(ports: Ports, run: Run) -> None:
    """Raise ``StoreUnavailable`` if so much time has passed that the slot may be another's soon."""
    # The slot is not read again: that would leave a gap before the commit all the same. The clock leaves minutes.
    if run.request.slot is not None and ports.clock() - run.updated_at > COMMIT_WITHIN:
        raise StoreUnavailable("the submit took too long")


def _choose(ports: Ports, held: Sequence[Slot], most: int) -> int:
    """A free slot, chosen at random, so that racing submits do not all want the same one."""
    free = sorted(set(range(most)) - {slot.number for slot in held})
    return free[int(ports.random() * len(free))]


async def _make_room(ports: Ports, owner: str, held: Sequence[Slot], most: int) -> None:
    """Free the slots whose runs are over. Raises ``TooManyActiveRuns`` when that gives no room."""
    seen = await side_by_side(held, lambda slot: _looked_at(ports, slot), at_once=READS)
    over = [slot for slot, (done, _) in zip(held, seen, strict=True) if done]
    if len(held) - len(over) >= most:  # also where a limit was lowered while more were active
        active = [run for done, run in seen if run is not None and not done]
        seconds = seconds_until_next_wake(active, ports.clock())
        raise TooManyActiveRuns(headers={"Retry-After": str(seconds)}, limit=most)
    for slot in over:
        with contextlib.suppress(Conflict):  # another call was faster, or the run is being submitted again
            await ports.slots.free(owner, slot)


async def _looked_at(ports: Ports, slot: Slot) -> tuple[bool, Run | None]:
    """Whether the slot holds nothing any more, and the run that has it."""
    try:
        stored = await ports.runs.load(slot.run_id)
    except RowUnreadable:  # whoever wrote it may know better than this version whether it is over
        return False, None
    run = None if stored is None else stored.value
    return is_stale(slot, run, ports.clock()), run


def is_stale(slot: Slot, run: Run | None, now: datetime) -> bool:
    """Whether a slot holds nothing any more, by the row of its run (None: there is none)."""
    if run is not None and run.request.fingerprint != slot.fingerprint:
        return True  # that request lost its number
    if run is None or isinstance(run.phase, Scheduled):  # whoever took it may be about to write the run
        return now - slot.taken_at > ABSENT_FOR
    # Another slot: it was tried twice and written with the other.
    return run.terminal or run.request.slot != slot.number


def seconds_until_next_wake(active: Sequence[Run], now: datetime) -> int:
    """Seconds after which to try again: at the next wake of a run, which may end it; at most a minute."""
    # A parked run tells nothing: its next time is the end of its answer deadline, days ahead.
    soonest = [next_time(run) for run in active if not isinstance(run.phase, WaitingForAnswers)]
    gap = min(((each.due - now).total_seconds() for each in soonest if each is not None), default=MAX_SECONDS)
    return min(max(1, math.ceil(gap)), MAX_SECONDS)
