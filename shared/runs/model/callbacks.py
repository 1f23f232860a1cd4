"""Callbacks: how a receiver takes one, and who sends it. The form is that of Standard Webhooks.

(https://www.standardwebhooks.com: a thin body, an id that stays the same over all attempts, 2xx is success, 410
disables, anything else is tried again.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

# Standard Webhooks: the receiver asks to be sent nothing more.
GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How a receiver took an attempt."""

    status: int | None = None
    """Of HTTP."""

    fault: str | None = None
    """A word for why there is no status."""

    retry_after: float | None = None
    """Seconds, where the receiver asked for that."""

    seconds: float = 0.0
    """How long it took."""

    @property
    def ok(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class Share(Protocol):
    """Room for one attempt, out of what may be under way at once."""

    def release(self) -> None:
        """Let others have it. What still goes on of the attempt (a look-up of a name) keeps it until that is over."""
        ...


@dataclass(frozen=True, slots=True)
class NoShare:
    """There is no room now; look again in ``wait`` seconds."""

    wait: float
    """Seconds until there may be room."""


class Sender(Protocol):
    """Signs and sends. Knows no run: whatever else has something to tell can use it."""

    def problem(self, url: str) -> str | None:
        """Why nothing is ever sent to this address (``must …``), as far as can be known without resolving it."""
        ...

    # Per host and owner: one slow receiver must not hold up the callbacks of all others.
    def reserve(self, url: str, owner: str) -> Share | NoShare:
        """Room for one attempt, unless as many are under way as may be: to this host, of this owner, or in all."""
        ...

    async def send(self, url: str, webhook_id: str, body: str, share: Share) -> Sent:
        """One attempt. Raises nothing: what went wrong is in the result."""
        ...
