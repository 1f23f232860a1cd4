"""Callbacks: what a caller is told of a run (or a batch), and what follows from how that was taken. Pure.

The form is that of Standard Webhooks (https://www.standardwebhooks.com): a thin body, an id that stays the same over
all attempts, 2xx is success, 410 disables, anything else is tried again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shared.runs import schedule
from shared.runs.run import SCHEMA, CallbackState, Debt, Owed, Run, RunStatus

GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How a receiver took it: the HTTP status, or a word for why there is none.

    ``retry_after`` in seconds, where it asked for that; ``seconds`` is how long it took.
    """

    status: int | None = None
    fault: str | None = None
    retry_after: float | None = None
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class Place(Protocol):
    """Room for one attempt."""

    def give_back(self) -> None:
        """Let others have it. What still goes on of the attempt (a look-up of a name) keeps it until that is over."""
        ...


@dataclass(frozen=True, slots=True)
class NoPlace:
    """There is no room now; look again in ``wait`` seconds."""

    wait: float


class Sender(Protocol):
    """Signs and sends. Knows no run: whatever else has something to tell can use it."""

    def problem(self, url: str) -> str | None:
        """Why nothing is ever sent to this address (``must …``), as far as it can be told without resolving it."""
        ...

    def reserve(self, url: str, owner: str) -> Place | NoPlace:
        """Room for one attempt, unless as many are under way as may be: to this host, of this owner, or in all."""
        ...

    async def send(self, url: str, webhook_id: str, body: str, place: Place) -> Sent:
        """One attempt. Raises nothing: what went wrong is in the result."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt: an end, or else the next one in ``wait`` seconds."""

    state: CallbackState | None
    wait: float = 0.0


def judge(sent: Sent, *, tries: int, age: float, luck: float) -> Verdict:
    """What follows from the ``tries``-th attempt, of an event ``age`` seconds ago."""
    if sent.ok:
        return Verdict(CallbackState.DELIVERED)
    if sent.status == GONE:
        return Verdict(CallbackState.DISABLED)
    wait = schedule.callback_wait(tries, age=age, retry_after=sent.retry_after, luck=luck)
    return Verdict(CallbackState.GIVEN_UP) if wait is None else Verdict(None, wait)


def settled(debts: tuple[Debt, ...], claim: Debt, verdict: Verdict, now: datetime) -> tuple[Debt, ...]:
    """What is owed after an attempt under this claim: no more of it, or the next one when it is due."""
    if verdict.state is not None:
        return tuple(debt for debt in debts if debt != claim)
    return swapped(debts, claim, replace(claim, due=now + timedelta(seconds=verdict.wait)))


def put_off(debts: tuple[Debt, ...], debt: Debt, now: datetime, wait: float) -> tuple[Debt, ...]:
    """The debts with this one due in ``wait`` seconds: there was no room to send it. That is no attempt."""
    return swapped(debts, debt, replace(debt, due=now + timedelta(seconds=wait)))


def swapped(debts: tuple[Debt, ...], debt: Debt, other: Debt) -> tuple[Debt, ...]:
    """The debts with the other in the place of this one."""
    return tuple(other if each == debt else each for each in debts)


class DeliveryState(StrEnum):
    """Where one attempt stands. One that stays ``sending`` was cut off by a crash: nobody knows how it was taken."""

    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt, as the run's log has it. ``attempt`` counts from 1 and begins anew with a redelivery."""

    session_id: str
    number: int
    index: int
    event: str
    attempt: int
    sent_at: datetime
    state: DeliveryState = DeliveryState.SENDING
    http_status: int | None = None
    fault: str | None = None
    seconds: float | None = None
    next_try_at: datetime | None = None
    schema: int = SCHEMA


def event_of(run: Run) -> str:
    """The event that the run's status is. Each pause for answers is one of its own."""
    return f"{run.status.value}_{run.turn}" if run.status is RunStatus.REQUIRES_ACTION else run.status.value


def type_of(event: str) -> str:
    """The event's type, as receivers know it: ``run.completed``."""
    return "run." + re.sub(r"_[0-9]+$", "", event)


def webhook_id(run_id: str, event: str) -> str:
    """The same for every attempt to tell of this event."""
    return f"msg_{run_id}_{event}"


def body_of(run: Run, event: str, at: datetime, url: str) -> str:
    """What is sent: that something happened at ``at``, and where to read what. Never text of the run."""
    data = {
        "id": run.id,
        "object": "run",
        "status": run.status.value,
        "url": url,
        "session_id": run.session_id,
        "metadata": run.metadata,
    }
    return message(type_of(event), at, data)


def message(kind: str, at: datetime, data: Mapping[str, object]) -> str:
    """The body of an event of this type: the same for every attempt."""
    stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": stamp, "data": data}, ensure_ascii=False)


class Teller(Protocol):
    """A run, or a batch: something that may owe a callback."""

    @property
    def debts(self) -> tuple[Debt, ...]:
        """All that it owes."""
        ...

    @property
    def callback_state(self) -> CallbackState | None:
        """What became of the last callback."""
        ...


def status_of(teller: Teller) -> str | None:
    """Where its callbacks stand, in a word for callers: ``pending``, or what became of the last one."""
    if due_of(teller) is not None:
        return "pending"
    return None if teller.callback_state is None else teller.callback_state.value


def due_of(teller: Teller) -> datetime | None:
    """When its callback is next due; None when it owes none."""
    return next((debt.due for debt in teller.debts if debt.kind is Owed.CALLBACK), None)
