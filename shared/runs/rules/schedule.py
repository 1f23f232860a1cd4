"""When to wake next. Pure: ages and counts in, seconds out.

The polls of a turn are about as far apart as the square root of its age: at equal numbers of polls this beats fixed,
doubling and proportional gaps, both in seconds of delay and relative to the length of the run.
"""

from __future__ import annotations

from shared.agentkit.faults import NOT_SENT, ProviderFault

# Each attempt may run and be billed: a long wait lets the webhook of the one before arrive first.
UNKNOWN_OUTCOME_WAITS = (0.0, 300.0, 1_200.0, 3_600.0)
"""Seconds before the second to fifth create of a turn, after one whose outcome is unknown."""

JITTER = 0.1

POLL_GROWTH, POLL_POWER = 1.66, 0.477
"""A poll gap is the first times the age to the second: a little below 1/2 costs fewer seconds (row 1 of the bench), a
little less growth another wake of a run with tools (row 3)."""

POLL_JITTER = 0.04
"""Of poll gaps: it costs as much again in polls, or in delay, and runs that begin apart soon poll apart."""

DAY = 86_400.0

CALLBACK_WAITS = (5.0, 30.0, 120.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0, 28_800.0)
"""Seconds before the second to eleventh try of a callback: with the most of jitter a day less a few minutes."""

CROWDED_FIRST = 4.0
CROWDED_MAX = 30.0
"""The bounds of the wait for a place, in seconds, where a request found none."""

# Webhooks may be lost, so looks go on; well below the 10 minutes after which some projects delete responses.
SPARSE_FIRST = 30.0
SPARSE_MAX = 300.0
"""The bounds of poll gaps, in seconds, where the provider's webhooks bring the news."""
SPARSE_SHARE = 0.5
"""Such a gap as a share of the turn's age: a webhook that was lost costs half of the job's time at most."""


def poll_gap(age: float, *, first: float, most: float, jitter: float) -> float:
    """Seconds to the next poll of a turn that began ``age`` seconds ago.

    ``first`` and ``most`` bound it; ``jitter`` in [0, 1) spreads it by up to 4 % downwards, so that runs submitted
    together do not poll together.
    """
    return _bounded(POLL_GROWTH * max(age, 0.0) ** POLL_POWER, first=first, most=most, jitter=jitter)


def sparse_gap(age: float, *, first: float, most: float, jitter: float) -> float:
    """The same where webhooks bring the news, and a poll is only for one that was lost.

    In proportion to the age, since nearly all polls are for nothing: at half of the polls the mean delay stays below a
    second. ``first`` and ``most`` are taken where they are beyond the bounds of such gaps.
    """
    gap = SPARSE_SHARE * age
    return _bounded(gap, first=max(first, SPARSE_FIRST), most=max(most, SPARSE_MAX), jitter=jitter)


def _bounded(gap: float, *, first: float, most: float, jitter: float) -> float:
    # Downwards: spread upwards, the longest gap would exceed what was set.
    return max(min(max(gap, first), most) * (1.0 - POLL_JITTER * jitter), min(first, most))


def backoff(failures: int, *, first: float, most: float, jitter: float) -> float:
    """Seconds to wait after the ``failures``-th failure in a row: doubling, bounded, spread upwards by up to 10 %."""
    return min(first * 2.0 ** min(max(failures - 1, 0), 30), most) * (1.0 + JITTER * jitter)


def asked_wait(asked: float, *, most: float, jitter: float) -> float:
    """Seconds to wait where a server asks for ``asked``: ``most`` at most, spread upwards by up to 10 %."""
    # Bounded: a provider must not be able to park a run for days. Upwards: never earlier than it asked for.
    return min(max(asked, 0.0), most) * (1.0 + JITTER * jitter)


def crowded_wait(failures: int, *, jitter: float) -> float:
    """Seconds to the next try of what found no place here for the ``failures``-th time in a row.

    Short, since places come free all the time, and spread widely: who comes back together finds none again.
    """
    # Downwards and far, unlike the rest: those who were sent away together must not come back together.
    return backoff(failures, first=CROWDED_FIRST, most=CROWDED_MAX, jitter=0.0) * (1.0 - 0.5 * jitter)


def unknown_outcome_wait(outcomes: int) -> float:
    """Seconds before the next create after ``outcomes`` (1 or more) creates of unknown outcome."""
    return UNKNOWN_OUTCOME_WAITS[min(outcomes, len(UNKNOWN_OUTCOME_WAITS)) - 1]


def callback_wait(tries: int, *, age: float, retry_after: float | None, jitter: float) -> float | None:
    """Seconds before the next try of a callback, after ``tries`` (1 or more) that failed; None: it is given up.

    ``age`` is the time since its event. ``retry_after`` is what the receiver asks for; it gets that, or a day.
    """
    # Age too: a receiver that asks for long waits would otherwise be tried for days.
    if tries > len(CALLBACK_WAITS) or age >= DAY:
        return None
    wait = CALLBACK_WAITS[max(tries, 1) - 1] * (1.0 + JITTER * jitter)
    return max(wait, min(retry_after or 0.0, DAY))


BACKOFF_FIRST = 2.0
BACKOFF_MAX = 120.0


def failure_gap(failures: int, *, jitter: float) -> float:
    """Seconds to wait after the ``failures``-th failure in a row of a create, a look or a response."""
    return backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MAX, jitter=jitter)


def gap_after(fault: ProviderFault, failures: int, *, most: float, jitter: float) -> float:
    """Seconds to wait after the ``failures``-th fault in a row: backed off, and as long as the provider asks."""
    # No slot was free in this process: that says nothing of the provider, and slots come free within seconds.
    if fault.code == NOT_SENT and fault.retry_after is None:
        return crowded_wait(failures, jitter=jitter)
    return max(failure_gap(failures, jitter=jitter), asked_wait(fault.retry_after or 0.0, most=most, jitter=jitter))
