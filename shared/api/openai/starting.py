"""Starting a run for an OpenAI client, and waiting for its end as long as a request may."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.requests import Request

from shared import errors
from shared.api.openai.http import NO_RETRY
from shared.api.openai.objects import response_id
from shared.api.pacing import LONGEST
from shared.drivers.driver import Driver
from shared.errors import (
    AgentMismatch,
    AlreadyAnswered,
    DormouseError,
    PreviousResponseNotFound,
    ResponseNotFound,
    SessionBusy,
    SessionNotFound,
    StillRunning,
)
from shared.runs.commands.retries import begin_try, earlier_tries, note_answered, note_lost, take_try
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit as submit_run
from shared.runs.model.run import Run
from shared.runs.store.tries import Try
from shared.wiring import App

RETRY_COUNT = "x-stainless-retry-count"
"""The header in which OpenAI's clients say how many tries they have made before this one."""

LOOK_GAP = 0.25
"""Seconds between two looks for the try that is repeated."""

LOOK_SECONDS = 5.0
"""How long a repeat looks while this process holds an equal request, whose caller has perhaps hung up unseen."""

TRIES_LOOKED_AT = 20
"""Earlier tries of which a repeat reads what became of them."""

START_PROBLEMS = (
    errors.ModelNotFound,
    errors.InvalidIdempotencyKey,
    errors.IdempotencyKeyReused,
    errors.RunDeleted,
    errors.TooManyActiveRuns,
    errors.TooManyViewers,
    errors.IntakePaused,
    ResponseNotFound,
    StillRunning,
)
"""What may be wrong with a request that starts a run, whichever it is."""

_held: Counter[str] = Counter()
"""How many tries with each key this process holds, whose callers wait as far as it knows."""


def loop_time() -> float:
    """Seconds of the event loop's clock."""
    return asyncio.get_running_loop().time()


def seconds_left(most: float, arrived: float) -> float:
    """How long a request that arrived at that ``loop_time`` may still be held, of the ``most`` it is to be held.

    The platform counts from the arrival, and a submit may take half a minute.
    """
    return min(most, LONGEST - (loop_time() - arrived))


@contextlib.asynccontextmanager
async def one_of_its_tries(request: Request, submission: Submission, app: App) -> AsyncIterator[Submission]:
    """The submission with a key that all tries of this request share, as far as the client says that it repeats it.

    OpenAI's clients repeat a POST by themselves when its answer was an error or did not come. What becomes of this
    one is noted for the next: inside of this, it is to be answered.
    """
    given = request.headers.get(RETRY_COUNT, "")
    # One with a key of its own needs none, and who counts no tries says of none that it is a repeat.
    if submission.idempotency_key is not None or re.fullmatch(r"[0-9]{1,3}", given, re.ASCII) is None:
        yield submission
        return
    mine = await _try_of(request, submission, int(given), app)
    _held[mine.key] += 1
    try:
        yield replace(submission, idempotency_key=mine.key)
        if await request.is_disconnected():
            await note_lost(app.ports, submission.owner, mine)
    except DormouseError as error:
        if await request.is_disconnected() or error.status in (408, 409, 429) or error.status >= 500:
            await note_lost(app.ports, submission.owner, mine)
        elif isinstance(error, StillRunning):
            await note_answered(app.ports, submission.owner, mine)
        raise
    except Exception:
        await note_lost(app.ports, submission.owner, mine)
        raise
    finally:
        _held[mine.key] -= 1
        # A Counter keeps its zeros: without this it would grow with every request.
        if not _held[mine.key]:
            del _held[mine.key]


async def wait_for_end(request: Request, run: Run, app: App, *, arrived: float, instead: str) -> Run:
    """The run when it has ended. Raises ``StillRunning``, which names it, when a request may wait no longer.

    ``arrived`` is the ``loop_time`` at which the request came; ``instead`` says how to ask so that nobody waits.
    """
    if run.terminal:
        return run
    # From the arrival: the client's own time-out runs since then, and a submit may take long.
    seconds = app.settings.api_wait - (loop_time() - arrived)
    seen = await app.watching.until(
        run.id, seconds, lambda now: now is None or now.run.terminal, gone=request.is_disconnected
    )
    if seen is None:
        raise ResponseNotFound
    if not seen.run.terminal:
        name = response_id(run.id)
        raise StillRunning(
            f"The response {name} is not done within {app.settings.api_wait:g} seconds. It goes on: retrieve it by "
            f"that id from `/responses`. {instead}",
            response_id=name,
            headers=NO_RETRY,
        )
    return seen.run


async def start_run(submission: Submission, app: App, driver: Driver) -> Run:
    """The run that is asked for. Raises the errors of a submit, under the names of this API."""
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
            "The previous response is still running, and nothing can follow it yet. Wait for it or cancel it, then "
            "send the request again.",
            active_response=None if active is None else response_id(active),
        ) from None
    except AlreadyAnswered as error:
        # Not to be repeated either.
        raise AlreadyAnswered(error.message, param="input", headers=NO_RETRY) from None
    await driver.start_run(submitted)
    return submitted.run


async def _try_of(request: Request, submission: Submission, count: int, app: App) -> Try:
    """The try that this one repeats, as its own; else a new one."""
    begun, looked_at = loop_time(), set[tuple[str, bool]]()
    while count:
        held = False
        for each in await earlier_tries(app.ports, submission, count):
            if not each.lost and each.key in _held:
                held = True
            # Bounded: each costs reads, and a caller may have sent the same any number of times.
            elif (each.key, each.lost) not in looked_at and len(looked_at) < TRIES_LOOKED_AT:
                if (mine := await take_try(app.ports, submission, each, count)) is not None:
                    return mine
                looked_at.add((each.key, each.lost))
        # What is held here is not lost, unless its caller has hung up: that is seen up to half a second later.
        if not held or loop_time() - begun >= LOOK_SECONDS:
            break
        if await request.is_disconnected():
            # It starts nothing: the next try looks in its place.
            raise StillRunning("The caller of this repeat hung up. Send the request again.")
        await asyncio.sleep(LOOK_GAP)
    return await begin_try(app.ports, submission, count)
