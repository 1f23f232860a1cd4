"""Defects of the core, planted by name one at a time: each must be found, or a rule proves nothing.

A defect replaces functions of the core in this process, where whoever calls them looks them up.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest import mock

from shared.runs.model import facts
from shared.runs.model.calls import CallState
from shared.runs.model.outbox import CallbackState, EntryKind, Outbox
from shared.runs.model.phases import Creating, Ended, Pending, RunningTools, RunStatus, Scheduled
from shared.runs.model.run import PartRef
from shared.runs.rules.change import Change, Refused, fail
from shared.runs.rules.decide import TABLE

Make = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect. ``places``: what is replaced, as ``module:name``, and what makes the new from the old."""

    name: str
    breaks: str
    """The rule that it is planted against."""

    sentence: str
    """What is wrong with the code."""

    places: tuple[tuple[str, Make], ...]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The code as it is with the defect."""
        with ExitStack() as stack:
            for place, make in self.places:
                stack.enter_context(_replaced(place, make))
            yield


@contextmanager
def _replaced(place: str, make: Make) -> Iterator[None]:
    module_name, _, name = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    *path, last = name.split(".")
    for each in path:
        owner = getattr(owner, each)
    with mock.patch.object(owner, last, make(getattr(owner, last))):
        yield


def _rule(fact: type[Any], make: Make, **more: Any) -> tuple[str, Make]:
    """The rule of a fact, replaced in the table."""

    def changed(table: dict[Any, Any]) -> dict[Any, Any]:
        line = table[fact]
        return {**table, fact: replace(line, decide=make(line.decide), **more)}

    return "shared.runs.rules.decide:TABLE", changed


# --- what is made of the functions ------------------------------------------------------------------------


def _cancels_what_has_ended(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        run = before.run
        if not isinstance(run.phase, Ended) or run.is_deleted:
            return decide(before, fact, now, settings)
        return Change(run=replace(run, phase=replace(run.phase, status=RunStatus.CANCELLED)))

    return defect


def _begins_anew_while_it_thinks(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        run, response = before.run, fact.answer.response
        if isinstance(run.phase, Pending) and response.continuation_token is not None and not run.turn.restarts:
            return Change(run=replace(run, phase=Creating(), turn=replace(run.turn, restarts=1)))
        return decide(before, fact, now, settings)

    return defect


def _claims_what_is_claimed(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        run = before.run
        if isinstance(run.phase, Creating):
            turn = replace(run.turn, attempt=max(0, fact.attempt.number - 1))
            run = replace(run, turn=turn, phase=replace(run.phase, claim=None, not_before=None))
        return decide(replace(before, run=run), fact, now, settings)

    return defect


def _counts_no_attempt(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        decision = decide(before, fact, now, settings)
        if not isinstance(decision, Change) or fact.attempt.number < 2:
            return decision
        turn = replace(decision.run.turn, attempt=before.run.turn.attempt)
        return replace(decision, run=replace(decision.run, turn=turn))

    return defect


def _ends_without_a_cancel(end_run: Any) -> Any:
    def defect(run: Any, *rest: Any, **more: Any) -> Any:
        pending = isinstance(run.phase, Pending)
        return end_run(replace(run, phase=Creating()) if pending else run, *rest, **more)

    return defect


def _takes_a_lease_that_holds(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        run = before.run
        free = replace(run, phase=replace(run.phase, lease=None))
        calls = tuple(
            replace(call, state=CallState.OPEN) if call.state is CallState.FINISHED else call for call in before.calls
        )
        return decide(replace(before, run=free, calls=calls), fact, now, settings)

    return defect


def _repeats_what_is_at_most_once(taken: Any) -> Any:
    def defect(call: Any, fact: Any, now: Any, settings: Any, **more: Any) -> Any:
        tools = {name: replace(tool, at_most_once=False) for name, tool in fact.tools.items()}
        return taken(call, replace(fact, tools=tools), now, settings, **more)

    return defect


def _asks_nobody(calls_of: Any) -> Any:
    def defect(run: Any, answer: Any, now: Any) -> Any:
        return tuple(replace(call, state=CallState.OPEN) for call in calls_of(run, answer, now))

    return defect


def _asks_nobody_later(taken: Any) -> Any:
    def defect(call: Any, fact: Any, now: Any, settings: Any, **more: Any) -> Any:
        tools = {name: replace(tool, requires_approval=False) for name, tool in fact.tools.items()}
        return taken(call, replace(fact, tools=tools), now, settings, **more)

    return defect


def _moves_on_whatever_the_end(session_after: Any) -> Any:
    def defect(session: Any, after: Any, chain: str) -> Any:
        moved = session_after(session, after, chain)
        return moved if after.is_deleted else replace(moved, response_id=after.chain.last_response_id)

    return defect


def _stays_busy(session_after: Any) -> Any:
    def defect(session: Any, after: Any, chain: str) -> Any:
        moved = session_after(session, after, chain)
        return replace(moved, active_run=session.active_run) if after.status is RunStatus.FAILED else moved

    return defect


def _tells_another_time(message: Any) -> Any:
    made = iter(range(10**9))

    def defect(kind: str, at: Any, data: Any) -> Any:
        return message(kind, at + timedelta(milliseconds=next(made)), data)

    return defect


def _tells_that_it_completed(body_of: Any) -> Any:
    def defect(run: Any, event: str, at: Any, url: str) -> Any:
        return body_of(run, event, at, url).replace('"failed"', '"completed"').replace('"cancelled"', '"completed"')

    return defect


def _starts_what_is_for_later(agenda: Any) -> Any:
    def defect(run: Any) -> Any:
        if isinstance(run.phase, Scheduled):
            run = replace(run, phase=replace(run.phase, not_before=run.request.created_at))
        return agenda(run)

    return defect


def _starts_at_any_time(started: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        run = replace(before.run, phase=replace(before.run.phase, not_before=now))
        return started(replace(before, run=run), fact, now, settings)

    return defect


def _tells_nobody_of_failures(with_callback: Any) -> Any:
    def defect(run: Any, now: Any) -> Any:
        return run if run.status is RunStatus.FAILED else with_callback(run, now)

    return defect


def _counts_as_delivered_first(claimed: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        decision = claimed(before, fact, now, settings)
        if isinstance(decision, Refused):
            return decision
        outbox: Outbox = decision.run.outbox
        entry = outbox.named(fact.entry.kind, fact.entry.subject, fact.entry.since)
        gone = replace(outbox.dropping(entry), callback_state=CallbackState.DELIVERED) if entry else outbox
        return replace(decision, run=replace(decision.run, outbox=gone))

    return defect


def _removes_due_row_of_what_is_not_over(_: Any) -> Any:
    async def defect(ports: Any, row: Any, due: Any, to_list: Any, listing: Any = None) -> Any:
        await ports.due.remove(row, ports.clock())
        return row

    return defect


def _never(_: Any) -> Any:
    return ()


def _dates_far_ahead(dated: Any) -> Any:
    def defect(self: Any, due: Any, now: Any, **more: Any) -> Any:
        return dated(self, due + timedelta(days=2), now, **more)

    return defect


def _writes_no_parts(store_text: Any) -> Any:
    async def defect(tables: Any, session_id: str, number: int, text: str, **more: Any) -> Any:
        return text if len(text) < 20_000 else PartRef("00" * 16, 1, text[:10])

    return defect


def _fails_at_the_first_refusal(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        awaited = isinstance(decide(before, fact, now, settings), Change)
        return fail(before.run, now, fact.fault.code, "no") if awaited else Refused()

    return defect


def _forgets_tools_at_work(agenda: Any) -> Any:
    def defect(run: Any) -> Any:
        return () if isinstance(run.phase, RunningTools) else agenda(run)

    return defect


def _lists_no_end(after_change: Any) -> Any:
    async def defect(ports: Any, before: Any, after: Any, listing: Any) -> Any:
        return listing if after.status.terminal else await after_change(ports, before, after, listing)

    return defect


def _keeps_items(delete_rows: Any) -> Any:
    async def defect(self: Any, run: Any) -> None:
        await delete_rows(self, replace(run, request=replace(run.request, number=99)))

    return defect


def _keeps_the_copies(decide: Any) -> Any:
    def defect(before: Any, fact: Any, now: Any, settings: Any) -> Any:
        decision = decide(before, fact, now, settings)
        if isinstance(decision, Refused):
            return decision
        return replace(decision, run=replace(decision.run, outbox=decision.run.outbox.without(EntryKind.DELETE)))

    return defect


def _keeps_title_and_preview(without: Any) -> Any:
    def defect(self: Any) -> Any:
        gone = without(self)
        return replace(gone, request=replace(gone.request, preview=self.request.preview, title=self.request.title))

    return defect


def _counts_ends_twice(decide_batch: Any) -> Any:
    def defect(batch: Any, fact: Any, *rest: Any) -> Any:
        decision = decide_batch(batch, fact, *rest)
        results = getattr(decision, "results", ())
        if not any(each.status is RunStatus.COMPLETED for each in results):
            return decision
        progress = replace(decision.batch.progress, completed=decision.batch.progress.completed + 1)
        return replace(decision, batch=replace(decision.batch, progress=progress))

    return defect


_ALWAYS_LISTED: tuple[str, Make] = ("shared.drivers.due_times:_is_right", lambda _: lambda row, to_list: True)
_ENDS = {phase: (*after, Ended) for phase, after in TABLE[facts.NotCreated].leads.items()}

DEFECTS = (
    Defect(
        "cancel-after-the-end",
        "terminal_is_terminal",
        "A cancel ends a run that has ended.",
        (_rule(facts.CancelRequested, _cancels_what_has_ended, stays=True),),
    ),
    Defect(
        "begin-anew-while-it-thinks",
        "one_response_at_a_time",
        "A response that is pending is taken for one that failed, and another is made.",
        (_rule(facts.Looked, _begins_anew_while_it_thinks),),
    ),
    Defect(
        "claim-what-is-claimed",
        "one_request_an_attempt",
        "Who lost the race for a claim decides again, and sends too.",
        (
            _rule(facts.Claimed, _claims_what_is_claimed),
            ("shared.runs.model.facts:Right", lambda _: ()),
        ),
    ),
    Defect(
        "count-no-attempt",
        "attempts_are_counted_and_bounded",
        "The second attempt of a turn is not counted.",
        (_rule(facts.Claimed, _counts_no_attempt),),
    ),
    Defect(
        "end-without-a-cancel",
        "known_orphans_are_cancelled",
        "A run that is cancelled leaves its response running.",
        (("shared.runs.rules.change:end_run", _ends_without_a_cancel),),
    ),
    Defect(
        "run-finished-tools-again",
        "finished_tools_run_once",
        "Whoever takes the lease runs every call, and takes it while another holds it.",
        (_rule(facts.LeaseTaken, _takes_a_lease_that_holds),),
    ),
    Defect(
        "repeat-at-most-once",
        "finished_tools_run_once",
        "An interrupted call is repeated, whatever its tool says.",
        (("shared.runs.rules.tools:_taken", _repeats_what_is_at_most_once),),
    ),
    Defect(
        "ask-nobody",
        "guarded_tools_run_when_approved",
        "A call that needs approval is started without.",
        (
            ("shared.runs.rules.responses:calls_of", _asks_nobody),
            ("shared.runs.rules.tools:_taken", _asks_nobody_later),
        ),
    ),
    Defect(
        "move-on-after-a-failure",
        "session_at_its_last_good_point",
        "A session continues from a run that failed.",
        (("shared.runs.commit:session_after", _moves_on_whatever_the_end),),
    ),
    Defect(
        "stay-busy",
        "one_active_run_a_session",
        "A run that failed stays the session's active one.",
        (("shared.runs.commit:session_after", _stays_busy),),
    ),
    Defect(
        "another-time-in-each-callback",
        "one_body_and_id_an_event",
        "The body of a callback has the time of its sending.",
        (("shared.runs.rules.callbacks:message", _tells_another_time),),
    ),
    Defect(
        "callback-of-another-status",
        "callbacks_tell_what_happened",
        "A callback tells that the run completed, whatever became of it.",
        (("shared.runs.actions.outbox:body_of", _tells_that_it_completed),),
    ),
    Defect(
        "no-callback-of-failures",
        "callbacks_arrive",
        "A run that fails tells nobody.",
        (("shared.runs.rules.change:with_callback", _tells_nobody_of_failures),),
    ),
    Defect(
        "delivered-before-it-is-sent",
        "callbacks_arrive",
        "A callback counts as delivered when its attempt begins.",
        (_rule(facts.CallbackClaimed, _counts_as_delivered_first),),
    ),
    Defect(
        "drop-the-due-row",
        "every_row_has_somebody_who_looks",
        "The due row goes after any wake.",
        (
            ("shared.drivers.sweep:due_at", _removes_due_row_of_what_is_not_over),
            ("shared.drivers.activity:set_due_at", _removes_due_row_of_what_is_not_over),
        ),
    ),
    Defect(
        "due-row-too-late",
        "every_row_has_somebody_who_looks",
        "Due rows are dated two days too late.",
        (("shared.runs.store.due:DueRow.dated", _dates_far_ahead),),
    ),
    Defect(
        "name-parts-that-are-not-written",
        "nothing_that_a_row_names_is_missing",
        "A long value is referred to, and not written.",
        (("shared.runs.store.parts:store_text", _writes_no_parts),),
    ),
    Defect(
        "start-at-once",
        "later_runs_begin_once_and_in_time",
        "A run that was submitted for later starts as soon as somebody looks.",
        (
            ("shared.runs.rules.agenda:agenda", _starts_what_is_for_later),
            _rule(facts.Started, _starts_at_any_time),
        ),
    ),
    Defect(
        "fail-at-the-first-refusal",
        "status_as_without_the_fault",
        "A run fails when the provider refuses its request for a moment.",
        (_rule(facts.NotCreated, _fails_at_the_first_refusal, leads=_ENDS),),
    ),
    Defect(
        "no-wake-for-tools",
        "everything_ends",
        "Nobody comes back to a run whose tools are to run.",
        (("shared.runs.rules.agenda:agenda", _forgets_tools_at_work),),
    ),
    Defect(
        "hand-out-for-good",
        "every_row_has_somebody_who_looks",
        "What a sweep hands out is never due again.",
        (("shared.drivers.handing_out:AHEAD", lambda _: timedelta(days=365)),),
    ),
    Defect(
        "list-no-ends",
        "lists_show_what_is",
        "The list is not told when a run ends, and nobody looks after it.",
        (("shared.runs.commit:after_change", _lists_no_end), _ALWAYS_LISTED),
    ),
    Defect(
        "keep-the-rows",
        "nothing_of_what_was_purged",
        "What belongs to a deleted run stays where it is.",
        (("shared.runs.store.runs:RunStore.delete_rows", _keeps_items),),
    ),
    Defect(
        "keep-the-copies",
        "nothing_of_what_was_purged",
        "The provider's copies of a deleted run stay there.",
        (_rule(facts.Deleted, _keeps_the_copies),),
    ),
    Defect(
        "keep-title-and-preview",
        "nothing_private_after_deletion",
        "A tombstone keeps the beginning of what its caller wrote.",
        (("shared.runs.model.run:Run.without_content", _keeps_title_and_preview),),
    ),
    Defect(
        "count-items-twice",
        "batch_counts_agree_with_results",
        "A batch counts an item that completed twice.",
        (("shared.runs.batches.commit:decide_batch", _counts_ends_twice),),
    ),
)
"""All that are planted: at least one against each rule."""

BY_NAME = {defect.name: defect for defect in DEFECTS}
