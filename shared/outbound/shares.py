"""Limits of callbacks under way: in a process, fewer for one owner, and fewer still to one host."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shared.runs.model.callbacks import NoShare

Name = tuple[str, str]
"""What a limit is for: the process, an owner, or a host; and which."""

ASSUMED_SECONDS = 1.0
"""How long an attempt is assumed to last before one has been measured."""
WAIT_MIN = 1.0
WAIT_MAX = 60.0
"""Least and most seconds after which an attempt that found no share is retried."""
MAX_QUEUES = 1_000


@dataclass(slots=True)
class _Queue:
    """The queue at a limit: until when the shares that come free are reserved, and how long attempts last."""

    reserved_until: float = 0.0
    mean_seconds: float = ASSUMED_SECONDS


class Shares:
    """``most`` shares: all but one of them for one owner, half of them for one host. From any thread."""

    def __init__(self, most: int, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._most = {"process": most, "owner": max(1, most - 1), "host": max(1, most // 2)}
        self._seconds = seconds
        self._lock = threading.Lock()
        self._taken: Counter[Name] = Counter()
        self._queues: dict[Name, _Queue] = {}

    def take(self, owner: str, host: str) -> TakenShare | NoShare:
        """A share, or how long to wait for one: about as long as those before in the queue will take."""
        names = (("host", host), ("owner", owner), ("process", ""))
        with self._lock:
            full = [name for name in names if self._taken[name] >= self._most[name[0]]]
            if full:
                return NoShare(max(self._wait(name) for name in full))
            self._taken.update(names)
            return TakenShare(self, names, self._seconds())

    def release(self, names: tuple[Name, ...], since: float) -> None:
        """Free a share that was taken at ``since``."""
        with self._lock:
            self._taken.subtract(names)
            self._taken = +self._taken  # without the zeros: hosts are of the callers' choosing, and never end
            seconds = self._seconds() - since
            for name in names:
                if (queue := self._queues.get(name)) is not None:
                    # A moving mean: one slow attempt must not make the whole queue wait for long.
                    queue.mean_seconds += (seconds - queue.mean_seconds) / 4.0

    def _wait(self, name: Name) -> float:
        """Seconds to the first share that is not reserved: shares come free one after the other."""
        now = self._seconds()
        # Owners and hosts are of the callers' choosing: what is known of them must not fill the memory.
        if len(self._queues) >= MAX_QUEUES:
            self._queues = {each: queue for each, queue in self._queues.items() if queue.reserved_until > now}
        queue = self._queues.setdefault(name, _Queue())
        queue.reserved_until = min(
            max(queue.reserved_until, now) + queue.mean_seconds / self._most[name[0]], now + WAIT_MAX
        )
        return max(WAIT_MIN, queue.reserved_until - now)


class TakenShare:
    """A share that is free again when all its holders have released it."""

    def __init__(self, shares: Shares, names: tuple[Name, ...], since: float) -> None:
        self._shares = shares
        self._names = names
        self._since = since
        self._lock = threading.Lock()
        self._holders = 1

    def retain(self) -> None:
        """Add a holder: another part of the attempt."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Remove a holder."""
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._shares.release(self._names, self._since)
