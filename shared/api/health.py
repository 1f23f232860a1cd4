"""``/api/health``: is it alive; ``/api/health/deep``: is it well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from azurefunctions.extensions.http.fastapi import JSONResponse

from shared import settings, wiring
from shared.agentkit.faults import ProviderFault
from shared.agentkit.redaction import for_callers
from shared.errors import Misconfigured
from shared.runs.ports import log
from shared.runs.store.tables import StoreUnavailable
from shared.wiring import App

CHECK_SECONDS = 10.0


def alive() -> Any:
    """``GET /api/health``: 200, or 503 with a sentence: a malformed setting, or agents that cannot be built.

    Opens no connection, and imports no client.
    """
    try:
        wiring.served()
    except Misconfigured as error:
        body = {"status": "misconfigured", "detail": error.message}
        return JSONResponse(body, status_code=503, headers={"Cache-Control": "no-store"})
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})


async def deep(app: App) -> Any:
    """``GET /api/health/deep``: storage, provider and settings, each tried now. 503 when one is not well."""
    storage, provider = await asyncio.gather(_tried(lambda: _storage(app)), _tried(lambda: _provider(app)))
    unknown = settings.unknown_names()
    checks = {
        "storage": storage,
        "provider": provider,
        "settings": {"status": "warning" if unknown else "ok", "unknown": unknown},
    }
    well = storage["status"] == provider["status"] == "ok"
    body = {"status": "ok" if well else "unwell", "driver": app.settings.driver, "checks": checks}
    return JSONResponse(body, status_code=200 if well else 503, headers={"Cache-Control": "no-store"})


async def _storage(app: App) -> dict[str, Any]:
    watched, aside = await app.ports.due.count()  # one page of each: a check costs the same however many there are
    return {"watched": watched, "quarantined": aside}


async def _provider(app: App) -> dict[str, Any]:
    agent = next(iter(app.ports.agents.values()))
    await agent.check(timeout=CHECK_SECONDS)
    return {}


async def _tried(check: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_SECONDS + 1.0):
            return {"status": "ok", **await check()}
    except ProviderFault as fault:
        log.warning("health: the provider: %s", fault.message)
        return {"status": "unwell", "detail": fault.for_callers}
    except StoreUnavailable as error:
        log.warning("health: the storage: %s", error)
        return {"status": "unwell", "detail": for_callers(str(error))}
    except TimeoutError:
        return {"status": "unwell", "detail": f"no answer within {CHECK_SECONDS:g} seconds"}
