"""What an operator does: pause the intake, drain, give back what its driver has lost."""

from __future__ import annotations

from dataclasses import replace

from shared.errors import IntakePaused
from shared.runs.concurrency import Races
from shared.runs.ports import Ports
from shared.runs.store.controls import RETRY_AFTER_SECONDS, Drain, Intake


async def check_intake(ports: Ports) -> None:
    """Raise ``IntakePaused`` while nothing new is taken. ``StoreUnavailable``: nobody knows whether it is."""
    now = ports.clock()
    intake = await ports.controls.intake(now)
    if intake.paused:
        said = f" ({intake.reason})" if intake.reason else ""
        raise IntakePaused(
            f"This app takes no new runs at the moment{said}; those that it has go on. Send the same again later.",
            headers={"Retry-After": str(intake.retry_after)},
        )
    if await ports.controls.is_draining(now):
        raise IntakePaused(headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def set_intake(ports: Ports, wanted: Intake) -> Intake:
    """Pause the intake, or open it again; as it then is. Every process obeys within five seconds.

    Raises ``Conflict`` where another operator was faster.
    """
    before, now = await ports.controls.read_intake(), ports.clock()
    is_same = (before.paused, before.reason, before.retry_after) == (wanted.paused, wanted.reason, wanted.retry_after)
    # Written in any case: by its new ETag a request that was held up, and says otherwise, is refused.
    after = replace(wanted, since=before.since if is_same else now, etag=before.etag)
    return await ports.controls.set_intake(after, now)


async def set_drain(ports: Ports, *, draining: bool) -> Drain:
    """Begin to drain, or end it; as it then is. Every process obeys within five seconds.

    Raises ``Conflict`` where another operator was faster.
    """
    before, now = await ports.controls.read_drain(), ports.clock()
    since = before.since if before.draining == draining else now
    return await ports.controls.set_drain(Drain(draining=draining, since=since, etag=before.etag), now)


async def release(ports: Ports, subject: str) -> None:
    """Have its due row due now, whatever was put aside or handed out; write it where it is lost.

    The caller signals the driver afterwards. Raises ``TooManyRaces``.
    """
    races = Races(subject)
    while True:
        row, now = await ports.due.get(subject), ports.clock()
        if row is None:
            await ports.due.put(subject, now, now)
            return
        if await ports.due.set_due(row, now, now):
            return
        races.lost()
