"""What an operator has stopped: two rows of the index table, which every process reads again every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from shared.runs.store.rows import moment_of, seconds_of
from shared.runs.store.tables import Change, Kind, Row, StoreUnavailable, Table, Tables, Value

log = logging.getLogger("dormouse")

READ_AGAIN = timedelta(seconds=3)
"""How old what a process has read may be: with the time that a read takes, each obeys within five seconds."""

RETRY_AFTER_SECONDS = 60
"""When a caller whose run was not taken may try again, unless the operator says otherwise."""

_PARTITION = "controls"
_INTAKE, _DRAIN = "intake", "drain"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Whether new runs and batches are taken."""

    paused: bool = False

    reason: str = ""
    """Why, as callers read it; empty: nothing is said."""

    retry_after: int = RETRY_AFTER_SECONDS
    """Seconds after which callers may try again."""

    since: datetime | None = None
    """When it was last changed; None: never."""

    etag: str = field(default="", compare=False)
    """Of the row that it was read from; empty: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Whether nothing new is begun, of new runs and of those that are here."""

    draining: bool = False

    since: datetime | None = None
    """When it was last changed; None: never."""

    etag: str = field(default="", compare=False)
    """Of the row that it was read from; empty: there is none."""


class ControlStore:
    """Reads and writes them. Every method may raise ``StoreUnavailable``.

    ``is_used``: whether the app has an operator. Without one nothing is read, and nothing counts as stopped.
    """

    def __init__(self, tables: Tables, *, is_used: bool) -> None:
        self._tables = tables
        self._is_used = is_used
        self._intake = _Kept(self.read_intake)
        self._drain = _Kept(self.read_drain)

    async def intake(self, now: datetime) -> Intake:
        """As this process has read it some seconds ago at most. Where it cannot be read, the last known counts."""
        return await self._intake.get(now) if self._is_used else Intake()

    async def drain(self, now: datetime) -> Drain:
        """The same of the drain."""
        return await self._drain.get(now) if self._is_used else Drain()

    async def is_draining(self, now: datetime) -> bool:
        """Whether nothing new is to be begun."""
        return (await self.drain(now)).draining

    async def read_intake(self) -> Intake:
        """As its row has it. One that is gone, or that somebody has spoilt, stops nothing."""
        row = await self._tables.get(Table.INDEX, _PARTITION, _INTAKE)
        return Intake() if row is None else _intake_of(row)

    async def read_drain(self) -> Drain:
        """The same of the drain."""
        row = await self._tables.get(Table.INDEX, _PARTITION, _DRAIN)
        if row is None:
            return Drain()
        return Drain(draining=row.values.get("draining") is True, since=_since(row), etag=row.etag)

    async def set_intake(self, intake: Intake, now: datetime) -> Intake:
        """Write it, in place of the row of its ETag. Raises ``Conflict`` when that has changed."""
        # Not blind: a request that was held up on its way must not undo what an operator has said since.
        values: dict[str, Value] = {
            "paused": intake.paused,
            "reason": intake.reason,
            "retry_after": intake.retry_after,
        }
        etag = await self._write(_INTAKE, values, intake)
        return self._intake.put(replace(intake, etag=etag), now)

    async def set_drain(self, drain: Drain, now: datetime) -> Drain:
        """The same of the drain."""
        etag = await self._write(_DRAIN, {"draining": drain.draining}, drain)
        return self._drain.put(replace(drain, etag=etag), now)

    async def _write(self, key: str, values: dict[str, Value], of: Intake | Drain) -> str:
        kind, under = (Kind.REPLACE, of.etag) if of.etag else (Kind.INSERT, None)
        since: dict[str, Value] = {} if of.since is None else {"since": seconds_of(of.since)}
        change = Change(kind=kind, key=key, values={**values, **since}, etag=under)
        return (await self._tables.commit(Table.INDEX, _PARTITION, [change]))[key]


class _Kept(Generic[T]):
    """A row as this process last knew it."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._reading = asyncio.Lock()
        self._known: tuple[T, datetime] | None = None

    async def get(self, now: datetime) -> T:
        async with self._reading:  # one read for all who ask at the same time
            known = self._known
            if known is not None and abs(now - known[1]) < READ_AGAIN:
                return known[0]
            try:
                found = await self._read()
            except StoreUnavailable as error:
                # Nobody knows whether this process may begin anything: so it may not.
                if known is None:
                    raise
                log.warning("what the operator has stopped could not be read, and is taken to be as it was: %s", error)
                found = known[0]
            # Unless this process has written it meanwhile: what was read may be older than that.
            if self._known is known or self._known is None:
                self._known = found, now
            return self._known[0]

    def put(self, value: T, now: datetime) -> T:
        self._known = value, now
        return value


def _intake_of(row: Row) -> Intake:
    reason, retry_after = row.values.get("reason"), row.values.get("retry_after")
    return Intake(
        paused=row.values.get("paused") is True,
        # Bytes where it was encrypted, and cannot be opened.
        reason=reason if isinstance(reason, str) else "",
        retry_after=int(retry_after) if isinstance(retry_after, int) and retry_after > 0 else RETRY_AFTER_SECONDS,
        since=_since(row),
        etag=row.etag,
    )


def _since(row: Row) -> datetime | None:
    since = row.values.get("since")
    try:
        return moment_of(since) if isinstance(since, int | float) else None
    except (OverflowError, ValueError, OSError):  # somebody has spoilt it: no time of any calendar
        return None
