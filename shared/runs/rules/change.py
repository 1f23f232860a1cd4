"""What a decision comes to, and the small steps that many of them share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.agentkit.lenient import MAX_MESSAGE, MAX_WORD, well_formed
from shared.agentkit.redaction import for_callers
from shared.errors import DormouseError
from shared.runs.model.calls import ToolCall
from shared.runs.model.outbox import CallbackState, Entry, EntryKind, Outbox
from shared.runs.model.phases import Ended, Pending, RunStatus
from shared.runs.model.run import Result, Run
from shared.runs.model.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a fact is decided on: the run, and what was read after it where the fact needs that."""

    run: Run
    """As it was read."""

    calls: tuple[ToolCall, ...] = ()
    """The turn's (``LeaseTaken``, ``ToolsSettled``), or all (``Answered``)."""

    session: Session | None = None
    """For ``Deleted``."""

    took_ms: int = 0
    """Milliseconds that the app was at work for the fact, since it last wrote the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that must be written together, in whole values."""

    run: Run
    """As it is after the fact."""

    calls: tuple[ToolCall, ...] = ()
    """Rows of calls that are new, or that change with the run."""

    items: tuple[str, ...] = ()
    """Conversation items to append, each a JSON list."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The fact changes nothing. An empty code: nothing is left to do about it."""

    code: str = ""
    """Why; empty: nothing is left to do."""

    error: DormouseError | None = field(default=None, compare=False)
    """What to tell the caller, where a caller brought the fact."""


Decision = Change | Refused


def later(now: datetime, seconds: float) -> datetime:
    """So many seconds ahead."""
    return now + timedelta(seconds=seconds)


def end_run(
    run: Run,
    now: datetime,
    status: RunStatus,
    *,
    code: str | None = None,
    message: str | None = None,
    result: Result | None = None,
) -> Run:
    """The run as it ends, with the cancel of what is pending at the provider and the callback in its outbox."""
    outbox = run.outbox.without(EntryKind.CALLBACK)  # their events are out of date
    # It costs money as long as it runs; the cancel must survive a crash, so it is part of this write.
    if isinstance(run.phase, Pending):
        outbox = outbox.adding(cancel_of(run.phase.token.response_id, now))
    # Wherever the sentence is from, callers must get no secret and no internal address with it.
    made = replace(
        result or Result(),
        error_code=None if code is None else well_formed(code[:MAX_WORD]),
        error_message=None if message is None else for_callers(well_formed(message), most=MAX_MESSAGE),
    )
    ended = replace(
        run,
        phase=Ended(status=status, completed_at=now),
        result=made,
        outbox=outbox,
        updated_at=now,
    )
    return with_callback(ended, now)


def fail(run: Run, now: datetime, code: str, message: str) -> Change:
    """The run failed."""
    return Change(run=end_run(run, now, RunStatus.FAILED, code=code, message=message))


def cancel_of(response_id: str, now: datetime) -> Entry:
    """A response to cancel."""
    return Entry(kind=EntryKind.CANCEL, subject=response_id, due=now, since=now)


def with_callback(run: Run, now: datetime) -> Run:
    """The run with a callback about its new status in the outbox, if there is an address for it."""
    outbox = run.outbox.without(EntryKind.CALLBACK)
    # A 410 holds for the whole run: its receiver wants no later event either.
    if run.request.callback_url is None or outbox.callback_state is CallbackState.DISABLED:
        return replace(run, outbox=outbox)
    entry = Entry(kind=EntryKind.CALLBACK, subject=event_of(run), due=now, since=now)
    return replace(run, outbox=outbox.adding(entry))


def event_of(run: Run) -> str:
    """The event that the run's status is. Each pause for answers is one of its own."""
    status = run.status
    return f"{status.value}_{run.turn.number}" if status is RunStatus.REQUIRES_ACTION else status.value


def to_tombstone(run: Run, now: datetime, keep: float) -> Run:
    """An ended run without content, and what is left to do: the provider's copies, its other rows, its own row."""
    assert isinstance(run.phase, Ended)
    # One entry for all: a run of many turns would overflow its row with one for each.
    added = [Entry(kind=EntryKind.DELETE, due=now, since=now)] if run.chain.response_ids else []
    added.append(Entry(kind=EntryKind.ROWS, due=now, since=now))
    # The row stays for a while: a response created late must find that its run is deleted.
    added.append(Entry(kind=EntryKind.REMOVAL, due=later(now, keep), since=now))
    gone = run.without_content()
    outbox: Outbox = gone.outbox.without(EntryKind.CALLBACK).adding(*added)
    return replace(gone, phase=replace(run.phase, deleted_at=now), outbox=outbox, updated_at=now)
