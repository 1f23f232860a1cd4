"""What is asked of the app: responses, how long they take, and how often a run looks at its own."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from shared.runs.rules import schedule

FIRST, MOST = 1.5, 120.0
"""Bounds of the gaps between looks: the defaults of `DORMOUSE_POLL_FIRST_SECONDS` and `DORMOUSE_POLL_MAX_SECONDS`."""

Gap = Callable[[float, random.Random], float]
"""Seconds to the next look at a response of that age."""


def usual_gap(age: float, dice: random.Random) -> float:
    """The app's, with its defaults."""
    return schedule.poll_gap(age, first=FIRST, most=MOST, jitter=dice.random())


def sparse_gap(age: float, dice: random.Random) -> float:
    """The app's where webhooks of the provider bring the news."""
    return schedule.sparse_gap(age, first=FIRST, most=MOST, jitter=dice.random())


WEBHOOK_SECONDS = 0.5
"""From the end of a response to the webhook that tells of it."""
DELIVERED = 0.99


@dataclass(frozen=True, slots=True)
class Jobs:
    """Responses whose durations are lognormal: half end within ``median`` seconds, 95 % within ``p95``."""

    median: float = 60.0
    p95: float = 900.0
    webhooks: bool = False
    """Whether the provider's webhooks tell of most ends, and looks are for those of which none does."""

    def gap(self, age: float, dice: random.Random) -> float:
        """Seconds to the next look at a response of that age."""
        return sparse_gap(age, dice) if self.webhooks else usual_gap(age, dice)

    def webhook_after(self, dice: random.Random) -> float:
        """Seconds from the end of a response to its webhook; infinite where none comes."""
        return WEBHOOK_SECONDS if self.webhooks and dice.random() < DELIVERED else math.inf

    @property
    def sigma(self) -> float:
        """Of the logarithm; 0 where all take equally long."""
        return math.log(self.p95 / self.median) / 1.6449

    def draw(self, dice: random.Random) -> float:
        """How long one takes, in seconds."""
        return self.median * math.exp(dice.gauss(0.0, self.sigma)) if self.sigma else self.median

    def slices(self, count: int) -> list[float]:
        """So many, one for each slice of the distribution, so that few of them are like all."""
        if not self.sigma:
            return [self.median] * count
        normal = statistics.NormalDist(math.log(self.median), self.sigma)
        return [math.exp(normal.inv_cdf((number + 0.5) / count)) for number in range(count)]
