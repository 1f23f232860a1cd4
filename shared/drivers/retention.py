"""Retention: what nobody has used for long goes, here and at the provider. A timer's work, safe to repeat."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from shared.drivers.durable import Hub
from shared.drivers.signals import Signals
from shared.runs.batches.deletion import BatchDeletion
from shared.runs.deletion import Deletion
from shared.runs.services import Services, log
from shared.runs.store.tables import StoreUnavailable

HISTORY_KEPT = timedelta(days=7)


class Retention:
    """Expires idle sessions and old batches, finishes those deleted, forgets old keys and orchestration histories."""

    def __init__(self, services: Services, deletion: Deletion, signals: Signals, batches: BatchDeletion) -> None:
        self._services = services
        self._deletion = deletion
        self._signals = signals
        self._batches = batches

    async def run(self, hub: Hub) -> Counter[str]:
        """One pass, within the sweep's time limit; what it does not reach, the next one does."""
        services, settings = self._services, self._services.settings
        done: Counter[str] = Counter()
        now = services.clock()
        idle = timedelta(seconds=settings.retention)
        try:
            async with asyncio.timeout(settings.sweep_limit):
                lifetime = timedelta(seconds=settings.idempotency_key_lifetime)
                done["keys"] = await services.index.remove_keys_older_than(now - lifetime)
                async for batch in services.batches.over_since(now - idle):
                    if await self._batches.delete(batch.id, runs=False):
                        await self._signals.woken(batch.id, hub)
                        done["batches"] += 1
                async for session in services.store.sessions_idle_since(now - idle):
                    try:
                        for run_id in await self._deletion.expire(session, idle):
                            await self._signals.woken(run_id, hub)
                            done["runs"] += 1
                        done["sessions"] += 1
                    except StoreUnavailable:
                        raise
                    except Exception:
                        log.exception("session %s: retention could not handle it", session.session_id)
                        done["failed"] += 1
                # Last, because it is the host's: one with too much of it to purge in time must not keep anything here.
                done["histories"] = await hub.purge_before(now - HISTORY_KEPT)
        except TimeoutError:
            log.warning("retention ran into its limit of %g s", settings.sweep_limit)
            done["cut_off"] += 1
        log.info("retention: %s", dict(done))
        return done
