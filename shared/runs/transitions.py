"""What may follow what in the life of a run. Pure: a run and a time in, a run out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

from shared.agentkit.lenient import MOST_MESSAGE, MOST_WORD, well_formed
from shared.agentkit.redaction import for_callers
from shared.runs.callbacks.callback import event_of
from shared.runs.run import CallbackState, Debt, Next, Owed, Run, RunStatus


def finish(
    run: Run,
    now: datetime,
    status: RunStatus,
    *,
    code: str | None = None,
    message: str | None = None,
    cancel_at_provider: bool = False,
) -> Run:
    """The run as it ends. Clears what belongs to the way, and notes what is still owed to provider and caller."""
    debts = without_callbacks(run.debts)
    if cancel_at_provider and run.token is not None:
        debts = with_debt(debts, Debt(kind=Owed.CANCEL, subject=run.token.response_id, due=now, since=now))
    ended = replace(
        run,
        status=status,
        error_code=None if code is None else well_formed(code[:MOST_WORD]),
        # Whoever made the sentence: callers get no secret and no internal address that somebody has put into it.
        error_message=None if message is None else for_callers(well_formed(message), most=MOST_MESSAGE),
        token=None,
        claimed_until=None,
        unknown_at=None,
        not_before=None,
        nonce="",
        lease_owner="",
        lease_until=None,
        answer_by=None,
        completed_at=now,
        updated_at=now,
        retry_after=0.0,
    )
    return with_debts(ended, (*debts, *_callback(ended, now)), now)


def _callback(run: Run, now: datetime) -> tuple[Debt, ...]:
    """The callback that a run owes as it now stands, if its caller wants any."""
    if run.callback_url is None or run.callback_state is CallbackState.DISABLED:
        return ()
    return (Debt(kind=Owed.CALLBACK, subject=event_of(run), due=now, since=now),)


def without_callbacks(debts: tuple[Debt, ...]) -> tuple[Debt, ...]:
    """The debts without the callbacks: what they would tell is of the past."""
    return tuple(debt for debt in debts if debt.kind is not Owed.CALLBACK)


def tell_again(run: Run, now: datetime) -> Run:
    """The run with its ending to be delivered (again), from the first attempt on, whatever became of it before."""
    run = replace(run, callback_state=None)
    return with_debts(run, (*without_callbacks(run.debts), *_callback(run, now)), now)


def with_debt(debts: tuple[Debt, ...], debt: Debt) -> tuple[Debt, ...]:
    """The debts with this one among them."""
    return debts if any(each.same(debt) for each in debts) else (*debts, debt)


def without_debt(run: Run, debt: Debt, now: datetime) -> Run:
    """The run with that debt paid; a terminal run that owes nothing more has nothing next."""
    return with_debts(run, tuple(each for each in run.debts if not each.same(debt)), now)


def with_debts(run: Run, debts: tuple[Debt, ...], now: datetime) -> Run:
    """The run owing these; what is next for a terminal run follows from them."""
    if not run.terminal:
        return replace(run, debts=debts)
    return replace(
        run,
        debts=debts,
        next=Next.OWED if debts else Next.NONE,
        wake_at=min((debt.due for debt in payable(debts)), default=now),
    )


def postponed(debts: tuple[Debt, ...], now: datetime, seconds: float) -> tuple[Debt, ...]:
    """The debts with those that are due now put off by so much: the wake that was to pay one crashed."""
    later = now + timedelta(seconds=seconds)
    return tuple(replace(debt, due=later) if debt.due <= now else debt for debt in debts)


def payable(debts: tuple[Debt, ...]) -> tuple[Debt, ...]:
    """The debts that may be paid: a response is deleted after every cancel, and a tombstone goes last of all.

    A response that is deleted first can no longer be cancelled, and may run on.
    """
    cancels = any(debt.kind is Owed.CANCEL for debt in debts)
    waits = {Owed.TOMBSTONE, Owed.DELETE} if cancels else {Owed.TOMBSTONE}
    return tuple(debt for debt in debts if debt.kind not in waits) or debts


def without_responses(run: Run, gone: Collection[str], now: datetime) -> Run:
    """The tombstone with these responses deleted at the provider; nothing is left to delete after the last."""
    left = tuple(each for each in run.response_ids if each not in gone)
    debts = run.debts if left else tuple(debt for debt in run.debts if debt.kind is not Owed.DELETE)
    return with_debts(replace(run, response_ids=left), debts, now)


def wake_later(run: Run, now: datetime, seconds: float) -> Run:
    """The run with its next wake ``seconds`` ahead, or at its deadline if that is sooner."""
    wake_at = now + timedelta(seconds=seconds)
    if run.deadline_at is not None and not run.terminal:
        wake_at = min(wake_at, max(run.deadline_at, now))
    return replace(run, wake_at=wake_at, retry_after=round((wake_at - now).total_seconds(), 3))


def next_turn(run: Run, now: datetime) -> Run:
    """The run as its next turn is to be created: the counts of the turn begin anew."""
    return replace(
        run,
        next=Next.CREATE,
        turn=run.turn + 1,
        attempt=0,
        token=None,
        unknown_outcomes=0,
        restarts=0,
        agent_errors=0,
        turn_calls=0,
        accepted_at=None,
        lease_owner="",
        lease_until=None,
        updated_at=now,
    )


def park(run: Run, now: datetime, answer_by: datetime) -> Run:
    """The run as it waits for answers: no deadline runs (what is left of it is kept), nothing is pending."""
    left = None if run.deadline_at is None else max(0.0, (run.deadline_at - now).total_seconds())
    parked = replace(
        run,
        status=RunStatus.REQUIRES_ACTION,
        next=Next.ANSWERS,
        deadline_at=None,
        deadline_left=left,
        answer_by=answer_by,
        wake_at=answer_by,
        retry_after=0.0,
        lease_owner="",
        lease_until=None,
        updated_at=now,
    )
    return with_debts(parked, (*without_callbacks(run.debts), *_callback(parked, now)), now)


def unpark(run: Run, now: datetime) -> Run:
    """The run as it goes on with its tools, all answers given; its deadline runs on from where it stood.

    Nobody need be told any more that it waits.
    """
    run = with_debts(run, without_callbacks(run.debts), now)
    return replace(
        run,
        status=RunStatus.IN_PROGRESS,
        next=Next.TOOLS,
        deadline_at=None if run.deadline_left is None else now + timedelta(seconds=run.deadline_left),
        deadline_left=None,
        answer_by=None,
        wake_at=now,
        updated_at=now,
    )


def entomb(run: Run, now: datetime, keep: timedelta) -> Run:
    """The run as a tombstone: no content, and what is left to do: the provider's copies, its rows, its own row.

    An active run must have been finished before; what it owed then is owed still, but for its callback.
    """
    debts = without_callbacks(run.debts)
    if run.response_ids:
        debts = with_debt(debts, Debt(kind=Owed.DELETE, due=now, since=now))
    debts = with_debt(debts, Debt(kind=Owed.ROWS, due=now, since=now))
    debts = with_debt(debts, Debt(kind=Owed.TOMBSTONE, due=now + keep, since=now))
    emptied = replace(
        run,
        deleted_at=now,
        updated_at=now,
        text="",
        output="",
        metadata={},
        error_message=None,
        provider_status=None,
        model=None,
        callback_url=None,
        callback_state=None,
    )
    return with_debts(emptied, debts, now)
