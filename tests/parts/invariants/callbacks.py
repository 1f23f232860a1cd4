"""What receivers are told: at least once, always the same, and only what happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from shared.runs.model.outbox import CallbackState, EntryKind
from shared.runs.model.phases import RunStatus
from shared.runs.rules.callbacks import webhook_id
from tests.parts.invariants.seen import Receipt, Seen


def one_body_and_id_an_event(seen: Seen) -> Iterator[str]:
    """All deliveries of one event carry one id and one body, byte by byte."""
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for receipt in seen.received:
        bodies[receipt.webhook_id].add(receipt.raw)
    for event_id, different in bodies.items():
        if len(different) > 1:
            yield f"{event_id} came with {len(different)} different bodies"
    events: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for receipt in seen.received:
        events[_event_of(receipt)].add(receipt.webhook_id)
    for event, ids in events.items():
        if len(ids) > 1:
            yield f"{event} came under {sorted(ids)}"


def _event_of(receipt: Receipt) -> tuple[str, ...]:
    body = receipt.body
    return body["type"], body["data"]["id"], body["timestamp"]


def callbacks_tell_what_happened(seen: Seen) -> Iterator[str]:
    """A callback tells of a status that the run really came to."""
    for receipt in seen.received:
        data = receipt.body["data"]
        if data.get("object") != "run" or data["id"] not in seen.versions:
            continue
        statuses = {run.status.value for run in seen.versions[data["id"]]}
        wanted = RunStatus(data["status"])
        # A pause is over by the time when only the last row is known.
        is_known = wanted.terminal or len(seen.versions[data["id"]]) > 1
        if is_known and data["status"] not in statuses:
            yield f"{data['id']} was told to be {data['status']}, and was {sorted(statuses)}"


def callbacks_arrive(seen: Seen) -> Iterator[str]:
    """At rest whoever is to be told of a run's end was told, or refused, or was tried until that was given up."""
    received = {receipt.webhook_id for receipt in seen.received}
    for run in seen.runs.values():
        if run.request.callback_url is None or not run.terminal or run.is_deleted:
            continue
        if run.outbox.of(EntryKind.CALLBACK):
            continue  # `everything_ends` tells of it
        if run.outbox.callback_state is None:
            yield f"{run.id} has ended, and nobody was told, nor will be"
        if (
            run.outbox.callback_state is CallbackState.DELIVERED
            and webhook_id(run.id, run.status.value) not in received
        ):
            yield f"{run.id} counts its callback as delivered, and nobody got it"
    for delivery in seen.deliveries:
        if delivery.number < 1:
            yield f"a delivery of {delivery.session_id} is no run's"
