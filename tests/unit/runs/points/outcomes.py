"""What came of the deaths of a story, for `dev.py prove`."""

from __future__ import annotations

import os

from local.prove.points import OUTCOMES, Death, note
from tests.unit.runs.points.world import World


class Recorder:
    """Gathers deaths under one driver, and writes them down if `dev.py prove` has asked for them."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._deaths: list[Death] = []

    def note(self, story: str, undisturbed: World, died: World) -> None:
        """One more (if anything died), in a world that has come to the same end as the undisturbed one."""
        if died.stopped is None:
            return
        self._deaths.append(
            Death(
                point=died.stopped.point.name,
                driver=self._driver,
                story=story,
                effects=len(undisturbed.passed),
            )
        )

    def write(self) -> None:
        """Write them down."""
        if folder := os.environ.get(OUTCOMES):
            note(folder, self._deaths)
