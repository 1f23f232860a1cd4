"""Requests that a client sends again by itself, and without a key that would say which one it repeats.

OpenAI's clients count their tries in ``x-stainless-retry-count``. So the app gives such a request a key of its own
before it does anything else, and notes it under what the request says. A later try takes the key of an earlier one that
it may repeat, and with it the run, however far that came.
"""

from __future__ import annotations

import contextlib
import secrets
from datetime import datetime, timedelta

from shared.runs.commands.submission import Submission
from shared.runs.model.ids import run_id
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.store.index import key_digest
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.tries import Try

ANSWERED_WITHIN = timedelta(seconds=15)
"""How long after its answer a try is repeated by a client that did not get it: it waits 8 seconds at most."""

LOST_WITHIN = timedelta(seconds=75)
"""The same after an error, whose ``Retry-After`` it follows up to a minute."""

UNFINISHED_WITHIN = timedelta(seconds=100)
"""The same for a try of which nothing is there: its process was stopped while it wrote the run."""

LONGEST = timedelta(minutes=15)
"""How old the first try may be: OpenAI's clients give each ten minutes."""


def request_key(submission: Submission) -> str:
    """What all tries of one request have in common."""
    # ``background`` is no part of the payload, which a key goes by. But a caller that waits wants another answer.
    return f"{submission.payload}{'-background' if submission.background else ''}"


async def begin_try(ports: Ports, submission: Submission, count: int) -> Try:
    """Note a try that repeats none that is known, under a fresh key."""
    key = secrets.token_hex(16)
    return await ports.index.tries.begin(
        submission.owner, request_key(submission), key=key, count=count, now=ports.clock()
    )


async def earlier_tries(ports: Ports, submission: Submission, count: int) -> list[Try]:
    """The tries that this one, after ``count`` others, may be a repeat of: first those whose loss is known."""
    now = ports.clock()
    found = await ports.index.tries.of(submission.owner, request_key(submission), now - LONGEST)
    return sorted((each for each in found if each.count < count), key=lambda each: not each.lost)


async def take_try(ports: Ports, submission: Submission, found: Try, count: int) -> Try | None:
    """The try as this one's. None when its client cannot be repeating it now, or another has taken it: once is all."""
    now = ports.clock()
    run = None if found.lost else await _run_of(ports, submission.owner, found)
    if not may_be_repeated(found, run, submission, now, ports.settings.create_timeout):
        return None
    return await ports.index.tries.change(submission.owner, found, count=count, at=now, lost=False)


def may_be_repeated(found: Try, run: Run | None, submission: Submission, now: datetime, create_timeout: float) -> bool:
    """Whether the client of a try may be sending it again now. ``run``: what became of it so far.

    An equal request is no repeat for being equal: somebody may ask the same every minute. So it counts only within the
    time that a client takes to notice that an answer was lost, and to try again.
    """
    age = now - found.at
    if found.lost:
        return age <= LOST_WITHIN
    if run is None:
        return age <= UNFINISHED_WITHIN
    if submission.background or submission.stream:  # answered as soon as it was there
        return age <= timedelta(seconds=create_timeout) + ANSWERED_WITHIN
    # Answered at its end, or at once where it had ended before.
    return run.completed_at is None or now - max(run.completed_at, found.at) <= ANSWERED_WITHIN


async def note_lost(ports: Ports, owner: str, mine: Try) -> None:
    """Note that the client did not get an answer, or one that it answers with another try. Best effort."""
    with contextlib.suppress(StoreUnavailable):
        await ports.index.tries.change(owner, mine, count=mine.count, at=ports.clock(), lost=True)


async def note_answered(ports: Ports, owner: str, mine: Try) -> None:
    """Note that the client has its answer though the run goes on, so that no later try is taken for a repeat."""
    with contextlib.suppress(StoreUnavailable):
        await ports.index.tries.forget(owner, mine)


async def _run_of(ports: Ports, owner: str, found: Try) -> Run | None:
    record = await ports.index.key(key_digest(owner, found.key))
    stored = None if record is None else await ports.runs.load(run_id(record.session_id, record.number))
    return None if stored is None else stored.value
