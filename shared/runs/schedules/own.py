"""Schedules that stand beside an agent: they are there without a call, while a version that has them is deployed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit.schedules import OwnSchedule
from shared.runs.commands.submission import Submission
from shared.runs.model.schedules import Missed, RunSchedule
from shared.runs.ports import Ports, log
from shared.runs.rules.occurrences import from_now_on
from shared.runs.schedules.request import request_of
from shared.runs.store.schedules import place_of
from shared.runs.store.tables import Conflict, StoreUnavailable

LOOKED_AFTER = timedelta(hours=1)
"""How often a process sees to it that they are there."""


async def ensure_own(ports: Ports) -> None:
    """See to it, now and then, that the agents' own schedules are there as this version has them."""
    for agent, own in ports.own_schedules:
        now, schedule_id = ports.clock(), own_id(agent, own)
        if now < ports.own_due.get(schedule_id, now):
            continue
        try:
            await _ensure(ports, agent, own, schedule_id, now)
        except StoreUnavailable:
            raise
        except Exception:  # it must not keep a sweep from what others wait for
            log.exception("the schedule %s of the agent %s could not be looked after", own.name, agent)
        ports.own_due[schedule_id] = now + LOOKED_AFTER


def own_id(agent: str, own: OwnSchedule) -> str:
    """The id of an agent's own schedule: the same for as long as it has that name and owner."""
    named = json.dumps([agent, own.name, own.owner])
    return f"schedule_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def is_retired(ports: Ports, one: RunSchedule) -> bool:
    """Whether it stood beside an agent, and this version has it no more."""
    return bool(one.name) and all(own_id(agent, own) != one.id for agent, own in ports.own_schedules)


async def _ensure(ports: Ports, agent: str, own: OwnSchedule, schedule_id: str, now: datetime) -> None:
    wanted = Submission(owner=own.owner, items=({"type": "message", "role": "user", "content": own.input},))
    fresh = from_now_on(
        RunSchedule(
            id=schedule_id,
            owner=own.owner,
            agent=agent,
            name=own.name,
            request=request_of(wanted),
            cron=own.cron,
            time_zone=own.time_zone,
            missed=Missed(own.missed),
            created_at=now,
            updated_at=now,
        ),
        now,
    )
    place = place_of(own.owner, schedule_id)
    stored = await ports.schedules.at(place)
    try:
        if stored is None:
            await ports.due.announce(schedule_id, now, listed=place)
            await ports.schedules.create(fresh)
            return
        before = stored.value
        after = replace(before, request=fresh.request, missed=fresh.missed)
        if (before.cron, before.time_zone) != (own.cron, own.time_zone):
            after = from_now_on(replace(after, cron=own.cron, time_zone=own.time_zone), now)
        if after != before:
            await ports.due.announce(schedule_id, now, listed=place)
            await ports.schedules.save(stored, after)
    except Conflict:  # another process was faster
        return
