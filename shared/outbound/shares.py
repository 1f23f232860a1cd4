"""Room for callbacks: so many at once in a process, fewer for one owner, and fewer still to one host."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shared.runs.model.callbacks import NoShare

Name = tuple[str, str]
"""What a bound is for: the process, an owner, or a host; and which."""

FIRST_GUESS = 1.0
"""Seconds that an attempt is taken to last, where none has been seen yet."""
SOONEST = 1.0
LATEST = 60.0
"""The bounds of the time, in seconds, after which who found no share looks again."""
MOST_QUEUES = 1_000


@dataclass(slots=True)
class _Queue:
    """Who waits for a bound: until when the shares to come are promised, and how long attempts last."""

    promised: float = 0.0
    lasts: float = FIRST_GUESS


class Shares:
    """``most`` shares: all but one of them for one owner, half of them for one host. From any thread."""

    def __init__(self, most: int, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._most = {"process": most, "owner": max(1, most - 1), "host": max(1, most // 2)}
        self._seconds = seconds
        self._lock = threading.Lock()
        self._taken: Counter[Name] = Counter()
        self._queues: dict[Name, _Queue] = {}

    def take(self, owner: str, host: str) -> TakenPlace | NoShare:
        """A share, or how long to wait for one: about as long as those before in the queue will take."""
        names = (("host", host), ("owner", owner), ("process", ""))
        with self._lock:
            full = [name for name in names if self._taken[name] >= self._most[name[0]]]
            if full:
                return NoShare(max(self._wait(name) for name in full))
            self._taken.update(names)
            return TakenPlace(self, names, self._seconds())

    def free(self, names: tuple[Name, ...], since: float) -> None:
        """Let others have the share that was taken then."""
        with self._lock:
            self._taken.subtract(names)
            self._taken = +self._taken
            lasted = self._seconds() - since
            for name in names:
                if (queue := self._queues.get(name)) is not None:
                    queue.lasts += (lasted - queue.lasts) / 4.0

    def _wait(self, name: Name) -> float:
        """Seconds to a share that is promised to nobody before: shares come free one after the other."""
        now = self._seconds()
        if len(self._queues) >= MOST_QUEUES:
            self._queues = {each: queue for each, queue in self._queues.items() if queue.promised > now}
        queue = self._queues.setdefault(name, _Queue())
        queue.promised = min(max(queue.promised, now) + queue.lasts / self._most[name[0]], now + LATEST)
        return max(SOONEST, queue.promised - now)


class TakenPlace:
    """A share that is free again when everybody who holds it has given it back."""

    def __init__(self, shares: Shares, names: tuple[Name, ...], since: float) -> None:
        self._places = shares
        self._names = names
        self._since = since
        self._lock = threading.Lock()
        self._holders = 1

    def hold(self) -> None:
        """Another part of the attempt holds it too."""
        with self._lock:
            self._holders += 1

    def give_back(self) -> None:
        """One holder less."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._places.free(self._names, self._since)
