"""So many active runs in one deployment: how much each wall is used, how late ends are seen, what it costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.prices import EXECUTION, GB_SECOND, QUEUES, TABLES
from bench.scale.jobs import Jobs
from bench.scale.playing import Driver, Durable, Played, Timer, play_alone, play_steadily
from bench.scale.walls import App, Wall
from local.host.schedules import parse_timespan

ALONE_BELOW = 10
"""So few runs are played as if each were the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What `python3 dev.py simulate` says."""

    runs: int
    wanted: float
    """Looks a second, if all were made in time."""
    walls: tuple[Wall, ...]
    """By how much they are used, the most used first."""
    played: Played
    dollars: float
    """For 1,000 runs."""

    @property
    def is_in_time(self) -> bool:
        """Whether no wall is met."""
        return self.walls[0].share <= 1

    @property
    def most_runs(self) -> int:
        """Active runs at which the first wall is met."""
        return self.met_at(self.walls[0])

    def met_at(self, wall: Wall) -> int:
        """Active runs at which this wall is met."""
        return math.floor(self.runs / wall.share)


def forecast(app: App, runs: int, jobs: Jobs) -> Forecast:
    """So many runs at any time, each waiting for a response."""
    driver = driver_of(app)
    alone = play_alone(jobs, driver)
    begun = runs / alone.seconds
    wanted = begun * alone.looks
    walls = tuple(sorted(app.walls(wanted, begun), key=lambda wall: -wall.share))
    rate = wanted / walls[0].share
    played = alone if runs < ALONE_BELOW else play_steadily(jobs, driver, runs=runs, rate=rate)
    return Forecast(runs=runs, wanted=wanted, walls=walls, played=played, dollars=_dollars(app, runs, played))


def driver_of(app: App) -> Driver:
    """What wakes the runs of this deployment."""
    if app.driver == "durable":
        gap = parse_timespan(app.profile.polling)
        assert gap, app.profile
        return Durable(app.profile.partitions, gap.total_seconds())
    return Timer(period_of(app))


def period_of(app: App) -> float:
    """Seconds from sweep to sweep."""
    return float(app.profile.sweep[app.driver]["DORMOUSE_SWEEP_SECONDS"])


def _dollars(app: App, runs: int, played: Played) -> float:
    """For 1,000 runs: what each second costs, by the runs that end in it."""
    ended = runs / played.seconds
    looks = ended * played.looks
    sweeps = 1 / period_of(app)
    executions = ended + sweeps + (looks * app.counted.wake_executions if app.driver == "durable" else 0.0)
    # A second is billed in which anything runs; of several instances as many as their processors have to do.
    began = ended + sweeps + (looks if app.driver == "durable" else 0.0)
    seconds = max(1 - math.exp(-began), looks * app.look_seconds / app.cores)
    rows = looks * app.look_transactions(looks) + ended * app.counted.run_transactions
    hub = (looks + 2 * ended) * app.hub_transactions
    each_second = seconds * app.profile.memory / 1_024 * GB_SECOND + executions * EXECUTION
    each_second += rows * TABLES + hub * (TABLES + QUEUES) / 2
    return 1_000 * each_second / ended
