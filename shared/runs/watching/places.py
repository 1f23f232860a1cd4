"""How many viewers an owner may have at once, in one process."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from shared.errors import TooManyViewers

RETRY_AFTER = "5"


class Places:
    """Counts the viewers of each owner: event streams, and requests that wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def take(self, owner: str) -> Place:
        """A place for one more viewer. Raises ``TooManyViewers``."""
        if self._taken[owner] >= self._most:
            raise TooManyViewers(
                f"You have {self._most} open streams and waiting requests here, which is the most. "
                "Close one, or send the same again later.",
                headers={"Retry-After": RETRY_AFTER},
            )
        self._taken[owner] += 1
        return Place(self._taken, owner)


class Place:
    """One viewer's place, until it is given back, at the end of the ``with`` block unless somebody else does it."""

    def __init__(self, taken: Counter[str], owner: str) -> None:
        self._taken = taken
        self._owner = owner
        self._held = True
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or not self._kept:
            self.give_back()

    def keep(self) -> Self:
        """Hold it beyond the block: whoever gets it now gives it back."""
        self._kept = True
        return self

    def give_back(self) -> None:
        """Let another viewer have it; again does nothing."""
        if self._held:
            self._held = False
            self._taken[self._owner] -= 1
            if not self._taken[self._owner]:
                del self._taken[self._owner]
