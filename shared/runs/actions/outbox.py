"""Process the outbox: cancel and delete at the provider, send callbacks, delete rows here."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from shared.agentkit import faults
from shared.agentkit.agent import Agent, ResponseStatus
from shared.runs.actions import provider
from shared.runs.commit import Committed, commit
from shared.runs.concurrency import LostRace, side_by_side
from shared.runs.model.callbacks import NoShare, Sent, Share
from shared.runs.model.deliveries import Delivery, DeliveryState
from shared.runs.model.facts import CallbackClaimed, EntryName, OutboxDone, OutboxTried, ResponsesDeleted
from shared.runs.model.outbox import CallbackState, Entry, EntryKind
from shared.runs.model.phases import Ended
from shared.runs.model.run import Run
from shared.runs.ports import Ports, log
from shared.runs.rules import schedule
from shared.runs.rules.callbacks import NextStep, after_attempt, body_of, webhook_id
from shared.runs.rules.responses import LOST
from shared.runs.store.runs import DeliveryChange, Stored
from shared.runs.store.tables import Conflict
from shared.runs.traces import name_outcome, provider_request
from shared.telemetry import metrics
from shared.telemetry.spans import Kind

CANCEL_PATIENCE = timedelta(days=1)
LOST_TRIES = 8
"""Cancels of a response that its provider does not know, in about twenty minutes: it may know it again."""
PROVIDER_KEEPS = timedelta(days=30)
"""How long a provider keeps a response by itself: after that there is nothing left to delete."""
DELETES_A_WAKE = 16
DELETES_AT_ONCE = 8
"""Responses of one run that a wake deletes at the provider, and how many of them side by side."""
CLAIM_SECONDS = 60.0
"""How long a callback's attempt is one wake's: longer than a sender takes."""
LOG_KEEPS = 50
"""Rows of the delivery log that a run keeps: the newest."""


async def process(ports: Ports, stored: Stored[Run], entry: Entry, agent: Agent | None) -> Stored[Run] | None:
    """Try one entry; the run as it then is, None when that was its own row. Raises ``LostRace``."""
    match entry.kind:
        case EntryKind.CANCEL:
            return await _cancel(ports, stored, entry, agent)
        case EntryKind.DELETE:
            return await _delete_some(ports, stored, entry, agent)
        case EntryKind.CALLBACK:
            return await _call_back(ports, stored, entry)
        case EntryKind.ROWS:
            # Before its rows go: a list must not show a run that can no longer be read.
            await ports.index.unlist(ports.index.list_row_of(stored.value))
            await ports.runs.delete_rows(stored.value)
            return (await commit(ports, stored, OutboxDone(entry=name_of(entry)))).run
    # Once more: a late wake may have written parts since, and a late write the list's row.
    await ports.runs.delete_rows(stored.value)
    await ports.index.unlist(ports.index.list_row_of(stored.value))
    try:
        await ports.runs.delete_run(stored)
    except Conflict as error:
        raise LostRace(stored.value.id) from error
    return None


def name_of(entry: Entry) -> EntryName:
    """How facts name it."""
    return EntryName(kind=entry.kind, subject=entry.subject, since=entry.since)


async def cancel_at_once(ports: Ports, stored: Stored[Run], response_id: str | None, agent: Agent) -> Stored[Run]:
    """Cancel a response that was no longer wanted when it was created, and delete that of a deleted run.

    It costs money as long as it runs. What fails, or is cut off, is left to the next wake.
    """
    # In this order: a deleted response can no longer be cancelled, and may run on and be billed.
    for wanted in ((EntryKind.CANCEL, response_id), (EntryKind.DELETE, "")):
        ready = (each for each in stored.value.outbox.ready() if (each.kind, each.subject) == wanted)
        entry = next(ready, None)
        if entry is None or entry.due > ports.clock():
            break
        stored = await process(ports, stored, entry, agent) or stored
    return stored


async def _cancel(ports: Ports, stored: Stored[Run], entry: Entry, agent: Agent | None) -> Stored[Run]:
    run = stored.value
    try:
        with provider_request(ports, "cancel response", run.id):
            response = await provider.cancel(ports, entry.subject, agent)
        # A run was failed because its response was not found; it may run on all the same, so one 404 proves nothing.
        if response is None and run.result.error_code == LOST and entry.tries < LOST_TRIES:
            raise faults.ResponseMissing("The provider still does not know the response.", code=LOST)
    except faults.ProviderFault as fault:
        return await _later(ports, stored, entry, fault, CANCEL_PATIENCE)
    # A cancelled response has used tokens too: they are added to the run's usage.
    ended = response is not None and response.status is not ResponseStatus.PENDING
    usage = response.usage if response is not None and ended else None
    return (await commit(ports, stored, OutboxDone(entry=name_of(entry), usage=usage))).run


async def _delete_some(ports: Ports, stored: Stored[Run], entry: Entry, agent: Agent | None) -> Stored[Run]:
    """Delete some of the run's responses; one that is gone is forgotten, one that fails goes behind the others."""
    # A bounded share: a run of many turns must not keep its wake near functionTimeout.
    asked = stored.value.chain.response_ids[:DELETES_A_WAKE]
    answers = await side_by_side(asked, lambda each: _fault_of_delete(ports, each, agent), at_once=DELETES_AT_ONCE)
    failed = {each: fault for each, fault in zip(asked, answers, strict=True) if fault is not None}
    # As long as some are gone it is worth going on at once; where none is, the provider wants a pause.
    if failed and len(failed) == len(asked):
        fault = max(failed.values(), key=lambda each: each.retry_after or 0.0)
        return await _later(ports, stored, entry, fault, PROVIDER_KEEPS, failed=tuple(failed))
    gone = tuple(each for each in asked if each not in failed)
    fact = ResponsesDeleted(entry=name_of(entry), gone=gone, failed=tuple(failed))
    return (await commit(ports, stored, fact)).run


