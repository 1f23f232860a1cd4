"""A run that follows one which its conversation has left behind begins a branch: a session of its own.

The branch has copies of what was said until then, and nobody writes to the session that it leaves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from shared.agentkit.agent import Item
from shared.errors import ConversationTooLong, PreviousResponseNotFound
from shared.runs.actions.conversation import MAX_REPLAYED, REPLAYED, runs_before
from shared.runs.commands.checks import busy
from shared.runs.commands.submission import Submission
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import PartRef, Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.store.due import DueRow
from shared.runs.store.index import KeyRecord
from shared.runs.store.runs import READS, Stored

TOGETHER = 400_000
"""Characters of JSON from which on items are written: they go in few rows, and are never all in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPoint:
    """Where a branch begins."""

    session: Session
    """The session that it leaves."""

    previous: int
    """The number of the last run that they share."""


async def branch_point(
    ports: Ports, wanted: Submission, session: Stored[Session] | None, key: KeyRecord | None
) -> BranchPoint | None:
    """Where the run begins a branch; None: it is the next of its session.

    Raises ``PreviousResponseNotFound``, and ``SessionBusy`` while the run that it is to follow is active.
    """
    if session is None or wanted.previous is None:
        return None
    # What the key was decided to stand for stays: a crash between then and the write must not change it.
    if key is not None and key.session_id == session.value.session_id:
        return None
    found = await ports.runs.runs_of(session.value.session_id, [wanted.previous])
    if not found:
        raise PreviousResponseNotFound
    if not found[0].terminal:
        raise busy(session.value)
    if key is None and not await _has_moved_on(ports, session.value, wanted.previous):
        return None
    return BranchPoint(session=session.value, previous=wanted.previous)


async def _has_moved_on(ports: Ports, session: Session, previous: int) -> bool:
    """Whether the session does not stand any more where it stood after that run, or may be about to move on.

    Only completed runs move it on.
    """
    if session.active_run not in (None, previous):
        return True
    for first in range(previous + 1, session.next_number, READS):
        some = range(first, min(first + READS, session.next_number))
        runs = await ports.runs.runs_of(session.session_id, some)
        if any(run.status is RunStatus.COMPLETED for run in runs):
            return True
    return False


async def begin_branch(ports: Ports, run: Run, point: BranchPoint, due: DueRow) -> tuple[Run, DueRow]:
    """The first run of a branch, with what was said until then copied, and the due row, which is kept announced.

    Raises ``ConversationTooLong``, ``LookupError`` when something of it is deleted meanwhile, ``StoreUnavailable``.
    """
    session_id, last = point.session.session_id, None
    parts: list[PartRef] = []
    waiting: list[Item] = []
    there = held = written = 0
    async for each, said in runs_before(ports, session_id, point.previous + 1):
        there += 1
        if each.status is RunStatus.COMPLETED:
            last = each.chain.last_response_id
        async for appended in said:
            kept = [item for item in appended if item.get("type", "message") in REPLAYED]
            waiting += kept
            held += len(json.dumps(kept))
            if held > MAX_REPLAYED:
                raise ConversationTooLong
            if held - written >= TOGETHER:
                parts.append(await _written(ports, run, waiting))
                waiting, written = [], held
                due = await ports.due.keep_announced(due, ports.clock())
    if waiting:
        parts.append(await _written(ports, run, waiting))
    # The provider's own memory of it is as good, unless something was deleted: it would still know of that.
    whole = there == point.previous
    chain = replace(run.chain, last_response_id=last if whole else None)
    return replace(run, chain=chain, request=replace(run.request, history=tuple(parts))), due


async def _written(ports: Ports, run: Run, items: list[Item]) -> PartRef:
    text = json.dumps(items, ensure_ascii=False)
    ref = await ports.runs.store_text(run, text, inline=0)
    assert isinstance(ref, PartRef)
    return replace(ref, beginning="")
