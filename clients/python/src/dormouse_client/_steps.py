"""What a call does, without doing it: a generator yields what is to be done and is sent what came of it.

The synchronous and the asynchronous client carry out the same generators, so that no rule is written twice, and the
tests run them without a network and without waiting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from dormouse_client.errors import DormouseError, NetworkError, UnexpectedResponse, refusal, seconds

T = TypeVar("T")

MAX_PAUSE_SECONDS = 60.0
"""The longest `Retry-After` that a call waits for by itself; it raises where more is asked."""

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed. Every call is safe to repeat, a submit by its key."""


@dataclass(frozen=True)
class Request:
    """One request; `path` below the base URL. `hold` is how long the server may take on purpose, in seconds."""

    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: float = 0.0


@dataclass(frozen=True)
class Pause:
    """So many seconds in which nothing is done."""

    seconds: float


class CallBack:
    """Somebody wants to know. What the callback returns is awaited, where that can be."""

    def __init__(self, callback: Callable[..., object], *values: object) -> None:
        self.callback = callback
        self.values = values


@dataclass(frozen=True)
class Reply:
    """What came back. The headers' names are in lower case. Of a pause and of a callback: nothing."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self, *fields: str) -> Any:
        """The object in the body, which has these fields at least.

        Raises:
            UnexpectedResponse: something in between gave this answer.
        """
        try:
            found = json.loads(self.content)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not found.keys() >= set(fields):
            raise UnexpectedResponse(
                "The answer is not Dormouse's: a proxy in between gave it, or the address leads elsewhere.",
                status=self.status,
            )
        return found

    @property
    def retry_after(self) -> float | None:
        """Seconds, where the server said so."""
        return seconds(self.headers)


Step: TypeAlias = "Request | Pause | CallBack"
Steps: TypeAlias = Generator[Step, Reply, T]


@dataclass(frozen=True)
class Rules:
    """How the calls of a client behave, and where they take time and chance from."""

    retries: int
    """How often a request that failed is sent again."""

    clock: Callable[[], float]
    """Seconds of a clock that never goes back."""

    random: Callable[[], float]
    """A number from 0 up to 1."""


def pause_after(failures: int, retry_after: float | None, random: float) -> float:
    """Seconds to wait after so many failures in a row: what the server said, else longer each time.

    A part of it is chance, so that many clients do not come back at the same moment.
    """
    if retry_after is not None:
        return retry_after
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS) * (0.5 + random / 2))


def is_worth_repeating(error: DormouseError) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, NetworkError):
        return True
    too_late = error.retry_after is not None and error.retry_after > MAX_PAUSE_SECONDS
    return error.status in RETRIED and error.code != "misconfigured" and not too_late


def is_outage(error: DormouseError) -> bool:
    """Whether somebody who was being served may hope to be again: nothing of it is the app's own word on the matter.

    While an app restarts or is deployed, the platform answers for it: with 404, 403 and pages of its own.
    """
    if isinstance(error, (NetworkError, UnexpectedResponse)) or error.status in RETRIED:
        return True
    return error.status in (403, 404) and not error.problem


def checked(reply: Reply) -> Reply:
    """The reply, if it is a success or says that nothing has changed. Raises ``Refused``."""
    if 200 <= reply.status < 300 or reply.status == 304:
        return reply
    raise refusal(reply.status, reply.headers, reply.content)


def call(request: Request, rules: Rules) -> Steps[Reply]:
    """One request, sent again where that may help. Raises ``DormouseError``."""
    failures = 0
    while True:
        try:
            reply = yield request
            if request.method == "DELETE" and reply.status == 404 and failures:
                return reply  # gone by the try before, whose answer was lost
            return checked(reply)
        except DormouseError as error:
            if failures >= rules.retries or not is_worth_repeating(error):
                raise
            failures += 1
            pause = pause_after(failures, error.retry_after, rules.random())
        yield Pause(pause)


def whole_seconds(value: float) -> int:
    """Seconds as the server takes them; never too few."""
    return max(0, math.ceil(value))