async def _fault_of_delete(ports: Ports, response_id: str, agent: Agent | None) -> faults.ProviderFault | None:
    """Delete one response at the provider: what went wrong, or None."""
    try:
        await provider.delete(ports, response_id, agent)
    except faults.ProviderFault as fault:
        return fault
    return None


async def _later(
    ports: Ports,
    stored: Stored[Run],
    entry: Entry,
    fault: faults.ProviderFault,
    patience: timedelta,
    *,
    failed: tuple[str, ...] = (),
) -> Stored[Run]:
    """Try it again with a backoff of its own, or give it up after so long. ``failed``: responses not deleted."""
    run, name = stored.value, name_of(entry)
    # Measured from when it came up, not in tries: a long outage has few of those.
    if ports.clock() - entry.since >= patience:
        what = entry.subject or ", ".join(run.chain.response_ids)
        log.error("run %s: gave up the %s of %s: %s", run.id, entry.kind, what, fault.for_log)
        return (await commit(ports, stored, OutboxDone(entry=name))).run
    # Whatever the provider asks for: a response that is not wanted costs money as long as it runs.
    gap = schedule.backoff(entry.tries + 1, first=5.0, most=900.0, jitter=ports.random())
    if failed:
        none_gone = ResponsesDeleted(entry=name, gone=(), failed=failed, seconds=gap)
        return (await commit(ports, stored, none_gone)).run
    return (await commit(ports, stored, OutboxTried(entry=name, seconds=gap))).run


# --- callbacks ---------------------------------------------------------------------------------------


async def _call_back(ports: Ports, stored: Stored[Run], entry: Entry) -> Stored[Run]:
    """Claim an attempt, make it, record what became of it. Raises ``LostRace`` when another wake makes it."""
    name = name_of(entry)
    # Attempts are counted before they are made, so a crash in the last one shows here.
    if entry.tries > len(schedule.CALLBACK_WAITS):  # the last one was cut off
        done = OutboxDone(entry=name, callback_state=CallbackState.GIVEN_UP)
        return (await commit(ports, stored, done)).run
    request = stored.value.request
    # Before the claim, which counts as an attempt: waiting for room must use none of them up.
    share = reserve(ports, request.callback_url, request.owner)
    if isinstance(share, NoShare):
        return (await commit(ports, stored, OutboxTried(entry=name, seconds=share.wait, counts=False))).run
    try:
        row = await _new_row(ports, stored.value, entry)
        claim = CallbackClaimed(entry=name, tries=entry.tries, seconds=CLAIM_SECONDS)
        # Written before it is sent: two wakes must not send side by side, and a crash must leave a trace.
        claimed = await commit(ports, stored, claim, beside=lambda _: row)
        if claimed.refused is not None:
            return claimed.run
        event_id, body = webhook_id(stored.value.id, entry.subject), _body(ports, stored.value, entry)
        with ports.telemetry.span("send callback", stored.value.id, kind=Kind.CLIENT) as span:
            sent = await make_attempt(ports, request.callback_url, event_id, body, share)
            name_outcome(span, entry.subject, sent)
    finally:
        share.release()
    tried = replace(entry, tries=entry.tries + 1)
    return await _record(ports, claimed, tried, sent)


