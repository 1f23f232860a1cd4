"""Starting a run for an OpenAI client, and waiting for its end as long as a request may."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from shared.agentkit.agent import Item
from shared.api.pacing import LONGEST
from shared.api.v1.errors import NO_RETRY
from shared.api.v1.names import response_id
from shared.api.v1.output import Said, turns_of, words_of
from shared.drivers.driver import Driver
from shared.errors import (
    AgentMismatch,
    PreviousResponseNotFound,
    ResponseNotFound,
    SessionBusy,
    SessionNotFound,
    StillRunning,
)
from shared.runs.commands.submission import Submission
from shared.runs.commands.submit import submit as submit_run
from shared.runs.model.run import Run
from shared.runs.store.tables import StoreUnavailable
from shared.wiring import App

REPEATED_WITHIN = timedelta(minutes=1)
"""How long after it hung up a client may send the same request again by itself: it waits some seconds at most."""
LOOK_GAP = 0.25
LOOKS_SECONDS = 1.0
"""How long a repeat looks for a caller that hung up: whoever holds the request sees it up to half a second later."""
HELD_SECONDS = 5.0
"""The same while this process holds the same request: it has not seen yet whether its caller is there."""

_held: Counter[str] = Counter()
"""How many callers of each request this process holds: from before the submit until their runs end."""


async def begin(request: Any, wanted: Submission, app: App, driver: Driver) -> Run:
    """The run that was asked for: a new one, or the one that an earlier try of this request has started.

    Raises the errors of a submit, in the words of this API.
    """
    with _holding(wanted):
        run = await _left_before(request, wanted, app) or await _submitted(wanted, app, driver)
        held = not (wanted.background or wanted.stream or run.terminal)  # then whoever waits sees it
        if not held and await request.is_disconnected():
            await _note_unanswered(wanted, run, app)
    return run


async def _submitted(wanted: Submission, app: App, driver: Driver) -> Run:
    try:
        submitted = await submit_run(app.ports, wanted)
    except (SessionNotFound, PreviousResponseNotFound):
        raise PreviousResponseNotFound(param="previous_response_id") from None
    except AgentMismatch as error:
        raise AgentMismatch(f"{error.message} `model` is that agent's name.", param="model", headers=NO_RETRY) from None
    except SessionBusy as error:
        active = error.details.get("active_run")
        raise SessionBusy(
            "A response of this conversation is still running. Wait for it or cancel it, then send the request again.",
            active_response=None if active is None else response_id(active),
        ) from None
    await driver.started(submitted)
    return submitted.run


def moment() -> float:
    """Now, in the seconds of the process."""
    return asyncio.get_running_loop().time()


def seconds_left(most: float, since: float) -> float:
    """How long a request that came then may still be held, which is to be held for ``most`` after its submit.

    The submit counts for the platform, and may take half a minute.
    """
    return min(most, LONGEST - (moment() - since))


async def finished(request: Any, wanted: Submission, run: Run, app: App, *, since: float) -> Run:
    """The run when it has ended. Raises ``StillRunning``, which names it, after the longest that a request may wait.

    ``since`` is the ``moment`` at which the request came.
    """
    if run.terminal:
        return run
    seconds = app.settings.api_wait - (moment() - since)
    with _holding(wanted):
        seen = await app.watching.until(
            run.id, seconds, lambda now: now is None or now.run.terminal, gone=request.is_disconnected
        )
        if await request.is_disconnected():  # seen meanwhile, or just before the end
            await _note_unanswered(wanted, run, app)
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


@contextlib.contextmanager
def _holding(wanted: Submission) -> Iterator[None]:
    same = _same_as(wanted)
    _held[same] += 1
    try:
        yield
    finally:
        _held[same] -= 1
        if not _held[same]:
            del _held[same]


async def now(run: Run, app: App) -> Run:
    """The run as it is. Raises ``ResponseNotFound`` when it was deleted."""
    stored = await app.ports.runs.load(run.id)
    if stored is None or stored.value.is_deleted:
        raise ResponseNotFound
    return stored.value


async def said_in(run: Run, app: App) -> list[Said]:
    """What the agent said in each turn of the run so far. Raises ``ResponseNotFound`` for one deleted meanwhile."""
    try:
        return turns_of([words_of(items) async for items in app.ports.runs.each_appended(run)])
    except LookupError:
        await now(run, app)
        raise


async def given_to(run: Run, app: App) -> list[Item]:
    """The run's input. Raises ``ResponseNotFound`` for one deleted meanwhile."""
    try:
        return await app.ports.runs.given_items(run)
    except LookupError:
        await now(run, app)
        raise


async def _left_before(request: Any, wanted: Submission, app: App) -> Run | None:
    """The run that the first try of this request started, when the client says that it sends it again.

    OpenAI's clients repeat a POST by themselves, without an ``Idempotency-Key``, and count that in
    ``x-stainless-retry-count``. They do so when no answer came in their own time, or an error did. So the run is one
    of the same owner and the same request whose caller was seen to hang up just before; each is given to one repeat.
    A run that was answered is never given to anybody else, however alike the request: then there is a new one.
    A repeat whose own caller hangs up starts nothing: the next repeat looks in its place.
    """
    if wanted.idempotency_key is not None or request.headers.get("x-stainless-retry-count", "0") in ("", "0"):
        return None
    since, begun = app.ports.clock() - REPEATED_WITHIN, moment()
    while True:
        if await request.is_disconnected():
            raise StillRunning("The caller of this repeat hung up. Send the request again.")
        last = moment() - begun >= (HELD_SECONDS if _held[_same_as(wanted)] > 1 else LOOKS_SECONDS)
        name = await app.ports.index.take_unanswered(wanted.owner, _request_of(wanted), since)
        stored = None if name is None else await app.ports.runs.load_visible(name)
        if stored is not None or last:
            return None if stored is None else stored.value
        await asyncio.sleep(LOOK_GAP)


async def _note_unanswered(wanted: Submission, run: Run, app: App) -> None:
    """The caller hung up: should its client send the request again, this is its run. Best effort."""
    with contextlib.suppress(StoreUnavailable):
        await app.ports.index.leave_unanswered(wanted.owner, _request_of(wanted), run.id, app.ports.clock())


def _same_as(wanted: Submission) -> str:
    return f"{wanted.owner} {_request_of(wanted)}"


def _request_of(wanted: Submission) -> str:
    """What two tries of one request have in common."""
    return f"{wanted.payload}{'-background' if wanted.background else ''}"
