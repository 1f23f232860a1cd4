"""Submit: from a checked request to a run that is on its way.

Every step is create-or-same: after a crash in any of them the same ``Idempotency-Key`` finishes what is missing. The
order is slot, key and due row, parts, then session, run, input and the claim of the first create in one transaction;
after it the create itself, and the list's row beside what came of it.
"""

from __future__ import annotations

import json
from dataclasses import replace

from shared.agentkit.agent import Agent
from shared.errors import (
    ConversationTooLong,
    DormouseError,
    RunDeleted,
    SessionNotFound,
)
from shared.runs.actions import create
from shared.runs.actions.admission import admit, check_in_time
from shared.runs.actions.advance import advance, send_first
from shared.runs.commands.branching import BranchPoint, begin_branch, branch_point
from shared.runs.commands.checks import agent_of, busy, check_callback, check_limits, check_model, check_start
from shared.runs.commands.keys import known_key, new_key
from shared.runs.commands.new_run import (
    TEXT_IN_ROW,
    calls_to_begin_with,
    new_run,
    next_in,
    session_after_submit,
    texts_of,
    with_texts,
)
from shared.runs.commands.open_calls import Continuation, continuation
from shared.runs.commands.operate import check_intake
from shared.runs.commands.submission import Submission, Submitted
from shared.runs.commit import bytes_of, give_slot_back
from shared.runs.concurrency import Races, both
from shared.runs.execution import execution, time_at_work, time_is_written
from shared.runs.listing import is_shown, shown
from shared.runs.model.ids import is_session_id, run_id
from shared.runs.model.phases import Creating, RunStatus, Scheduled
from shared.runs.model.run import Run
from shared.runs.model.session import Session
from shared.runs.ports import Ports, log
from shared.runs.rules.agenda import ActionKind, next_time
from shared.runs.rules.change import Before, Refused, end_run
from shared.runs.rules.decide import decide
from shared.runs.store.due import DueRow
from shared.runs.store.index import UNLISTED, KeyRecord
from shared.runs.store.runs import SessionChange, Stored
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.unreadable import RowUnreadable
from shared.runs.traces import of_run
from shared.telemetry import metrics
from shared.telemetry.spans import Kind


async def submit(ports: Ports, wanted: Submission) -> Submitted:
    """Write the run and try the first create. An outage of the provider does not change the answer.

    Before anything is written it raises ``UnknownAgent``, ``SessionNotFound``, ``PreviousResponseNotFound``,
    ``ConversationTooLong``, ``ToolOutputsMissing``, ``NoSuchToolCall``,
    ``AgentMismatch``, ``ModelNotAllowed``, ``InvalidRequest``, ``StartAtInSession``, ``CallbacksDisabled``,
    ``TooManyActiveRuns``, ``IntakePaused`` or ``IdempotencyKeyReused``. ``SessionBusy``: another run of the session
    is active, or took the number; nothing of this request is left then. ``RunDeleted``: the key's run is.
    ``TooManyRaces``, and ``StoreUnavailable`` at any point.
    """
    races = Races(f"submit to {wanted.session_id or 'a new session'}")
    with execution(ports.clock):
        while (submitted := await _try(ports, wanted)) is None:
            races.lost()
        return submitted


async def _try(ports: Ports, wanted: Submission) -> Submitted | None:
    """One try. None: another request was faster, but this one need not fail for that."""
    # The session is read before the key: if the key is still free then, the session's active run is not the key's.
    session = await _session(ports, wanted)
    record = await _known_key(ports, wanted)
    # Before the checks: what this version, or a lowered limit, would refuse today was accepted then.
    is_first = wanted.assigned is not None and wanted.assigned.is_first
    if record is not None and not is_first and (again := await _again(ports, record)) is not None:
        return again
    check_start(ports, wanted)
    if wanted.assigned is None or wanted.assigned.batch_id is None:  # a batch that was taken goes on
        await check_intake(ports)
    await _check_session(ports, wanted, session, is_new=record is None)
    point = await branch_point(ports, wanted, session, record)
    if (goes_on := await continuation(ports, wanted, session, point)) is None:
        return None
    agent = agent_of(ports, wanted, session)
    session = None if point is not None else session
    check_model(ports, wanted, agent)
    check_limits(ports, wanted)
    check_callback(ports, wanted.callback_url)
    fresh = None
    if record is None and wanted.idempotency_key is not None:
        session_id, number = next_in(session)
        record = fresh = new_key(ports, wanted.owner, wanted.idempotency_key, wanted.payload, session_id, number)
    run = new_run(ports, wanted, agent, session, record, point, goes_on)
    if wanted.assigned is not None and wanted.assigned.cancelled:
        # It is never active, so that it needs no slot: a batch can be stopped while all slots are taken.
        run = end_run(run, ports.clock(), RunStatus.CANCELLED)
    elif not isinstance(run.phase, Scheduled):  # it takes a slot when it starts
        run = await admit(ports, run)
    announced = _announce(ports, run)
    if fresh is None:
        due = await announced
    else:
        # Side by side: a key without the due row is finished by whoever sends it again; a due row without the key,
        # that of a number which nobody else has or of one that another is writing, is looked at once too often.
        record, due = await both(ports.index.claim_key(fresh), announced)
        if record is None:
            # In a session that is there both requests mean the same run and hold the same slot: it is the winner's now.
            if session is None:
                await give_slot_back(ports, run)
            return None
    given = json.dumps([*goes_on.given, *wanted.items], ensure_ascii=False)
    with ports.telemetry.span("submit", run.id, of_run(run), kind=Kind.SERVER, since=run.request.created_at):
        return await _commit_new(ports, run, given, goes_on, session, record, due, point)


