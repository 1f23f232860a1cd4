"""Rows 1 and 2: how long after a response has ended somebody sees it, by simulation of the schedules alone."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import DORMOUSE, Line, compare
from bench.scale.jobs import DELIVERED, WEBHOOK_SECONDS, Gap, Jobs, sparse_gap, usual_gap
from bench.stack import Bench

ASKED = Jobs()
WITH_WEBHOOKS = Jobs(webhooks=True)
JOBS, QUICK_JOBS = 20_000, 500
QUEUE_SECONDS = 5.0
"""`maxQueuePollingInterval` of host.json."""

DOUBLING = "doubling gaps, 2 to 30 s"
DURABLE = f"{DORMOUSE}, on Durable's queue"

TITLE = "1. Detection lag"
HOW = (
    "Simulated, not measured: the app's own schedule and the peer's, on the same "
    f"{JOBS:,} jobs, spread like a lognormal distribution with a median of {ASKED.median:g} s and {ASKED.p95:g} s at "
    "95 %. "
    "*Share of the job* is the mean of lag by duration. *On Durable's queue*: waits are whole seconds, and an idle "
    f"queue is looked at less and less often, each {QUEUE_SECONDS:g} s at least, so that a wake is late by up to half "
    "its gap or that."
)
WEBHOOK_TITLE = "2. Detection lag with the provider's webhooks"
WEBHOOK_HOW = (
    f"The same jobs with the sparse schedule; {DELIVERED:.0%} of the webhooks come, {WEBHOOK_SECONDS:g} s after the "
    "end. A look is one of the schedule, the one that finds the end included. *Requests for one webhook* are measured: "
    "how often the provider is asked from the webhook to the run's end."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one job."""

    lag: float
    share: float
    polls: int


def doubling_gap(age: float, dice: random.Random) -> float:
    """2, 4, 8, 16, 30, 30, … seconds: after gaps of 2, 4, … the age is 2, 6, 14, 30."""
    return min(age + 2.0, 30.0)


def late_by_queue(gap: float, dice: random.Random) -> float:
    """Seconds by which a Durable timer's wake is late."""
    return math.ceil(gap) - gap + dice.uniform(0.0, min(gap / 2, QUEUE_SECONDS))


def look_at(
    duration: float,
    gap: Gap,
    dice: random.Random,
    *,
    late: Callable[[float, random.Random], float] = lambda gap, dice: 0.0,
    webhook_at: float = math.inf,
) -> Seen:
    """One job, looked at until it is seen to have ended; ``webhook_at`` is when a webhook says so."""
    now, polls = 0.0, 0
    while True:
        wait = gap(now, dice)
        now += wait + late(wait, dice)
        if webhook_at < now:
            return Seen(webhook_at - duration, (webhook_at - duration) / duration, polls)
        polls += 1
        if now >= duration:
            return Seen(now - duration, (now - duration) / duration, polls)


async def polled(bench: Bench) -> list[Line]:
    """Row 1."""
    found = {
        DOUBLING: _all(bench, lambda duration, dice: look_at(duration, doubling_gap, dice)),
        DORMOUSE: _all(bench, lambda duration, dice: look_at(duration, usual_gap, dice)),
        DURABLE: _all(bench, lambda duration, dice: look_at(duration, usual_gap, dice, late=late_by_queue)),
    }
    return _lines(found, DOUBLING, lag=7.6, share=14, polls=15.5)


async def told(bench: Bench) -> list[Line]:
    """Row 2."""

    def one(duration: float, dice: random.Random) -> Seen:
        return look_at(duration, sparse_gap, dice, webhook_at=duration + WITH_WEBHOOKS.webhook_after(dice))

    found = {
        DOUBLING: _all(bench, lambda duration, dice: look_at(duration, doubling_gap, dice)),
        DORMOUSE: _all(bench, one),
    }
    async with bench.program("dormouse") as app:
        requests = (await app.do("webhook")).result
    lines = _lines(found, DOUBLING, lag=1.3, share=None, polls=3.6)
    return [*lines, *compare("requests for one webhook", "", {DORMOUSE: [requests]}, most=1)]


def _all(bench: Bench, one: Callable[[float, random.Random], Seen]) -> list[Seen]:
    dice = random.Random(1)
    count = QUICK_JOBS if bench.sizes.rounds < 3 else JOBS
    # Drawn at random, the shortest of them would decide the share.
    return [one(duration, dice) for duration in ASKED.slices(count)]


def _lines(found: dict[str, list[Seen]], base: str, *, lag: float, share: float | None, polls: float) -> list[Line]:
    def mean(of: Callable[[Seen], float]) -> dict[str, list[float]]:
        return {name: [statistics.fmean(map(of, seen))] for name, seen in found.items()}

    return [
        *compare("mean lag", "s", mean(lambda one: one.lag), base=base, most=lag),
        *compare("share of the job", "%", mean(lambda one: 100 * one.share), base=base, most=share),
        *compare("looks", "", mean(lambda one: one.polls), base=base, most=polls),
    ]
