"""Starting a run for an OpenAI client, and waiting for its end as long as a request may."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from starlette.requests import Request

from shared import errors
from shared.api.openai.http import NO_RETRY
from shared.api.openai.objects import response_id
from shared.api.pacing import LONGEST
from shared.drivers.driver import Driver
from shared.errors import (
    AgentMismatch,
    PreviousResponseNotFound,
    ResponseNotFound,
    SessionBusy,
    SessionNotFound,
    StillRunning,
)
from shared.runs.commands.retries import note_abandoned, request_key, take_abandoned
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit as submit_run
from shared.runs.model.run import Run
from shared.wiring import App

RETRIED_WITHIN = timedelta(minutes=1)
"""How long after it hung up a client may send the same request again by itself: it waits some seconds at most."""

LOOK_GAP = 0.25
"""Seconds between two looks for an abandoned run."""

LOOK_SECONDS = 1.0
"""How long a retry looks for an abandoned run: a process sees up to half a second later that a caller hung up."""

LOOK_SECONDS_WHILE_HELD = 5.0
"""The same while this process holds the same request, whose caller has perhaps hung up unseen."""

START_PROBLEMS = (
    errors.ModelNotFound,
    errors.ApprovalUnsupported,
    errors.InvalidIdempotencyKey,
    errors.IdempotencyKeyReused,
    errors.RunDeleted,
    errors.TooManyActiveRuns,
    errors.TooManyViewers,
    ResponseNotFound,
    StillRunning,
)
"""What may be wrong with a request that starts a run, whichever it is."""

_held: Counter[str] = Counter()
"""How many callers of each request this process holds, from before the submit until their runs end."""


def loop_time() -> float:
    """Seconds of the event loop's clock."""
    return asyncio.get_running_loop().time()


def seconds_left(most: float, arrived: float) -> float:
    """How long a request that arrived at that ``loop_time`` may still be held, of the ``most`` it is to be held.

    The platform counts from the arrival, and a submit may take half a minute.
    """
    return min(most, LONGEST - (loop_time() - arrived))


async def start_run(request: Request, submission: Submission, app: App, driver: Driver) -> Run:
    """The run that is asked for: a new one, or the one that an earlier try of this request has started.

    Raises the errors of a submit, under the names of this API.
    """
    with _holding(submission):
        run = await _abandoned_run(request, submission, app) or await _submit(submission, app, driver)
        caller_waits = not (submission.background or submission.stream or run.terminal)
        if not caller_waits and await request.is_disconnected():  # `wait_for_end` checks those that wait
            await note_abandoned(app.ports, submission, run)
    return run


async def wait_for_end(request: Request, submission: Submission, run: Run, app: App, *, arrived: float) -> Run:
    """The run when it has ended. Raises ``StillRunning``, which names it, when a request may wait no longer.

    ``arrived`` is the ``loop_time`` at which the request came.
    """
    if run.terminal:
        return run
    # From the arrival: the client's own time-out runs since then, and a submit may take long.
    seconds = app.settings.api_wait - (loop_time() - arrived)
    with _holding(submission):
        seen = await app.watching.until(
            run.id, seconds, lambda now: now is None or now.run.terminal, gone=request.is_disconnected
        )
        if await request.is_disconnected():
            await note_abandoned(app.ports, submission, run)
    if seen is None:
        raise ResponseNotFound
    if not seen.run.terminal:
        name = response_id(run.id)
        raise StillRunning(
            f"The response {name} is not done within {app.settings.api_wait:g} seconds. It goes on: retrieve it by "
            "that id. Next time ask with `background: true`, which answers at once.",
            response_id=name,
            headers=NO_RETRY,
        )
    return seen.run


async def _submit(submission: Submission, app: App, driver: Driver) -> Run:
    try:
        submitted = await submit_run(app.ports, submission)
    # Callers know no sessions: they named a response.
    except (SessionNotFound, PreviousResponseNotFound):
        raise PreviousResponseNotFound(param="previous_response_id") from None
    except AgentMismatch as error:
        # Not to be repeated, as clients do after 409: it would fail in the same way.
        raise AgentMismatch(f"{error.message} `model` is that agent's name.", param="model", headers=NO_RETRY) from None
    except SessionBusy as error:
        active = error.details.get("active_run")
        # May be repeated: the other response may have ended by then.
        raise SessionBusy(
            "A response of this conversation is still running. Wait for it or cancel it, then send the request again.",
            active_response=None if active is None else response_id(active),
        ) from None
    await driver.start_run(submitted)
    return submitted.run


@contextlib.contextmanager
def _holding(submission: Submission) -> Iterator[None]:
    key = _held_key(submission)
    _held[key] += 1
    try:
        yield
    finally:
        _held[key] -= 1
        # A Counter keeps its zeros: without this it would grow with every request.
        if not _held[key]:
            del _held[key]


async def _abandoned_run(request: Request, submission: Submission, app: App) -> Run | None:
    """The run that an earlier try of this request started, when the client says that it sends it again.

    OpenAI's clients repeat a POST by themselves, without an ``Idempotency-Key``, and count that in
    ``x-stainless-retry-count``. They do so when no answer came in their own time, or an error did. So the run is one
    of the same owner and the same request whose caller was seen to hang up just before; each is given to one retry.
    A run that was answered is never given to anybody else, however alike the request: then there is a new one.
    A retry whose own caller hangs up starts nothing: the next retry looks in its place.
    """
    if submission.idempotency_key is not None or request.headers.get("x-stainless-retry-count", "0") in ("", "0"):
        return None
    since, begun = app.ports.clock() - RETRIED_WITHIN, loop_time()
    while True:
        if await request.is_disconnected():
            raise StillRunning("The caller of this repeat hung up. Send the request again.")
        # Held by another: its caller may have hung up, which is seen only at the next check.
        is_held = _held[_held_key(submission)] > 1  # by more than this retry itself
        is_last = loop_time() - begun >= (LOOK_SECONDS_WHILE_HELD if is_held else LOOK_SECONDS)
        run = await take_abandoned(app.ports, submission, since)
        if run is not None or is_last:
            return run
        await asyncio.sleep(LOOK_GAP)


def _held_key(submission: Submission) -> str:
    return f"{submission.owner} {request_key(submission)}"