async def _announce(ports: Ports, run: Run) -> DueRow:
    listed, deadline = ports.index.list_row_of(run), run.schedule.deadline_at
    return await ports.due.announce(run.id, ports.clock(), listed=listed, deadline=deadline, is_new=True)


async def _commit_new(
    ports: Ports,
    run: Run,
    given: str,
    goes_on: Continuation,
    session: Stored[Session] | None,
    key: KeyRecord | None,
    due: DueRow,
    point: BranchPoint | None = None,
) -> Submitted | None:
    """Write the run, whose key is claimed and which is announced, and begin it. None: look again."""
    if point is not None:
        try:
            run, due = await begin_branch(ports, run, point, due)
        except ConversationTooLong:
            await _take_back(ports, run, key)
            raise
        except LookupError:  # something of it was deleted while it was read
            await _take_back(ports, run, key)
            return None
    stored, first = await _write(ports, run, given, goes_on, session, due)
    if stored is None or stored.value.request.fingerprint != run.request.fingerprint:
        error = await _not_written(ports, run, session, stored, key, due)
        if error is None:
            return None
        raise error
    ports.telemetry.measure(metrics.RUNS_SUBMITTED, 1, {metrics.AGENT: run.request.agent})
    if stored.value.request.slot != run.request.slot:  # an earlier call with the key committed it
        await give_slot_back(ports, run)
    if stored.value.is_deleted:
        raise RunDeleted  # begun by the same key and deleted, all since this call looked
    return await _begun(ports, stored, due, first)


async def _known_key(ports: Ports, wanted: Submission) -> KeyRecord | None:
    if wanted.assigned is not None:
        ids = wanted.assigned  # derived from the batch, so that they need no row: the same as a known key says
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


async def _creator(ports: Ports, run: Run) -> Agent | None:
    """The agent whose first create the submit makes; None where that is left to a wake."""
    agent = ports.agents.get(run.request.agent)
    # Without background mode the answer comes within the call, in minutes perhaps: no caller of ours waits so long.
    if agent is None or not agent.background or not isinstance(run.phase, Creating):
        return None
    if await ports.controls.is_draining(ports.clock()):
        return None
    # Nobody waits for the submit of a batch's item.
    return agent if run.request.batch_id is not None or ports.can_create() else None


async def _with_first_claim(ports: Ports, run: Run, given: str) -> tuple[Run, create.Request | None]:
    """The run with its first attempt claimed, and the request that is to be sent once that is written.

    The run alone where the first create is left to a wake.
    """
    agent = await _creator(ports, run)
    if agent is None:
        return run, None
    try:
        # Items of its own for the agent: its code may change them, and ``given`` is what the row will hold.
        request = await create.build(ports, run, agent, given=json.loads(given))
    except StoreUnavailable:
        raise
    except Exception:  # the wake meets it again, and counts and logs it in the run's row, which is not there yet
        return run, None
    now = ports.clock()
    before = Before(run=run, took_ms=time_at_work())
    claimed = decide(before, create.claim_for(ports, request, agent), now, ports.settings)
    time_is_written()
    return (run, None) if isinstance(claimed, Refused) else (claimed.run, request)


async def _begun(
    ports: Ports, stored: Stored[Run], due: DueRow | None, first: create.Request | None = None
) -> Submitted:
    """Make the first create. Whatever becomes of it: the run is written, so the answer is 202 and its wakes go on."""
    run = stored.value
    agent = await _creator(ports, run)
    if agent is not None:
        try:
            # Only the call whose own claim was written sends: another with the same key has another nonce.
            if first is not None and create.attempt_of(run) == first.attempt:
                stored = await send_first(ports, stored, first, agent) or stored
            else:
                listing = stored.listing
                if run.turn.attempt == 0:  # nobody has claimed it, so a wake of this call may
                    listing = (await advance(ports, run.id, only=frozenset({ActionKind.CREATE}))).listing
                stored = replace(await ports.runs.load(run.id) or stored, listing=listing)
        except StoreUnavailable:
            log.warning("run %s: the store went away during submit", run.id)
            stored = replace(stored, listing=None)  # it may be deleted since: nothing of it is listed unread
        except RowUnreadable as error:  # a row of its session: another version may read it
            log.warning("run %s is left to its wakes: %s", run.id, error)
    # After the create: one write, most often with the status that it then has for a while.
    stored = await shown(ports, stored)
    if due is not None and is_shown(stored.value.status, stored.listing):
        due = replace(due, listed_status=stored.value.status.value)
    return Submitted(run=stored.value, due=due)


