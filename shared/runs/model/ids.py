"""Ids: what they carry, and which texts are none."""

from __future__ import annotations

import re

# ASCII and no leading zero: each run has one id only, and a caller's text can name no other row.
_RUN_ID = re.compile(r"run_([0-9a-f]{32})_([1-9][0-9]{0,7})", re.ASCII)
_BATCH_ID = re.compile(r"batch_[0-9a-f]{32}", re.ASCII)
_SCHEDULE_ID = re.compile(r"schedule_[0-9a-f]{32}", re.ASCII)
_SESSION_DUE = re.compile(r"session_([0-9a-f]{32})", re.ASCII)


def run_id(session_id: str, number: int) -> str:
    """The id of the ``number``-th run of a session. It carries its partition, so that a point read finds the run."""
    return f"run_{session_id}_{number}"


def parse_run_id(text: str) -> tuple[str, int] | None:
    """Session id and number of a run id; None when it is none."""
    match = _RUN_ID.fullmatch(text)
    return (match[1], int(match[2])) if match else None


def due_row_of(session_id: str) -> str:
    """What a deleted session is called in the due rows."""
    # Due rows of runs, batches and sessions share a table: the prefix tells them apart.
    return f"session_{session_id}"


def session_of_due_row(name: str) -> str | None:
    """The session whose deletion a due row is about; None when it is about a run, or a batch."""
    match = _SESSION_DUE.fullmatch(name)
    return match[1] if match else None


def is_session_id(text: str) -> bool:
    """Whether it has the shape of a session id of ours."""
    return re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII) is not None


def batch_id(name: str) -> str:
    """The id of a batch from its 32 hex digits."""
    return f"batch_{name}"


def is_batch_id(text: str) -> bool:
    """Whether it has the shape of a batch's id."""
    return _BATCH_ID.fullmatch(text) is not None


def is_schedule_id(text: str) -> bool:
    """Whether it has the shape of a schedule's id."""
    return _SCHEDULE_ID.fullmatch(text) is not None
