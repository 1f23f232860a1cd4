"""Retention: what nobody has used for long goes, here and at the provider. A timer's work, safe to repeat.

Each kind of row is gone through by itself, some rows at once, so that none keeps another waiting. Where a pass is cut
off its place is kept, and the next pass goes on from there. A deleted session has a due row of its own, which brings
it to its end; so what only waits for its own removal is not looked at here.
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
from shared.runs.model.run import Session
from shared.runs.ports import Ports, log
from shared.runs.store.tables import Conflict, Row, StoreUnavailable

HISTORY_KEPT = timedelta(days=7)
LEFT_ALONE = timedelta(hours=1)
"""How long a deleted session that is not finished is left to its due row."""
PAGE = 200
"""Rows between two notes of the place: what a pass that is cut off may do again."""

T = TypeVar("T")
Pages = Callable[[str | None], Awaitable[tuple[Sequence[T], str | None]]]


async def retain(ports: Ports, driver: Driver) -> Counter[str]:
    """One pass: expire idle sessions and old batches, finish those deleted, forget old keys and histories."""
    return await _Pass(ports, driver).run()


class _Pass:
    """One pass over everything that may be old."""

    def __init__(self, ports: Ports, driver: Driver) -> None:
        self._ports = ports
        self._settings = ports.settings
        self._driver = driver

    async def run(self) -> Counter[str]:
        """One pass, within the sweep's time limit; what it does not reach, the next one does.

        Raises the first of what went wrong, once all kinds have had their turn.
        """
        done: Counter[str] = Counter()
        now = self._ports.clock()
        kinds = [self._keys, self._batches_over, self._sessions, self._histories]
        ended: list[BaseException | None] = []
        try:
            async with asyncio.timeout(self._settings.sweep_limit):
                ended = await asyncio.gather(*(kind(now, done) for kind in kinds), return_exceptions=True)
        except TimeoutError:
            log.warning("retention ran into its limit of %g s", self._settings.sweep_limit)
            done["cut_off"] += 1
        log.info("retention: %s", dict(done))
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

    async def _batches_over(self, now: datetime, done: Counter[str]) -> None:
        before = now - timedelta(seconds=self._settings.retention)

        async def handle(batch_id: str) -> None:
            if await delete_batch(self._ports, batch_id, runs=False):
                await self._driver.woken(batch_id)
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
                left_since=now - LEFT_ALONE,
                kept_since=now - removed - LEFT_ALONE,
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
                await self._driver.woken(each)

        await self._each("sessions", page, lambda session: self._safely(session.session_id, handle(session), done))

    async def _histories(self, now: datetime, done: Counter[str]) -> None:
        done["histories"] = await self._driver.hub.purge_before(now - HISTORY_KEPT)

    async def _each(self, name: str, page: Pages[T], handle: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        """Handle what the pages hold, from the place that is kept to the end; keep the place after each page."""
        kept = place = await self._ports.index.place_kept(name)
        while True:
            found, place = await page(place)
            await side_by_side(found, handle, at_once=self._settings.sweep_concurrency)
            if place != kept:
                await self._ports.index.keep_place(name, place)
                kept = place
            if place is None:
                return

    async def _safely(self, subject: str, work: Coroutine[Any, Any, None], done: Counter[str]) -> None:
        """Whatever goes wrong with one stays with it; only an outage ends the pass."""
        try:
            await work
        except StoreUnavailable:
            raise
        except (Conflict, LostRace) as error:
            log.info("%s is left to the next retention: %s", subject, error)
            done["raced"] += 1
        except Exception:
            log.exception("%s: retention could not handle it", subject)
            done["failed"] += 1
