"""``/api/health``: is it alive; ``/api/health/deep``: is it well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal, NotRequired, TypeVar

from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from shared import settings, wiring
from shared.agentkit.faults import ProviderFault
from shared.agentkit.redaction import for_callers
from shared.api.operations import Answer, operation
from shared.errors import Misconfigured as MisconfiguredError
from shared.runs.ports import log
from shared.runs.queries.health import DueCounts, check_format, due_counts
from shared.runs.store.tables import StoreUnavailable
from shared.runs.store.unreadable import RowTooOld, RowUnreadable
from shared.wiring import App

CHECK_SECONDS = 10.0
# Short: a probe for liveness must not wait for a storage that hangs.
FORMAT_SECONDS = 2.0

T = TypeVar("T")


class Health(TypedDict):
    """Whether the app is alive."""

    status: Literal["ok"]
    """Always `ok`: another answer has another status code."""


class Misconfigured(TypedDict):
    """A setting is malformed, the agents cannot be built, or old rows are in the tables; the sentence says which."""

    status: Literal["misconfigured"]
    """Always `misconfigured`."""

    detail: str
    """Which setting, and what is wrong with it."""


class StorageCheck(TypedDict):
    """Whether storage answers."""

    status: Literal["ok", "unwell"]
    """`unwell` when it does not answer in time."""

    detail: NotRequired[str]
    """What is wrong; not there when nothing is."""

    watched: NotRequired[int]
    """Due rows: runs, batches and deletions still to come back to; up to 1,000."""

    quarantined: NotRequired[int]
    """Rows that this version cannot read; counted up to 1,000."""


class ProviderCheck(TypedDict):
    """Whether the model provider answers."""

    status: Literal["ok", "unwell"]
    """`unwell` when it does not answer in time, or refuses."""

    detail: NotRequired[str]
    """What is wrong; not there when nothing is."""


class SettingsCheck(TypedDict):
    """Whether all settings are known."""

    status: Literal["ok", "warning"]
    """`warning` when some are unknown, which makes nothing unwell."""

    unknown: list[str]
    """Names that begin with `DORMOUSE_` and mean nothing to this version."""


class Checks(TypedDict):
    """What was tried."""

    storage: StorageCheck
    """Table Storage."""

    provider: ProviderCheck
    """The model provider."""

    settings: SettingsCheck
    """The app's settings."""


class DeepHealth(TypedDict):
    """Whether the app is well: storage, provider and settings, each tried now."""

    status: Literal["ok", "unwell"]
    """`unwell` when storage or provider is."""

    driver: Literal["durable", "timer"]
    """What wakes the runs."""

    checks: Checks
    """What was tried, and what came of it."""


@operation(
    tag="about",
    answers={
        200: Answer(text="It is.", shape=Health),
        503: Answer(
            text="A setting is malformed, the agents cannot be built, or rows have an old format.", shape=Misconfigured
        ),
    },
    bare=True,
    acts_for="nobody",
)
async def get_health() -> Response:
    """Is it alive?

    Needs no key, and opens no connection.
    """
    try:
        wiring.served()
        if (app := wiring.opened()) is not None:  # rows are read, once, where something else has opened the storage
            await _check_format(app)
    except MisconfiguredError as error:
        wrong: Misconfigured = {"status": "misconfigured", "detail": error.message}
        return JSONResponse(wrong, status_code=503, headers={"Cache-Control": "no-store"})
    alive: Health = {"status": "ok"}
    return JSONResponse(alive, headers={"Cache-Control": "no-store"})


async def _check_format(app: App) -> None:
    """Raises ``MisconfiguredError`` for rows of an earlier format. Whether the storage answers is not asked here."""
    try:
        async with asyncio.timeout(FORMAT_SECONDS):
            await check_format(app.ports)
    except RowTooOld as error:
        log.error("health: %s", error)
        raise MisconfiguredError(str(error)) from error
    except (StoreUnavailable, RowUnreadable, TimeoutError) as error:
        log.warning("health: the format of the rows could not be looked at: %s", error or "no answer")


@operation(
    tag="about",
    answers={
        200: Answer(text="It is.", shape=DeepHealth),
        503: Answer(text="Something is not.", shape=DeepHealth),
    },
    security=("functionKey",),
    acts_for="nobody",
)
async def get_health_deep(app: App) -> Response:
    """Is it well?

    Storage, provider and settings, each tried now. Always needs a function key in Azure.
    """
    # Side by side: each may take its whole ten seconds.
    storage, provider = await asyncio.gather(_storage(app), _provider(app))
    unknown = settings.unknown_names()
    well = storage["status"] == provider["status"] == "ok"
    body: DeepHealth = {
        "status": "ok" if well else "unwell",
        "driver": app.settings.driver,
        "checks": {
            "storage": storage,
            "provider": provider,
            "settings": {"status": "warning" if unknown else "ok", "unknown": unknown},
        },
    }
    return JSONResponse(body, status_code=200 if well else 503, headers={"Cache-Control": "no-store"})


async def _storage(app: App) -> StorageCheck:
    found = await _tried(due_counts(app.ports))
    if isinstance(found, DueCounts):
        return {"status": "ok", "watched": found.watched, "quarantined": found.quarantined}
    return {"status": "unwell", "detail": found}


async def _provider(app: App) -> ProviderCheck:
    # One is enough: all agents share the provider.
    agent = next(iter(app.ports.agents.values()))
    wrong = await _tried(agent.check(timeout=CHECK_SECONDS))
    return {"status": "ok"} if wrong is None else {"status": "unwell", "detail": wrong}


async def _tried(check: Awaitable[T]) -> T | str:
    """What it found, or a sentence that says what is wrong."""
    try:
        # Later than the check's own limit, whose error says more.
        async with asyncio.timeout(CHECK_SECONDS + 1.0):
            return await check
    except ProviderFault as fault:
        log.warning("health: the provider: %s", fault.message)
        return fault.for_callers
    except StoreUnavailable as error:
        log.warning("health: the storage: %s", error)
        # The service's own text may hold addresses and signatures.
        return for_callers(str(error))
    except RowUnreadable as error:
        log.warning("health: the rows: %s", error)
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} seconds"
