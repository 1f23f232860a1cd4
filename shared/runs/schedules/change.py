"""What an owner does with schedules: make, change, remove. The due row first, as for whatever is driven by one."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace

from shared.errors import IdempotencyKeyReused, InputTooLarge, InvalidRequest, ScheduleNotFound, TooManySchedules
from shared.runs.commands.checks import agent_of, check_callback, check_limits, check_model
from shared.runs.commands.submission import Submission
from shared.runs.concurrency import Races
from shared.runs.model.schedules import Missed, RunSchedule
from shared.runs.ports import Ports
from shared.runs.rules.occurrences import check_cron, check_time_zone, from_now_on
from shared.runs.schedules.request import MAX_CHARACTERS, request_of, submission_of
from shared.runs.store.index import key_digest
from shared.runs.store.schedules import place_of
from shared.runs.store.tables import Conflict

MOST_OF_AN_OWNER = 100
"""Schedules that an owner may have: each is looked at for every run that it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a schedule runs; None: as it was, or by default."""

    cron: str | None = None
    time_zone: str | None = None
    missed: Missed | None = None
    paused: bool | None = None


async def create_schedule(ports: Ports, wanted: Submission, timing: Timing) -> RunSchedule:
    """Make a schedule, or find the one that the key has made. The caller wakes it afterwards.

    Raises what is wrong with the request for its runs, ``InvalidRequest`` for times that are none,
    ``IdempotencyKeyReused``, ``TooManySchedules``, ``StoreUnavailable``.
    """
    now = ports.clock()
    made = RunSchedule(
        id=_new_id(wanted),
        owner=wanted.owner,
        agent=agent_of(ports, wanted, None),
        request=request_of(wanted),
        cron=timing.cron or "",
        time_zone=timing.time_zone or "UTC",
        missed=timing.missed or Missed.SKIP,
        paused=timing.paused or False,
        created_at=now,
        updated_at=now,
        payload=hashlib.sha256(f"{wanted.payload} {timing!r}".encode()).hexdigest(),
    )
    _check(ports, made)
    made = from_now_on(made, now)
    there, more = await ports.schedules.of_owner(made.owner, None, MOST_OF_AN_OWNER)
    if more is not None or (len(there) >= MOST_OF_AN_OWNER and all(each.id != made.id for each in there)):
        raise TooManySchedules(limit=MOST_OF_AN_OWNER)
    await ports.due.announce(made.id, now, listed=place_of(made.owner, made.id))
    try:
        return (await ports.schedules.create(made)).value
    except Conflict:
        before = await ports.schedules.load(made.owner, made.id)
    if before is None:
        return await create_schedule(ports, wanted, timing)  # removed just now
    if before.value.payload != made.payload:
        raise IdempotencyKeyReused
    return before.value


async def change_schedule(ports: Ports, owner: str, schedule_id: str, timing: Timing) -> RunSchedule:
    """Change what is given, from now on: an occurrence that is past, or being tried, is not made up for.

    Raises ``ScheduleNotFound`` and as ``create_schedule`` does.
    """
    races = Races(schedule_id)
    while True:
        stored = await ports.schedules.load(owner, schedule_id)
        if stored is None:
            raise ScheduleNotFound
        before, now = stored.value, ports.clock()
        changed = replace(
            before,
            cron=before.cron if timing.cron is None else timing.cron,
            time_zone=before.time_zone if timing.time_zone is None else timing.time_zone,
            missed=before.missed if timing.missed is None else timing.missed,
            paused=before.paused if timing.paused is None else timing.paused,
            updated_at=now,
        )
        _check(ports, changed)
        if (before.cron, before.time_zone, before.paused) != (changed.cron, changed.time_zone, changed.paused):
            changed = from_now_on(changed, now)
        await ports.due.announce(changed.id, now, listed=place_of(owner, changed.id))
        try:
            return (await ports.schedules.save(stored, changed)).value
        except Conflict:
            races.lost()


async def delete_schedule(ports: Ports, owner: str, schedule_id: str) -> None:
    """Remove it: no further run begins. Those that it has begun stay. Raises ``ScheduleNotFound``."""
    races = Races(schedule_id)
    while True:
        stored = await ports.schedules.load(owner, schedule_id)
        if stored is None:
            raise ScheduleNotFound
        try:
            await ports.schedules.delete(stored)
        except Conflict:
            races.lost()
            continue
        return  # a sweep finds that the due row leads nowhere, and removes it


def _new_id(wanted: Submission) -> str:
    # Derived from the key, where there is one: then the schedule is the key's record, and no crash makes two.
    key = wanted.idempotency_key
    return f"schedule_{secrets.token_hex(16) if key is None else key_digest(wanted.owner, f'schedule:{key}')[:32]}"


def _check(ports: Ports, schedule: RunSchedule) -> None:
    field = "time_zone"
    try:
        check_time_zone(schedule.time_zone)
        field = "cron"
        check_cron(schedule.cron, schedule.updated_at)
    except ValueError as error:
        raise InvalidRequest(f"`{field}` {error}.", errors=[{"field": field, "problem": str(error)}]) from None
    if len(schedule.request) > MAX_CHARACTERS:
        raise InputTooLarge(f"What a schedule asks for may have at most {MAX_CHARACTERS} characters of JSON.")
    wanted = submission_of(schedule)
    check_model(ports, wanted, schedule.agent)
    check_limits(ports, wanted)
    check_callback(ports, wanted.callback_url)
