"""What a record is not told has not happened: rows that lack a property are read so, and facts are made so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from shared.runs.actions import outcome
from shared.runs.commands import submission
from shared.runs.model import (
    batch,
    batch_facts,
    callbacks,
    calls,
    deliveries,
    facts,
    journal,
    listed,
    outbox,
    phases,
    run,
    session,
)
from shared.runs.queries import conversation
from shared.runs.rules import decide
from shared.runs.store import due, index, slots, tables
from shared.runs.watching import views
from tests.parts.cases import cases

MODULES = (
    batch,
    batch_facts,
    callbacks,
    calls,
    conversation,
    decide,
    deliveries,
    due,
    facts,
    index,
    journal,
    listed,
    outbox,
    outcome,
    phases,
    run,
    session,
    slots,
    submission,
    tables,
    views,
)

OTHERWISE: dict[str, object] = {
    "BatchItem.schema": run.SCHEMA,
    "BatchSummary.concurrency": 1,
    "ClientText.whole": True,  # a viewer begins with the text
    "Delivery.schema": run.SCHEMA,
    "Delivery.state": deliveries.DeliveryState.SENDING,
    "ItemResult.ran": True,
    "ItemResult.schema": run.SCHEMA,
    "Line.count": 1,
    "OutboxTried.counts": True,
    "Request.background": True,
    "ResponseCreated.cancellable": True,
    "Rule.is_progress": True,  # but for rights, whatever happens ends a row of crashes
    "Session.next_number": 1,
    "Session.schema": run.SCHEMA,
    "Submission.background": True,
    "ToolCall.approval": calls.Approval.NONE,
    "ToolCall.kind": calls.CallKind.FUNCTION,
    "ToolCall.schema": run.SCHEMA,
    "ToolCall.state": calls.CallState.OPEN,
    "Turn.number": 1,
}
"""What is otherwise, with its reason where the name does not give it."""


def records() -> Iterator[type[Any]]:
    for module in MODULES:
        for each in vars(module).values():
            if isinstance(each, type) and is_dataclass(each) and each.__module__ == module.__name__:
                yield each


def default_of(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return None if field.default_factory is MISSING else field.default_factory()


@cases("record", records())
def test_what_is_not_said_has_not_happened(record: type[Any]) -> None:
    for field in fields(record):
        default, name = default_of(field), f"{record.__name__}.{field.name}"
        if name in OTHERWISE:
            assert default == OTHERWISE[name], name
        elif not is_dataclass(default):
            assert not default, name


def test_every_exception_is_one() -> None:
    known = {f"{record.__name__}.{field.name}" for record in records() for field in fields(record)}
    assert set(OTHERWISE) <= known
