"""Crashes, outages and races at exact operations of the store, and a host that drives runs as time passes."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from shared.drivers.sweep import sweep
from shared.runs.batches.submit import BatchSubmitted
from shared.runs.commands.submission import Submitted
from shared.runs.store.tables import Change, StoreUnavailable, Table
from tests.unit.runs.conftest import Rig

MOST_OPERATIONS = 60
"""Of one act; more are taken for no end."""


class Killed(BaseException):
    """Stands for the death of the process: nothing catches it."""


interruptions = pytest.mark.parametrize(
    ("error", "applied"),
    [(Killed(), False), (StoreUnavailable("gone"), False), (StoreUnavailable("gone"), True)],
    ids=["crash", "outage before the write", "outage after the write"],
)
"""How an operation of the store may go wrong. (A crash after one write is a crash before the next.)"""


class FailAt:
    """Counts the operations of a store, and lets the ``at``-th one fail, before or after it was applied.

    A death ends everything that comes after it too, as a dead process would; an outage is over at once.
    """

    def __init__(self, rig: Rig, *, at: int | None, applied: bool, error: BaseException) -> None:
        self._rig, self._at, self._applied, self._error = rig, at, applied, error
        self.count = 0
        self.sprung = False

    def __enter__(self) -> FailAt:
        self._rig.tables.before, self._rig.tables.after = self._before, self._after
        return self

    def __exit__(self, *_: object) -> None:
        self._rig.tables.before = self._rig.tables.after = None

    async def _before(self, _o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        if self.sprung and isinstance(self._error, Killed):
            raise self._error
        self.count += 1
        self._fail(applied=False)

    async def _after(self, _o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        self._fail(applied=True)

    def _fail(self, *, applied: bool) -> None:
        if not self.sprung and self.count == self._at and applied is self._applied:
            self.sprung = True
            raise self._error


class Driver:
    """What the host does: orchestrations that a hub starts, and a sweep every half minute."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._wakes: dict[str, float] = {}
        self._steps: set[str] = set()

    async def start_if_absent(self, run: str, *, wait: float = 0.0) -> bool:
        self._wakes.setdefault(run, self._rig.clock.seconds() + wait)
        return True

    async def wake(self, run: str) -> None:
        self._wakes[run] = 0.0

    async def start_step(self, run: str) -> bool:
        self._steps.add(run)
        return True

    async def start_run(self, submitted: Submitted) -> None:
        await self._rig.driver(self).start_run(submitted)

    async def start_batch(self, submitted: BatchSubmitted) -> None:
        await self._rig.driver(self).start_batch(submitted)

    async def pass_time(self, seconds: float, *, tick: float = 30.0) -> None:
        for _ in range(int(seconds // tick)):
            self._rig.clock.move(tick)
            await sweep(self._rig.app.ports, self._rig.driver(self))
            steps, self._steps = self._steps, set()
            for run in steps:
                await self._advance(run)
            for run, at in [*self._wakes.items()]:
                if at <= self._rig.clock.seconds():
                    gap = await self._advance(run)
                    del self._wakes[run]
                    if gap is not None:
                        self._wakes[run] = self._rig.clock.seconds() + gap

    async def _advance(self, subject: str) -> float | None:
        return (await self._rig.run_activity(subject, self)).wake_in


Act = Callable[[], Awaitable[Any]]
"""What is interrupted."""

Prepare = Callable[[Rig, Driver, str], Awaitable[Act]]
"""Does what comes before, under an idempotency key of its own, and gives the act."""


async def interrupt_each(
    rig: Rig,
    prepare: Prepare,
    check: Callable[[], Awaitable[None]],
    *,
    error: BaseException,
    applied: bool,
    seconds: float,
    tick: float = 30.0,
) -> int:
    """Interrupt an act at each of its operations in turn, in tables of its own; let so much time pass, and check.

    Returns how many operations it has. ``AssertionError``: it never came to its end.
    """
    for at in range(1, MOST_OPERATIONS):
        host = Driver(rig)
        act = await prepare(rig, host, f"key-{at}")
        with FailAt(rig, at=at, applied=applied, error=error) as trap, contextlib.suppress(type(error)):
            await act()
        await host.pass_time(seconds, tick=tick)
        await check()
        rig.tables._rows.clear()
        if not trap.sprung:
            return at
    raise AssertionError("the act never came to its end")


class RunBefore:
    """Runs ``other`` to its end right before the ``at``-th operation of the store."""

    def __init__(self, rig: Rig, at: int, other: Callable[[], Awaitable[Any]]) -> None:
        self._rig, self._at, self._other = rig, at, other
        self.count = 0
        self.happened = False

    def __enter__(self) -> RunBefore:
        self._rig.tables.before = self._before
        return self

    def __exit__(self, *_: object) -> None:
        self._rig.tables.before = None

    async def _before(self, _o: str, _t: Table, _p: str | None, _c: Sequence[Change]) -> None:
        self.count += 1
        if self.count == self._at:
            self.happened = True
            await self._other()
