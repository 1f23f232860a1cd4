"""What the histories must have seen, so that none of it could go wrong unseen."""

from __future__ import annotations

import typing
from collections import Counter
from dataclasses import fields

from shared.runs.model import facts
from tests.histories.rates import Rates

FACTS = tuple(sorted(fact.__name__ for fact in typing.get_args(facts.Fact)))
PHASES = ("Scheduled", "Creating", "Pending", "RunningTools", "WaitingForAnswers", "Ended")
COMMANDS = (
    "submit",
    "follow",
    "resend",
    "answer",
    "cancel",
    "delete",
    "delete_session",
    "redeliver",
    "webhook",
    "submit_batch",
    "cancel_batch",
    "delete_batch",
    "retain",
    "time_passes",
    "drain",
    "pause",
    "create_schedule",
    "change_schedule",
    "delete_schedule",
)
ENDS = ("completed", "incomplete", "cancelled", "deadline_exceeded", "answer_timeout", "turn_limit", "server_error")
OTHERS = (
    "process cut",
    "tool start",
    "purged",
    "polled for a sweep",
    "checked between writes",
    "driver durable",
    "driver timer",
    "run that left calls to its caller",
    "run resumed",
    "outputs brought",
    "approvals brought",
    "refused tool_outputs_missing",
    "run started late",
    "schedule that went on",
)

WANTED = (
    *(f"fact {name}" for name in FACTS),
    *(f"phase {name}" for name in PHASES),
    *(f"command {name}" for name in COMMANDS),
    *(f"fault {each.name}" for each in fields(Rates) if each.name != "cut"),
    *(f"end {name}" for name in ENDS),
    *OTHERS,
)


def least(histories: int) -> int:
    """How often each must have been seen in so many histories."""
    return max(1, histories // 2_000)


def uncovered(seen: Counter[str], histories: int) -> list[str]:
    """What was seen too seldom."""
    return [f"{name}: {seen[name]} of {least(histories)}" for name in WANTED if seen[name] < least(histories)]