async def _session(ports: Ports, wanted: Submission) -> Stored[Session] | None:
    """The session to go on with, as its row has it."""
    if wanted.session_id is None or not is_session_id(wanted.session_id):
        return None
    return await ports.runs.load_session(wanted.session_id)


async def _check_session(ports: Ports, wanted: Submission, session: Stored[Session] | None, *, is_new: bool) -> None:
    """Raise why there can be no next run. ``is_new``: the request has no number yet that a key has kept for it."""
    if wanted.session_id is None:
        return
    # Another owner's is not found either: ids are no secret, and nobody should learn which ones there are.
    if session is None or session.value.owner != wanted.owner or session.value.deleted_at is not None:
        raise SessionNotFound
    if is_new and wanted.previous is None and session.value.active_run is not None:
        raise busy(session.value)


async def _write(
    ports: Ports, run: Run, given: str, goes_on: Continuation, session: Stored[Session] | None, due: DueRow
) -> tuple[Stored[Run] | None, create.Request | None]:
    """Write parts, then session, run, input and claim in one transaction.

    Returns the run that has the number afterwards, this one or another's (None: there is none), and the request that
    is to be sent if it is this one.
    """
    # A number that is past can never be had again, whether its run is still there or was removed.
    if session is not None and session.value.next_number != run.request.number:
        return await ports.runs.load(run.id), None
    due = await ports.due.keep_announced(due, ports.clock())
    kept = await ports.runs.store_text(run, given)
    run = replace(run, chain=replace(run.chain, item_bytes=bytes_of(given)))
    texts = []
    for text in texts_of(run.request):
        whole = await ports.runs.load_text(run, text)
        texts.append(await ports.runs.store_text(run, whole, inline=TEXT_IN_ROW))
    run = with_texts(run, *texts)
    calls = await calls_to_begin_with(ports, run, goes_on.calls)
    # Claimed last: long inputs take their time to be written, and the claim has to outlast the whole request.
    run, first = await _with_first_claim(ports, run, given)
    if first is None:
        run = replace(run, counters=replace(run.counters, active_ms=time_at_work()))
    await ports.due.keep_announced(due, ports.clock())
    check_in_time(ports, run)
    try:
        after = session_after_submit(ports, run, session, waits=bool(goes_on.waits))
        created = await ports.runs.create(run, SessionChange(before=session, after=after), kept, *calls)
        return replace(created, listing=UNLISTED), first
    except Conflict:
        # It may be there, of the same key even. The nonce shows whose claim it then has.
        return await ports.runs.load(run.id), first


async def _not_written(
    ports: Ports,
    run: Run,
    session: Stored[Session] | None,
    winner: Stored[Run] | None,
    key: KeyRecord | None,
    due: DueRow,
) -> DormouseError | None:
    """Take back what was written beside the run, and say why it was not written itself; None: look again."""
    found = await ports.runs.load_session(run.request.session_id)
    is_alive = found is not None and found.value.deleted_at is None
    was_free = session is not None and session.value.next_number == run.request.number
    # Something else has changed the session: an earlier run was deleted, say.
    may_be_written = winner is None and is_alive and was_free
    if may_be_written and key is not None:
        return None  # another request with the key may be writing it: place, slot and key are that one's as well
    await _take_back(ports, run, None if may_be_written else key)
    if may_be_written:
        return None
    if winner is not None:
        # The due row is the winner's too. Announced again by this call it would have a sweep look a minute from now.
        soonest = next_time(winner.value)
        await ports.due.set_due(due, ports.clock() if soonest is None else soonest.due, ports.clock())
    if found is not None and is_alive:
        # What was to follow a given run may yet begin a branch.
        return busy(found.value) if run.request.follows is None else None
    # Nobody but the holder of the key can have deleted a session that was to begin with this run.
    return SessionNotFound() if run.request.number > 1 else RunDeleted()


async def _take_back(ports: Ports, run: Run, key: KeyRecord | None) -> None:
    """Take back what was written beside a run that is not; its parts go with the due row."""
    await give_slot_back(ports, run)
    if key is not None and key.etag:  # the ids that a batch assigns have no row
        # Freed: the number is lost to this key for good, and sent again it shall begin the run after.
        await ports.index.free_key(key)
