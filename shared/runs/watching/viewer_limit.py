"""How many viewers an owner may have at once, in one process."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from shared.errors import TooManyViewers

RETRY_AFTER = "5"


class ViewerLimit:
    """Counts the viewers of each owner: event streams, and requests that wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_use: Counter[str] = Counter()

    def acquire(self, owner: str) -> ViewerSlot:
        """A slot for one more viewer. Raises ``TooManyViewers``."""
        # Counted in this process: a count for all processes would cost a write for each viewer.
        if self._in_use[owner] >= self._most:
            raise TooManyViewers(
                f"You have {self._most} open streams and waiting requests here, which is the most. "
                "Close one, or send the same again later.",
                headers={"Retry-After": RETRY_AFTER},
            )
        self._in_use[owner] += 1
        return ViewerSlot(self._in_use, owner)


class ViewerSlot:
    """One viewer's slot: released at the end of the ``with`` block, or later, after ``keep``, by its new owner."""

    def __init__(self, in_use: Counter[str], owner: str) -> None:
        self._in_use = in_use
        self._owner = owner
        self._held = True
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A stream is sent after its handler has returned, so its slot outlives the block.
        if error is not None or not self._kept:
            self.release()

    def keep(self) -> Self:
        """Hold it beyond the block: whoever it is passed to must release it."""
        self._kept = True
        return self

    def release(self) -> None:
        """Free the slot. Calling it again does nothing."""
        if self._held:
            self._held = False
            self._in_use[self._owner] -= 1
            # Else the counter would grow by every owner that this process has ever served.
            if not self._in_use[self._owner]:
                del self._in_use[self._owner]