async def _new_row(ports: Ports, run: Run, entry: Entry) -> DeliveryChange:
    index = run.outbox.deliveries
    row = Delivery(
        session_id=run.request.session_id,
        number=run.request.number,
        index=index,
        event=entry.subject,
        attempt=entry.tries + 1,
        sent_at=ports.clock(),
    )
    # The log is bounded in the same write: a caller may ask for callbacks again without end.
    oldest = await ports.runs.delivery(run, index - LOG_KEEPS) if index >= LOG_KEEPS else None
    return DeliveryChange(before=None, after=row, oldest=oldest)


def _body(ports: Ports, run: Run, entry: Entry) -> str:
    # Fixed times only: every attempt at an event must send the same body.
    at = run.phase.completed_at if isinstance(run.phase, Ended) else entry.since
    return body_of(run, entry.subject, at, f"{ports.settings.base_url}/api/runs/{run.id}")


async def _record(ports: Ports, claimed: Committed, entry: Entry, sent: Sent) -> Stored[Run]:
    """What became of the attempt, in the outbox and in its row of the log; a deleted run has neither any more."""
    age = (ports.clock() - entry.since).total_seconds()
    next_step = after_attempt(sent, tries=entry.tries, age=age, jitter=ports.random())
    name = name_of(entry)
    fact: OutboxDone | OutboxTried = OutboxTried(entry=name, seconds=next_step.wait, counts=False)
    if next_step.state is not None:
        fact = OutboxDone(entry=name, callback_state=next_step.state)
    row, run_id = claimed.beside, claimed.run.value.id
    assert row is not None

    def ended_row(after: Run) -> DeliveryChange:
        ended = replace(
            row.value,
            state=DeliveryState.DELIVERED if sent.ok else DeliveryState.FAILED,
            http_status=sent.status,
            fault=sent.fault,
            seconds=round(sent.seconds, 3),
            next_try_at=next((each.due for each in after.outbox if each.is_about(entry)), None),
        )
        return DeliveryChange(before=row, after=ended)

    # One transaction: a log that disagrees with the outbox would show a callback sent that is due again.
    recorded = await commit(ports, claimed.run, fact, beside=ended_row)
    if recorded.refused is None:
        log_attempt(f"run {run_id}", entry, sent, next_step)
    return recorded.run


def reserve(ports: Ports, url: str | None, owner: str) -> Share | NoShare:
    """Room for an attempt, to be had before the claim is written; where there is none it is put off."""
    return _NoSender() if ports.sender is None or url is None else ports.sender.reserve(url, owner)


async def make_attempt(ports: Ports, url: str | None, event_id: str, body: str, share: Share) -> Sent:
    """One attempt under a claim that is written. One that crashes has failed like any other."""
    if ports.sender is None or url is None:
        return Sent(fault="callbacks_disabled")
    try:
        sent = await ports.sender.send(url, event_id, body, share)
    except Exception:
        log.exception("%s could not be sent", event_id)
        sent = Sent(fault="internal_error")
    ports.telemetry.measure(metrics.CALLBACKS, 1, {metrics.OUTCOME: "delivered" if sent.ok else "failed"})
    return sent


class _NoSender:
    """Room for an attempt that reaches nobody: the app sends no callbacks any more."""

    def release(self) -> None:
        """Nothing was taken."""


def log_attempt(who: str, entry: Entry, sent: Sent, next_step: NextStep) -> None:
    """One line in the app's log; not the address, which may hold a secret of the caller's."""
    what = "is tried again" if next_step.state is None else next_step.state.value
    is_fine = next_step.state in (None, CallbackState.DELIVERED)
    log.log(
        logging.INFO if is_fine else logging.WARNING,
        "%s: callback %s, attempt %d: %s, %s",
        who,
        entry.subject,
        entry.tries,
        sent.fault or sent.status,
        what,
    )
