"""Starting a run for an OpenAI client, and waiting for its end as long as a request may."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from shared.agentkit.agent import Item
from shared.api.pacing import LONGEST
from shared.api.v1.errors import NO_RETRY
from shared.api.v1.names import response_id
from shared.api.v1.output import Said, turns_of
from shared.drivers.durable import Hub
from shared.errors import (
    AgentMismatch,
    PreviousResponseNotFound,
    ResponseNotFound,
    SessionBusy,
    SessionNotFound,
    StillRunning,
)
from shared.runs.run import Run
from shared.runs.submission import Submission
from shared.wiring import App

REPEATED_WITHIN = timedelta(minutes=15)
"""How long after a request its client may still repeat it by itself: its timeout is 10 minutes by default."""
LOOK_BACK = 50
"""How many of an owner's newest runs are looked at for the one that a repeated request has started."""


async def begin(request: Any, wanted: Submission, app: App, hub: Hub) -> Run:
    """The run that was asked for: a new one, or the one that this request has started before.

    Raises the errors of a submit, in the words of this API.
    """
    before = await _started_before(request, wanted, app)
    if before is not None:
        return before
    try:
        submitted = await app.submissions.submit(wanted)
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
    await app.signals.started(submitted, hub)
    return submitted.run


def moment() -> float:
    """Now, in the seconds of the process."""
    return asyncio.get_running_loop().time()


def seconds_left(most: float, since: float) -> float:
    """How long a request that came then may still be held, which is to be held for ``most`` after its submit.

    The submit counts for the platform, and may take half a minute.
    """
    return min(most, LONGEST - (moment() - since))


async def finished(request: Any, run: Run, app: App, *, since: float) -> Run:
    """The run when it has ended. Raises ``StillRunning``, which names it, after the longest that a request may wait.

    ``since`` is the ``moment`` at which the request came.
    """
    if run.terminal:
        return run
    seen = await app.viewing.until(
        run.id,
        app.settings.api_wait - (moment() - since),
        lambda now: now is None or now.run.terminal,
        gone=request.is_disconnected,
    )
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


async def now(run: Run, app: App) -> Run:
    """The run as it is. Raises ``ResponseNotFound`` when it was deleted."""
    stored = await app.services.store.load(run.id)
    if stored is None or stored.value.deleted_at is not None:
        raise ResponseNotFound
    return stored.value


async def said_in(run: Run, app: App) -> list[Said]:
    """What the agent said in each turn of the run so far. Raises ``ResponseNotFound`` for one deleted meanwhile."""
    try:
        return turns_of(await app.services.store.appended_items(run))
    except LookupError:
        await now(run, app)
        raise


async def given_to(run: Run, app: App) -> list[Item]:
    """The run's input. Raises ``ResponseNotFound`` for one deleted meanwhile."""
    try:
        return await app.services.store.given_items(run)
    except LookupError:
        await now(run, app)
        raise


async def _started_before(request: Any, wanted: Submission, app: App) -> Run | None:
    """The run of the same request, when the client says that it sends it again.

    OpenAI's clients repeat a POST by themselves, without an ``Idempotency-Key``, and count that in
    ``x-stainless-retry-count``. An equal request of the same owner shortly before is that one, if there is just one:
    where several were alike, nobody can tell, and a second run does less harm than another one's answer.
    """
    if wanted.idempotency_key is not None or request.headers.get("x-stainless-retry-count", "0") in ("", "0"):
        return None
    since = app.services.clock() - REPEATED_WITHIN
    places, _ = await app.services.index.page(wanted.owner, None, LOOK_BACK)
    found: list[Run] = []
    for place in places:
        stored = await app.services.store.load(place.run_id)
        if stored is None or stored.value.submission != place.submission or stored.value.deleted_at is not None:
            continue
        if stored.value.created_at < since:
            break
        if await _is_of(stored.value, wanted, app):
            found.append(stored.value)
    return found[0] if len(found) == 1 else None


async def _is_of(run: Run, wanted: Submission, app: App) -> bool:
    """Whether that request would have made this run."""
    if run.agent != wanted.agent or run.metadata != dict(wanted.metadata):
        return False
    if (run.follows, run.background, run.stream) != (wanted.previous, wanted.background, wanted.stream):
        return False
    if run.number > 1 and run.session_id != wanted.session_id:
        return False
    try:
        return tuple(await given_to(run, app)) == wanted.items
    except ResponseNotFound:
        return False
