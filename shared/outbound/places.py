"""Room for callbacks: so many at once in a process, fewer for one owner, and fewer still to one host."""

from __future__ import annotations

import threading
from collections import Counter


class Places:
    """``most`` places: all but one of them for one owner, half of them for one host. From any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_owner = max(1, most - 1)
        self._most_of_host = max(1, most // 2)
        self._lock = threading.Lock()
        self._owners: Counter[str] = Counter()
        self._hosts: Counter[str] = Counter()

    def take(self, owner: str, host: str) -> TakenPlace | None:
        """A place, or None."""
        with self._lock:
            free = self._owners.total() < self._most
            if not free or self._owners[owner] >= self._most_of_owner or self._hosts[host] >= self._most_of_host:
                return None
            self._owners[owner] += 1
            self._hosts[host] += 1
            return TakenPlace(self, owner, host)

    def free(self, owner: str, host: str) -> None:
        """Count one less of each."""
        with self._lock:
            for counter, name in ((self._owners, owner), (self._hosts, host)):
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]


class TakenPlace:
    """A place that is free again when everybody who holds it has given it back."""

    def __init__(self, places: Places, owner: str, host: str) -> None:
        self._places = places
        self._owner = owner
        self._host = host
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
            self._places.free(self._owner, self._host)
