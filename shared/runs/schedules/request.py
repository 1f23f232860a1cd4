"""What a schedule's runs ask for, as its row has it, and as a submission of one occurrence."""

from __future__ import annotations

import json
from datetime import datetime

from shared.runs.commands.submission import AssignedIds, Submission
from shared.runs.model.schedules import RunSchedule, fingerprint_of_occurrence, session_of_occurrence

FIELDS = (
    "items",
    "model",
    "stream",
    "title",
    "deadline_seconds",
    "turns",
    "tool_calls",
    "total_tokens",
    "callback_url",
)
"""Of a submission, besides the metadata; agent and owner are the schedule's."""

MAX_CHARACTERS = 48_000
"""Of the JSON: it stands in the row, which every wake reads."""


def request_of(wanted: Submission) -> str:
    """What the row has of a request."""
    held = {name: getattr(wanted, name) for name in FIELDS}
    given = {name: value for name, value in held.items() if value not in (None, False)}
    return json.dumps({**given, "metadata": dict(wanted.metadata)}, ensure_ascii=False)


def submission_of(schedule: RunSchedule, occurrence: datetime | None = None) -> Submission:
    """The request for a run, of this occurrence if one is named."""
    held = json.loads(schedule.request)
    assigned = None
    if occurrence is not None:
        assigned = AssignedIds(
            session_id=session_of_occurrence(schedule.id, occurrence),
            fingerprint=fingerprint_of_occurrence(schedule.id, occurrence),
            since=occurrence,
        )
    return Submission(
        owner=schedule.owner,
        agent=schedule.agent,
        assigned=assigned,
        **{**held, "items": tuple(held["items"])},
    )
