"""Many runs and one queue: who is due is looked at, in order, as fast as the narrowest part of the app goes."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from bench.scale.jobs import Jobs

MOST_PLAYED = 300
"""Runs that are played one by one; of more, as many stand for all, and the queue is slower by as much."""
WARM_UP, MEASURED = 1_800.0, 3_600.0
"""Seconds that are played before what counts, and those that count."""
PICKED_UP = 0.04
"""Seconds, in the mean, from a Durable timer's time to its activity while its queues are not idle. Fitted: see
`tests/unit/bench/test_scale.py`."""


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the runs that ended."""

    lags: tuple[float, ...]
    """Seconds from the end of a response to the look that found it, in order of size."""
    looks: float
    """Of a run, in the mean."""
    seconds: float
    """From a run's begin to its end, in the mean."""

    def lag(self, share: float) -> float:
        """The lag that so many (0 to 1) do not exceed."""
        return self.lags[min(math.floor(share * len(self.lags)), len(self.lags) - 1)]


@dataclass(frozen=True, slots=True)
class Durable:
    """Timers of whole seconds, and queues that are looked at less and less often while they are empty."""

    partitions: int
    polling: float
    """`maxQueuePollingInterval` in seconds."""

    def due(self, now: float, gap: float, dice: random.Random) -> float:
        """When it is in line that wants to be looked at after ``gap``."""
        wait = math.ceil(gap) if gap > 1 else gap
        return now + wait + dice.expovariate(1 / PICKED_UP)

    def late(self, idle: float, dice: random.Random) -> float:
        """Seconds by which whoever is in line is seen late, after nobody was in line for ``idle`` seconds."""
        return dice.uniform(0.0, min(idle * self.partitions / 2, self.polling))


@dataclass(frozen=True, slots=True)
class Timer:
    """A sweep each ``period`` seconds."""

    period: float

    def due(self, now: float, gap: float, dice: random.Random) -> float:
        """The sweep that looks at whoever wants to be looked at after ``gap``."""
        return math.ceil((now + gap) / self.period) * self.period

    def late(self, idle: float, dice: random.Random) -> float:
        """A sweep is in time."""
        return 0.0


Driver = Durable | Timer
"""How a run comes to be looked at when it is due."""


@dataclass(slots=True)
class _Run:
    begun: float
    duration: float
    webhook_at: float
    """When a webhook says that the response has ended."""
    looks: int = 0


def _run(begun: float, duration: float, jobs: Jobs, dice: random.Random) -> _Run:
    return _Run(begun, duration, begun + duration + jobs.webhook_after(dice))


@cache
def play_alone(jobs: Jobs, driver: Driver, *, runs: int = 4_000, seed: int = 1) -> Played:
    """Each as if it were the only one: nobody waits for another, and the queues are idle between its looks."""
    dice = random.Random(seed)
    ended: list[tuple[float, int, float]] = []
    for duration in jobs.slices(runs):
        begun = now = dice.random() * 60
        looks, webhook_at = 0, begun + duration + jobs.webhook_after(dice)
        while not looks or now - begun < duration:
            wait = jobs.gap(now - begun, dice)
            now = min(driver.due(now, wait, dice) + driver.late(wait, dice), webhook_at)
            looks += 1
        ended.append((now - begun - duration, looks, now - begun))
    return _played(ended)


def play_once(jobs: Jobs, driver: Driver, *, runs: int, rate: float, submits: float, seed: int = 1) -> Played:
    """So many, ``submits`` of them begun a second, and ``rate`` looked at a second at most."""
    dice = random.Random(seed)
    begun = [_run(number / submits, duration, jobs, dice) for number, duration in enumerate(jobs.slices(runs))]
    return _play(begun, jobs, driver, rate, dice, lambda now: None)


def play_steadily(jobs: Jobs, driver: Driver, *, runs: int, rate: float, seed: int = 1) -> Played:
    """So many at any time: for one that ends another begins."""
    dice = random.Random(seed)
    played = min(runs, MOST_PLAYED)
    slower = runs / played
    begun = [_run(dice.uniform(-60.0, 0.0), jobs.draw(dice), jobs, dice) for _ in range(played)]
    # Where all wait in line for long, that long again and again.
    since = max(WARM_UP, 3 * runs / rate)
    until = since + max(MEASURED, 6 * runs / rate)

    def another(now: float) -> _Run:
        return _run(now, jobs.draw(dice), jobs, dice)

    return _play(begun, jobs, driver, rate / slower, dice, another, since=since, until=until, crowd=slower)


def _play(
    runs: list[_Run],
    jobs: Jobs,
    driver: Driver,
    rate: float,
    dice: random.Random,
    another: Callable[[float], _Run | None],
    *,
    since: float = -math.inf,
    until: float = math.inf,
    crowd: float = 1.0,
) -> Played:
    def due(run: _Run, now: float) -> float:
        return min(driver.due(now, jobs.gap(now - run.begun, dice), dice), max(run.webhook_at, now))

    line = [(due(run, run.begun), number) for number, run in enumerate(runs)]
    heapq.heapify(line)
    free = last = 0.0
    ended: list[tuple[float, int, float]] = []
    while line:
        at, number = heapq.heappop(line)
        now = max(at + driver.late(max(at - last, 0.0) / crowd, dice), free)
        if now >= until:
            break
        last, free = max(at, last), now + 1 / rate
        run = runs[number]
        run.looks += 1
        age = now - run.begun
        if age < run.duration:
            heapq.heappush(line, (due(run, now), number))
            continue
        if now >= since:
            ended.append((age - run.duration, run.looks, age))
        if (follows := another(now)) is not None:
            runs[number] = follows
            heapq.heappush(line, (due(follows, now), number))
    return _played(ended)


def _played(ended: list[tuple[float, int, float]]) -> Played:
    return Played(
        lags=tuple(sorted(lag for lag, _, _ in ended)),
        looks=statistics.fmean(looks for _, looks, _ in ended),
        seconds=statistics.fmean(seconds for _, _, seconds in ended),
    )
