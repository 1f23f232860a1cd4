"""The functions host with a clock that tests move, and with the agents of the tests beside the app's own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from local.host.__main__ import main
from local.host.clock import MovableClock
from shared import agents, wiring
from tests.acceptance import workshop


def launch(argv: Sequence[str] | None = None) -> int:
    """Run the host; its clock and the app's are one."""
    clock = MovableClock()
    wiring.now = clock.now
    agents.AGENTS.append(workshop.build)
    return main(argv, clock=clock)


if __name__ == "__main__":
    sys.exit(launch())
