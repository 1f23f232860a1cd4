"""The outbox: what becomes of its entries, in any phase."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from shared.errors import NoCallback, RunNotEnded
from shared.runs.model.facts import (
    CallbackClaimed,
    CallbackRequested,
    EntryName,
    OutboxDone,
    OutboxTried,
    ResponsesDeleted,
)
from shared.runs.model.outbox import Entry, EntryKind
from shared.runs.model.run import Run
from shared.runs.rules.change import Before, Change, Decision, Refused, later, with_callback
from shared.settings import Settings


def _named(run: Run, name: EntryName) -> Entry | None:
    return run.outbox.named(name.kind, name.subject, name.since)


def callback_claimed(before: Before, fact: CallbackClaimed, now: datetime, settings: Settings) -> Decision:
    """The attempt is counted before it is made, so that no two wakes make it side by side, and a crash is seen."""
    run = before.run
    entry = _named(run, fact.entry)
    # The count tells whether another wake has made an attempt since this one read the row.
    if entry is None or entry.tries != fact.tries or now < entry.due:
        return Refused("claimed")
    claim = replace(entry, tries=entry.tries + 1, due=later(now, fact.seconds))
    outbox = run.outbox.replacing(entry, claim)
    return Change(run=replace(run, outbox=replace(outbox, deliveries=outbox.deliveries + 1)))


def outbox_tried(before: Before, fact: OutboxTried, now: datetime, settings: Settings) -> Decision:
    """Later, with a backoff of its own."""
    run = before.run
    entry = _named(run, fact.entry)
    if entry is None:
        return _of_the_past(run, fact.entry)
    # Waiting for room is no try: it must not use up the attempts of a callback.
    put_off = replace(entry, tries=entry.tries + fact.counts, due=later(now, fact.seconds))
    return Change(run=replace(run, outbox=run.outbox.replacing(entry, put_off)))


def outbox_done(before: Before, fact: OutboxDone, now: datetime, settings: Settings) -> Decision:
    """The entry goes. A tombstone no longer counts usage."""
    run = before.run
    entry = _named(run, fact.entry)
    if entry is None:
        return _of_the_past(run, fact.entry)
    outbox = run.outbox.dropping(entry)
    if fact.callback_state is not None:
        outbox = replace(outbox, callback_state=fact.callback_state)
    counters = run.counters
    if fact.usage is not None and not run.is_deleted:
        counters = replace(counters, usage=counters.usage + fact.usage)
    return Change(run=replace(run, outbox=outbox, counters=counters))


def _of_the_past(run: Run, name: EntryName) -> Decision:
    """The run stays as it is; the outcome of an attempt at a callback is still written into its row of the log."""
    return Change(run=run) if name.kind is EntryKind.CALLBACK and not run.is_deleted else Refused()


def responses_deleted(before: Before, fact: ResponsesDeleted, now: datetime, settings: Settings) -> Decision:
    """Each known response until it is deleted, however many there are; nothing is left to delete after the last."""
    run = before.run
    entry = _named(run, fact.entry)
    if entry is None:
        return Refused()
    tried = {*fact.gone, *fact.failed}
    left = tuple(each for each in run.chain.response_ids if each not in tried)
    # Behind the others, so that one that always fails does not keep them all.
    left += tuple(each for each in fact.failed if each in run.chain.response_ids)
    # Some were deleted, so the provider is well: the rest needs no wait.
    again = replace(entry, tries=0, due=now)
    if not fact.gone:
        again = replace(entry, tries=entry.tries + 1, due=later(now, fact.seconds))
    outbox = run.outbox.replacing(entry, again) if left else run.outbox.dropping(entry)
    return Change(run=replace(run, chain=replace(run.chain, response_ids=left), outbox=outbox))


def callback_requested(before: Before, fact: CallbackRequested, now: datetime, settings: Settings) -> Decision:
    """The callback of the run's end anew, from the first attempt on, whatever became of it before."""
    run = before.run
    if run.request.callback_url is None:
        return Refused("no_callback", NoCallback())
    if not run.terminal:
        return Refused("run_not_ended", RunNotEnded(status_of_run=run.status.value))
    # A caller who asks again has mended the receiver, even one that had answered 410.
    outbox = replace(run.outbox.without(EntryKind.CALLBACK), callback_state=None)
    return Change(run=with_callback(replace(run, outbox=outbox), now))
