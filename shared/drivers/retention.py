"""Retention: deletes what nobody has used for long, here and at the provider. Run by a timer, safe to repeat.

The kinds of rows are handled side by side, so that none delays another. The position of a pass that is cut off is
stored, and the next pass continues there. A deleted session has a due row of its own, by which the sweep removes it, so
that retention leaves it alone at first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from shared.drivers.driver import Driver
from shared.runs.batches.delete import delete_batch
from shared.runs.commands.delete import AFTER_ITS_RUNS, expire, tombstone_kept
from shared.runs.concurrency import LostRace, side_by_side
from shared.runs.model.session import Session
from shared.runs.ports import Ports, log
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Conflict, Row, StoreUnavailable
from shared.telemetry import metrics

HISTORY_KEPT = timedelta(days=7)
DELETED_GRACE = timedelta(hours=1)
"""How long a deleted session that is not finished yet is left to the sweep."""
PAGE = 200
"""Rows between two writes of the position: as many may be handled again after a pass was cut off."""

T = TypeVar("T")
Pages = Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]]


async def retain(ports: Ports, driver: Driver) -> Counter[str]:
    """One pass: expire idle sessions and old batches, finish deletions, remove old idempotency keys and histories.

    Nothing of it is begun while the app drains.
    """
    if await ports.controls.is_draining(ports.clock()):
        return Counter()
    return await _Pass(ports, driver).run()


class _Pass:
    """One pass over everything that may be old."""

    def __init__(self, ports: Ports, driver: Driver) -> None:
        self._ports = ports
        self._settings = ports.settings
        self._driver = driver

    async def run(self) -> Counter[str]:
        """One pass, within the sweep's time limit; what it does not reach, the next one does.

        Raises the first error, once all kinds have been handled.
        """
        done: Counter[str] = Counter()
        now = self._ports.clock()
        kinds = [self._keys, self._old_batches, self._sessions, self._histories]
        ended: list[BaseException | None] = []
        try:
            async with asyncio.timeout(self._settings.sweep_limit):
                ended = await asyncio.gather(*(kind(now, done) for kind in kinds), return_exceptions=True)
        except TimeoutError:
            log.warning("retention ran into its limit of %g s", self._settings.sweep_limit)
            done["cut_off"] += 1
        log.info("retention: %s", dict(done))
        for what, count in done.items():
            self._ports.telemetry.measure(metrics.RETAINED, count, {metrics.OUTCOME: what})
        for error in ended:
            if error is not None:
                raise error
        return done

    async def _keys(self, now: datetime, done: Counter[str]) -> None:
        before = now - timedelta(seconds=self._settings.idempotency_key_lifetime)

        async def handle(row: Row) -> None:
            await self._ports.index.remove(row)
            done["keys"] += 1

        await self._each("keys", lambda at: self._ports.index.keys_older_than(before, place=at, size=PAGE), handle)

    async def _old_batches(self, now: datetime, done: Counter[str]) -> None:
        before = now - timedelta(seconds=self._settings.retention)

        async def handle(batch_id: str) -> None:
            # Its runs stay: a session that is still in use may hold them, and goes by its own age.
            if await delete_batch(self._ports, batch_id, runs=False):
                await self._driver.wake(batch_id)
                done["batches"] += 1

        await self._each(
            "batches",
            lambda at: self._ports.batches.over_since(before, place=at, size=PAGE),
            lambda batch_id: self._safely(batch_id, handle(batch_id), done),
        )

    async def _sessions(self, now: datetime, done: Counter[str]) -> None:
        idle = timedelta(seconds=self._settings.retention)
        removed = tombstone_kept(self._settings) + AFTER_ITS_RUNS

        def page(place: str | None) -> Awaitable[tuple[Sequence[Session], str | None]]:
            return self._ports.runs.sessions_to_expire(
                idle_since=now - idle,
                # Both are past what the sweep does by itself: only what it has lost is found here.
                left_since=now - DELETED_GRACE,
                kept_since=now - removed - DELETED_GRACE,
                place=place,
                size=PAGE,
            )

        async def handle(session: Session) -> None:
            subjects = await expire(self._ports, session, idle)
            if subjects and session.deleted_at is None:
                log.info("session %s expires", session.session_id)
                done["sessions"] += 1
            done["runs"] += len(subjects)
            for each in subjects:
                await self._driver.wake(each)

        await self._each("sessions", page, lambda session: self._safely(session.session_id, handle(session), done))

    async def _histories(self, now: datetime, done: Counter[str]) -> None:
        done["histories"] = await self._driver.hub.purge_before(now - HISTORY_KEPT)

    async def _each(self, name: str, page: Pages[T], handle: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        """Handle all pages from the stored position on; store the position after each page."""
        kept = place = await self._ports.index.saved_cursor(name)
        while True:
            found, place = await page(place)
            await side_by_side(found, handle, at_once=self._settings.sweep_concurrency)
            # Nothing to store where everything fits into one page, as it does most of the time.
            if place != kept:
                await self._ports.index.save_cursor(name, place)
                kept = place
            if place is None or await self._ports.controls.is_draining(self._ports.clock()):
                return

    async def _safely(self, subject: str, work: Coroutine[Any, Any, None], done: Counter[str]) -> None:
        """An error with one must not keep the others from being handled; only an outage of the store ends the pass."""
        try:
            await work
        except KeyUnavailable as error:  # of this one; that of another may be there
            log.error("%s: retention waits for its encryption key: %s", subject, error)
            done["no_key"] += 1
        except StoreUnavailable:
            raise
        except (Conflict, LostRace) as error:
            log.info("%s is left to the next retention: %s", subject, error)
            done["raced"] += 1
        except Exception:
            log.exception("%s: retention could not handle it", subject)
            done["failed"] += 1
