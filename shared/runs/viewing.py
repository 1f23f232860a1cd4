"""Watching a run: the rows, and the provider's own stream of the current turn, as one sequence of events.

Nothing is stored for viewers, and nothing runs when nobody watches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from shared.runs.services import Services
from shared.runs.views import EventId, ViewEvent

Wake = Callable[[str], Awaitable[None]]
"""Has the run of this id looked at now: what the webhook does, for a viewer who saw the response end."""


class Viewing:
    """The use case *watch*. Any number of viewers of a run see the same."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def watch(self, run_id: str, after: EventId | None = None, *, wake: Wake | None = None) -> AsyncIterator[ViewEvent]:
        """Every event from now to the run's end, going on exactly after ``after``: `async for event in …`.

        The last event is ``End``; a run that is not there, or is deleted meanwhile, ends the iteration without one.
        Close it (``aclosing``) to let go of the provider's stream. Who may see the run is checked by the caller.
        """
        raise NotImplementedError
