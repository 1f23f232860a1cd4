"""Requests that a client sends again by itself and without an idempotency key, because it hung up on the first try.

A try whose caller hung up leaves a note of its run; the next try of the same request takes the note and the run.
"""

from __future__ import annotations

import contextlib
from datetime import datetime

from shared.runs.commands.submission import Submission
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.store.tables import StoreUnavailable


def request_key(submission: Submission) -> str:
    """What all tries of one request have in common."""
    # ``background`` is no part of the payload, which a key goes by. But a caller that waits wants another answer.
    return f"{submission.payload}{'-background' if submission.background else ''}"


async def note_abandoned(ports: Ports, submission: Submission, run: Run) -> None:
    """Note that the caller of this request hung up before it got the id of its run. Best effort."""
    # Without a note the next try begins a run of its own, as any request without a key does.
    with contextlib.suppress(StoreUnavailable):
        await ports.index.leave_unanswered(submission.owner, request_key(submission), run.id, ports.clock())


async def take_abandoned(ports: Ports, submission: Submission, since: datetime) -> Run | None:
    """The run of a try of this request that was abandoned since then; None without one. No other try gets it too.

    Raises ``StoreUnavailable``.
    """
    run_id = await ports.index.take_unanswered(submission.owner, request_key(submission), since)
    stored = None if run_id is None else await ports.runs.load_visible(run_id)
    return None if stored is None else stored.value
