"""Erase all that is stored of an owner: by the app's own deletions, which the wakes then finish.

Two passes. The first deletes what is there; the second deletes what was submitted meanwhile, and counts what remains.
Both can be cut off anywhere, done again, and done by two at once.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from shared.errors import ScheduleNotFound
from shared.runs.batches.delete import delete_batch
from shared.runs.commands.delete import Wake, delete_session
from shared.runs.concurrency import LostRace, side_by_side
from shared.runs.model.ids import run_id
from shared.runs.model.owners import OwnerPlace
from shared.runs.model.run import RunHead
from shared.runs.owners.requests import forget_key, forget_place, forget_try
from shared.runs.ports import Ports
from shared.runs.schedules.change import delete_schedule
from shared.runs.schedules.own import is_retired
from shared.runs.store.owners import FoundSession
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Row
from shared.runs.store.unreadable import RowUnreadable

SCHEDULES, BATCHES, SESSIONS, REQUESTS, PLACES = "schedules", "batches", "sessions", "requests", "places"
SCHEDULES_AGAIN, BATCHES_AGAIN, SESSIONS_AGAIN = "schedules again", "batches again", "sessions again"
STAGES = (SCHEDULES, BATCHES, SESSIONS, REQUESTS, PLACES, SCHEDULES_AGAIN, BATCHES_AGAIN, SESSIONS_AGAIN)
"""What is done, in this order. Sessions last: schedules and batches that go on would begin more."""

PAGE = 8
"""Sessions, batches or rows that are erased side by side."""

HEADS = 100
"""Runs of a session that are looked at in one query."""


FAILURES = (RowUnreadable, KeyUnavailable, LostRace)
"""What keeps one from being erased, and none of the others."""


class Erased(StrEnum):
    """What is counted as erased now."""

    SESSIONS = "sessions"
    RUNS = "runs"
    BATCHES = "batches"
    SCHEDULES = "schedules"
    KEYS = "keys"


class Remaining(StrEnum):
    """What is counted as still there, by the second pass."""

    TOMBSTONES = "tombstones"
    PROVIDER_COPIES = "provider_copies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A session, run, batch or schedule that could not be erased."""

    id: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Erasure:
    """What one step has done, and where the next begins."""

    after: OwnerPlace
    erased: Counter[Erased] = field(default_factory=Counter)
    remaining: Counter[Remaining] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    is_last: bool = False
    """Whether nothing is left to do after it."""


async def erase(ports: Ports, owner: str, place: OwnerPlace, wake: Wake) -> AsyncIterator[Erasure]:
    """Erase what is stored of an owner, from that place on, a page with each step.

    Raises ``ValueError`` for a place that none of its steps gave out; ``StoreUnavailable``.
    """
    if (place.stage or STAGES[0]) not in STAGES:
        raise ValueError("no such stage")
    for stage in STAGES[STAGES.index(place.stage or STAGES[0]) :]:
        page = place.page if place.stage in ("", stage) else None
        while True:
            done, page = await _page(ports, owner, stage, page, wake)
            yield done
            if page is None:
                break


async def _page(ports: Ports, owner: str, stage: str, page: str | None, wake: Wake) -> tuple[Erasure, str | None]:
    following: str | None
    done = Erasure(after=OwnerPlace())
    if stage in (SCHEDULES, SCHEDULES_AGAIN):
        ids, following = await ports.owners.schedules(owner, page, PAGE)
        again = stage == SCHEDULES_AGAIN
        await side_by_side(ids, lambda each: _schedule(ports, owner, each, done, wake, again=again), at_once=PAGE)
    elif stage in (BATCHES, BATCHES_AGAIN):
        ids, following = await ports.owners.batches(owner, page, PAGE)
        again = stage == BATCHES_AGAIN
        await side_by_side(ids, lambda each: _batch(ports, owner, each, done, wake, again=again), at_once=PAGE)
    elif stage in (SESSIONS, SESSIONS_AGAIN):
        found, following = await ports.owners.sessions(owner, page, PAGE)
        again = stage == SESSIONS_AGAIN
        await side_by_side(found, lambda each: _session(ports, each, done, wake, again=again), at_once=PAGE)
    else:
        rows: Sequence[Row]
        read = ports.owners.tries if stage == REQUESTS else ports.owners.places
        rows, following = await read(owner, page, PAGE)
        forget = forget_try if stage == REQUESTS else forget_place
        forgotten = await side_by_side(rows, lambda row: forget(ports, row), at_once=PAGE)
        done.erased[Erased.KEYS] += sum(forgotten) if stage == REQUESTS else 0
    done.is_last = stage == STAGES[-1] and following is None
    ahead = stage if following is not None or done.is_last else STAGES[STAGES.index(stage) + 1]
    done.after = OwnerPlace(stage=ahead, page=following)
    return done, following


