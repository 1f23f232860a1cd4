"""The functions host with a clock that tests move, and with the agents of the tests beside the app's own."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from local.host.clock import MovableClock
from local.host.command import main
from local.points.hold import Holds, hold_at
from shared import agents, wiring
from shared.agentkit.provider import import_client
from shared.drivers import durable, sweep
from shared.runs.actions import advance
from tests.acceptance import killed_agents
from tests.parts import workshop

AHEAD_VARIABLE = "LAUNCH_AHEAD_SECONDS"
"""How far ahead the clock is from the start."""

DEBUG_VARIABLE = "LAUNCH_LOGS_ALL"
"""Whether the app's own log, and the host's, have every level."""

DIES_VARIABLE = "LAUNCH_DIES_BEFORE_TOOLS"
"""Whether the host's process is killed as soon as it would begin with tools: a deploy that comes just then."""

CHANGED_VARIABLE = "LAUNCH_CHANGED_CODE"
"""A file: once it is there, the orchestrators are of another version, which waits before its first wake."""

RESTING_VARIABLE = "LAUNCH_SWEEP_RESTS"
"""A file: while it is there no sweep does anything, so that what is overdue stays so until somebody sees to it."""

HOLD_VARIABLE = "LAUNCH_HOLD_POINTS"
"""The file that lists the points at which to stop (`local/points/hold.py`)."""

MISSING_VARIABLE = "LAUNCH_WITHOUT_AGENT"
"""The name of an agent that a host that stops at points does not serve."""

COLD_VARIABLE = "LAUNCH_COLD"
"""Whether the provider's client is imported when it is needed, as in the app, and not before the host serves."""

FRAMEWORK_VARIABLE = "LAUNCH_FRAMEWORK_AGENT"
"""Whether to serve the Agent Framework agent too: its packages are an extra."""


def launch(argv: Sequence[str] | None = None) -> int:
    """Run the host; its clock and the app's are one.

    The provider's client is imported before it serves: on a busy machine that takes longer than a claim of the tests.
    """
    if not os.environ.get(COLD_VARIABLE):
        import_client()
    clock = MovableClock()
    clock.advance(float(os.environ.get(AHEAD_VARIABLE, "0")))
    wiring.now = clock.now
    agents.AGENTS += workshop.BUILDERS
    if os.environ.get(FRAMEWORK_VARIABLE):
        from tests.acceptance import framework_novelist

        agents.AGENTS += [framework_novelist.build, framework_novelist.build_clerk]
    if os.environ.get(DEBUG_VARIABLE):
        for name in ("dormouse", "local", "shared"):
            logging.getLogger(name).setLevel(logging.DEBUG)
    if os.environ.get(DIES_VARIABLE):
        advance.run_tools = _die  # type: ignore[assignment]
    if file := os.environ.get(CHANGED_VARIABLE):
        durable.life = _changing(Path(file))
    if file := os.environ.get(RESTING_VARIABLE):
        sweep.sweep = _resting(Path(file))
    if wanted := os.environ.get(HOLD_VARIABLE):
        missing = os.environ.get(MISSING_VARIABLE)
        agents.AGENTS += killed_agents.BUILDERS
        agents.AGENTS[:] = [each for each in agents.AGENTS if each is not killed_agents.BY_NAME.get(missing or "")]
        hold_at(Holds(Path(wanted)), clock.advance)
    return main(argv, clock=clock)


def _changing(file: Path) -> Callable[..., Generator[Any, Any, None]]:
    life = durable.life

    def changing(context: Any, *activity: str) -> Generator[Any, Any, None]:
        # In a replay alone: a history that the changed code has begun would be its own.
        if file.exists() and context.is_replaying:
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
        yield from life(context, *activity)

    return changing


def _resting(file: Path) -> Callable[..., Awaitable[Counter[str]]]:
    swept = sweep.sweep

    async def nothing() -> Counter[str]:
        return Counter()

    def resting(*given: Any) -> Awaitable[Counter[str]]:
        return nothing() if file.exists() else swept(*given)

    return resting


async def _die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


if __name__ == "__main__":
    code = launch()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as `local.host` does: a thread that is stuck in a function would keep the interpreter from ending
