"""Submit: from a checked request to a run that is on its way.

Every step is create-or-same: after a crash in any of them the same ``Idempotency-Key`` finishes what is missing.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import timedelta

from shared.errors import (
    DormouseError,
    NotLatest,
    PreviousResponseNotFound,
    RunDeleted,
    SessionBusy,
    SessionNotFound,
)
from shared.runs.actions import create
from shared.runs.actions.advance import advance, send_first
from shared.runs.commands.admission import admit, check_in_time
from shared.runs.commands.checks import agent_of, check_callback, check_limits, check_model
from shared.runs.commands.keys import known_key
from shared.runs.commands.submission import Submission, Submitted
from shared.runs.commit import give_slot_back
from shared.runs.concurrency import Races
from shared.runs.model.ids import is_session_id, run_id
from shared.runs.model.phases import Creating, RunStatus
from shared.runs.model.run import Chain, Limits, Request, Run, Schedule, Session
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import ActionKind, next_time
from shared.runs.rules.change import Before, Refused, end_run
from shared.runs.rules.decide import decide
from shared.runs.store.due import DueRow
from shared.runs.store.index import KeyRecord, key_digest
from shared.runs.store.rows import RowTooNew
from shared.runs.store.runs import READS, SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable


async def submit(ports: Ports, wanted: Submission) -> Submitted:
    """Write the run and try the first create. An outage of the provider does not change the answer.

    Raises ``UnknownAgent``, ``SessionNotFound``, ``PreviousResponseNotFound``, ``NotLatest``, ``AgentMismatch``,
    ``InvalidRequest``, ``CallbacksDisabled``, ``TooManyActiveRuns`` or ``IdempotencyKeyReused`` before anything is
    written, ``SessionBusy`` (a request that lost a race for its session's next run leaves nothing behind that
    misleads), ``StoreUnavailable`` at any point.
    """
    races = Races(f"a run of {wanted.session_id}")
    while (submitted := await _try(ports, wanted)) is None:
        races.lost()
    return submitted


async def _try(ports: Ports, wanted: Submission) -> Submitted | None:
    """The numbered list of the design. None when a request with the same key was faster: look again."""
    record = await _known_key(ports, wanted)
    if record is not None and (again := await _again(ports, record)) is not None:
        return again
    session = await _session(ports, wanted, record)
    agent = agent_of(ports, wanted, session)
    check_model(ports, wanted, agent)
    check_limits(ports, wanted)
    check_callback(ports, wanted.callback_url)
    fresh = None
    if record is None and wanted.idempotency_key is not None:
        record = fresh = _new_record(ports, wanted.idempotency_key, wanted, session)
    run = _new_run(ports, wanted, agent, session, record)
    if wanted.assigned is not None and wanted.assigned.cancelled:
        run = end_run(run, ports.clock(), RunStatus.CANCELLED)
    else:
        run = await admit(ports, run)
    if fresh is not None and (record := await ports.index.claim_key(fresh)) is None:
        await give_slot_back(ports, run)
        return None
    given = json.dumps(wanted.items, ensure_ascii=False)
    listed = ports.index.place_of(run)
    due = await ports.due.announce(run.id, ports.clock(), listed=listed, deadline=run.schedule.deadline_at)
    run, first = await _with_first_claim(ports, run, given)
    stored = await _write(ports, run, given, session, due)
    if stored is None or stored.value.request.fingerprint != run.request.fingerprint:
        raise await _number_taken(ports, run, stored, record, due)
    if stored.value.request.slot != run.request.slot:  # an earlier call with the key committed it
        await give_slot_back(ports, run)
    return await _begun(ports, stored, due, first)


async def _known_key(ports: Ports, wanted: Submission) -> KeyRecord | None:
    if wanted.assigned is not None:
        ids = wanted.assigned
        return KeyRecord(digest=ids.fingerprint, payload="", session_id=ids.session_id, number=1, created_at=ids.since)
    if wanted.idempotency_key is None:
        return None
    return await known_key(ports, wanted.owner, wanted.idempotency_key, wanted.payload)


async def _again(ports: Ports, record: KeyRecord) -> Submitted | None:
    """The run that the key started, whatever this version thinks of the request; None when it is not there."""
    stored = await ports.runs.load(run_id(record.session_id, record.number))
    if stored is None or stored.value.request.fingerprint != record.digest:
        return None
    session = await ports.runs.load_session(record.session_id)
    if stored.value.is_deleted or session is None or session.value.deleted_at is not None:
        raise RunDeleted
    if stored.value.is_done:
        return Submitted(run=stored.value, due=None)
    return await _begun(ports, stored, None)  # announced by who committed it, and due until it has ended


async def _with_first_claim(ports: Ports, run: Run, given: str) -> tuple[Run, create.Request | None]:
    """The run with its first attempt claimed, and the request that is sent once it is written.

    As it was, where a wake makes the first create: for an agent without background mode, or one whose code fails, which
    the wake counts and logs.
    """
    agent = ports.agents.get(run.request.agent)
    if agent is None or not agent.background or run.terminal:
        return run, None
    try:
        request = await create.build(ports, run, agent, json.loads(given))
    except StoreUnavailable:
        raise
    except Exception:
        return run, None
    now = ports.clock()
    claimed = decide(Before(run=run), create.claim_for(ports, request, agent), now, ports.settings)
    return (run, None) if isinstance(claimed, Refused) else (claimed.run, request)


async def _begun(
    ports: Ports, stored: Stored[Run], due: DueRow | None, first: create.Request | None = None
) -> Submitted:
    """The first create, here and now; whatever becomes of it, the driver goes on from the row."""
    run = stored.value
    agent = ports.agents.get(run.request.agent)
    if isinstance(run.phase, Creating) and agent is not None and agent.background:
        try:
            if first is not None and create.attempt_of(run) == first.attempt:
                await send_first(ports, stored, first, agent)
            elif run.turn.attempt == 0:
                await advance(ports, run.id, only=frozenset({ActionKind.CREATE}))
            stored = await ports.runs.load(run.id) or stored
        except StoreUnavailable:
            log.warning("run %s: the store went away during submit", run.id, extra={"run_id": run.id})
        except RowTooNew as error:
            log.warning("run %s is left to a newer version: %s", run.id, error, extra={"run_id": run.id})
    return Submitted(run=stored.value, due=due)


async def _session(ports: Ports, wanted: Submission, record: KeyRecord | None) -> Stored[Session] | None:
    """The session to go on with, if any. A free one is required only where no key has assigned its run."""
    if wanted.session_id is None:
        return None
    known = is_session_id(wanted.session_id)
    session = await ports.runs.load_session(wanted.session_id) if known else None
    if session is None or session.value.owner != wanted.owner or session.value.deleted_at is not None:
        raise SessionNotFound
    if record is None and session.value.active_run is not None:
        raise _busy(session.value)
    if record is None and wanted.previous is not None:
        await _check_previous(ports, session.value, wanted.previous)
    return session


async def _check_previous(ports: Ports, session: Session, previous: int) -> None:
    """What the agent knows must be what it knew after that run: those that did not complete left no trace."""
    if not await ports.runs.runs_of(session.session_id, [previous]):
        raise PreviousResponseNotFound
    for first in range(previous + 1, session.next_number, READS):
        some = range(first, min(first + READS, session.next_number))
        runs = await ports.runs.runs_of(session.session_id, some)
        if any(run.status is RunStatus.COMPLETED for run in runs):
            raise NotLatest


def _new_record(ports: Ports, key: str, wanted: Submission, session: Stored[Session] | None) -> KeyRecord:
    """What a free key will stand for once it is claimed: this payload, and the run assigned to it."""
    return KeyRecord(
        digest=key_digest(wanted.owner, key),
        payload=wanted.payload,
        session_id=session.value.session_id if session else secrets.token_hex(16),
        number=session.value.next_number if session else 1,
        created_at=ports.clock(),
    )


def _new_run(
    ports: Ports, wanted: Submission, agent: str, session: Stored[Session] | None, record: KeyRecord | None
) -> Run:
    now, settings = ports.clock(), ports.settings
    if record is not None:
        session_id, number, fingerprint, created = record.session_id, record.number, record.digest, record.created_at
    else:
        session_id = session.value.session_id if session else secrets.token_hex(16)
        number = session.value.next_number if session else 1
        fingerprint, created = secrets.token_hex(16), now
    learnt = session is not None and session.value.replay
    request = Request(
        session_id=session_id,
        number=number,
        agent=agent,
        owner=wanted.owner,
        fingerprint=fingerprint,
        created_at=created,
        limits=Limits(
            turns=wanted.turns or settings.max_turns,
            tool_calls=wanted.tool_calls or settings.max_tool_calls,
            total_tokens=wanted.total_tokens or settings.max_total_tokens,
        ),
        model=wanted.model,
        stream=wanted.stream,
        metadata=dict(wanted.metadata),
        batch_id=wanted.assigned.batch_id if wanted.assigned is not None else None,
        callback_url=wanted.callback_url,
        follows=wanted.previous,
        background=wanted.background,
    )
    return Run(
        request=request,
        schedule=Schedule(deadline_at=now + timedelta(seconds=wanted.deadline_seconds or settings.deadline)),
        updated_at=now,
        chain=Chain(
            last_response_id=session.value.response_id if session else None,
            replay=settings.chain == "replay" or (settings.chain == "auto" and learnt),
        ),
    )


async def _write(
    ports: Ports, run: Run, given: str, session: Stored[Session] | None, due: DueRow
) -> Stored[Run] | None:
    """The list's row, parts, then session, run and input in one transaction.

    Returns the run that then has the number, this one or another's; None when nobody can have it.
    """
    taken = session is not None and session.value.next_number != run.request.number
    if session is not None and (session.value.active_run is not None or taken):
        return await ports.runs.load(run.id)
    await ports.index.list_run(run)
    kept = await ports.runs.keep(run, given)
    await ports.due.keep_announced(due, ports.clock())
    check_in_time(ports, run)
    try:
        change = SessionChange(before=session, after=_session_after(run, session))
        return await ports.runs.create(run, change, kept)
    except Conflict:
        return await ports.runs.load(run.id)


async def _number_taken(
    ports: Ports, run: Run, winner: Stored[Run] | None, key: KeyRecord | None, due: DueRow
) -> DormouseError:
    """Another request took that number, or deleted the session: give back place and key, and say so."""
    await give_slot_back(ports, run)
    await ports.index.unlist(ports.index.place_of(run))
    if key is not None and key.etag:  # a batch's own has no row
        await ports.index.free_key(key)
    if winner is not None:  # the due row is the winner's now
        soonest = next_time(winner.value)
        await ports.due.set_due(due, ports.clock() if soonest is None else soonest.due, ports.clock())
    session = await ports.runs.load_session(run.request.session_id)
    if session is not None and session.value.deleted_at is None:
        return _busy(session.value)
    return SessionNotFound() if run.request.number > 1 else RunDeleted()  # of a new session nobody else knows more


async def clear_away(ports: Ports, due: DueRow) -> bool:
    """Remove what a submit that never committed left behind, but for its due row; False when it may yet commit.

    Everything goes under ETags read before the due row was seen unchanged, and a submit writes its due row before all
    else: so nothing goes that a repeated request has written anew.
    """
    parts = await ports.runs.parts(due.run_id)
    place = await ports.index.listed(due.listed)
    current = await ports.due.get(due.run_id)
    if current is None or current.etag != due.etag:
        return False
    for part in parts:
        await ports.runs.remove_part(part)
    if place is not None:
        await ports.index.remove(place)
    return True


def _session_after(run: Run, session: Stored[Session] | None) -> Session:
    request = run.request
    active, after = None if run.terminal else request.number, request.number + 1
    if session is not None:
        return replace(session.value, active_run=active, next_number=after, last_activity=run.updated_at)
    return Session(
        session_id=request.session_id,
        agent=request.agent,
        owner=request.owner,
        created_at=request.created_at,
        last_activity=run.updated_at,
        active_run=active,
        next_number=after,
    )


def _busy(session: Session) -> SessionBusy:
    active = None if session.active_run is None else run_id(session.session_id, session.active_run)
    return SessionBusy(session_id=session.session_id, active_run=active)