async def _schedule(ports: Ports, owner: str, schedule_id: str, done: Erasure, wake: Wake, *, again: bool) -> None:
    try:
        stored = await ports.schedules.load(owner, schedule_id)
        if stored is None:
            return
        if stored.value.name and not is_retired(ports, stored.value):  # it would be there again within the hour
            _fail(done, schedule_id, "agents_own", counts=again)
            return
        with contextlib.suppress(ScheduleNotFound):
            await delete_schedule(ports, owner, schedule_id)
            done.erased[Erased.SCHEDULES] += 1
        await wake(schedule_id)  # its due row, which names the owner, goes with that
    except FAILURES as error:
        _fail(done, schedule_id, _reason(error), counts=again)


async def _batch(ports: Ports, owner: str, batch_id: str, done: Erasure, wake: Wake, *, again: bool) -> None:
    try:
        stored = await ports.batches.load(batch_id)
        if stored is None or stored.value.request.owner != owner:  # its submit is under way, or was cut off
            return
        if not stored.value.is_deleted:
            await delete_batch(ports, batch_id)
            await wake(batch_id)
            done.erased[Erased.BATCHES] += 1
        await _forget_key(ports, stored.value.request.fingerprint, done)
        done.remaining[Remaining.TOMBSTONES] += again
    except FAILURES as error:
        _fail(done, batch_id, _reason(error), counts=again)


async def _session(ports: Ports, found: FoundSession, done: Erasure, wake: Wake, *, again: bool) -> None:
    session, session_id = found.session, found.session_id
    try:
        if session is None:
            raise RowUnreadable
        is_new = session.deleted_at is None
        if not (is_new or again):
            return
        if is_new:
            for each in await delete_session(ports, session_id):
                await wake(each)
            done.erased[Erased.SESSIONS] += 1
            # Read anew: a run may have come before it was deleted.
            stored = await ports.runs.load_session(session_id)
            session = session if stored is None else stored.value
        done.remaining[Remaining.TOMBSTONES] += again
        for first in range(1, session.next_number, HEADS):
            for head in await _heads(ports, session_id, first, min(first + HEADS, session.next_number), done, again):
                deleted_at = getattr(head.phase, "deleted_at", None)
                # Those that were deleted one by one before are no new ones.
                of_now = deleted_at is None or session.deleted_at is None or deleted_at >= session.deleted_at
                done.erased[Erased.RUNS] += is_new and of_now
                if ports.clock() - head.request.created_at <= _key_lifetime(ports):
                    await _forget_key(ports, head.request.fingerprint, done)
                done.remaining[Remaining.TOMBSTONES] += again
                done.remaining[Remaining.PROVIDER_COPIES] += len(head.chain.response_ids) if again else 0
    except FAILURES as error:
        _fail(done, session_id, _reason(error), counts=again)


async def _heads(
    ports: Ports, session_id: str, first: int, before: int, done: Erasure, again: bool
) -> Sequence[RunHead]:
    try:
        return await ports.history.heads(session_id, first, before - 1)
    except (RowUnreadable, KeyUnavailable):
        # One by one: which it is, and all others.
        found: list[RunHead] = []
        for number in range(first, before):
            try:
                stored = await ports.runs.load(run_id(session_id, number))
            except (RowUnreadable, KeyUnavailable) as error:
                _fail(done, run_id(session_id, number), _reason(error), counts=again)
            else:
                found += [] if stored is None else [stored.value]
        return found


async def _forget_key(ports: Ports, fingerprint: str, done: Erasure) -> None:
    # Counted after the wait: others count side by side.
    if await forget_key(ports, fingerprint):
        done.erased[Erased.KEYS] += 1


def _key_lifetime(ports: Ports) -> timedelta:
    return timedelta(seconds=ports.settings.idempotency_key_lifetime)


def _fail(done: Erasure, subject: str, reason: str, *, counts: bool) -> None:
    """Note what could not be erased; once, by the second pass."""
    if counts:
        done.failures.append(Failure(id=subject, reason=reason))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyUnavailable):
        return "encryption_key_unavailable"
    return "row_unreadable" if isinstance(error, RowUnreadable) else "busy"
