"""Everything that a call can raise.

DormouseError                  has `code`, `status`, `detail`
├─ InvalidArgument             also a ValueError: seen here, nothing was sent
├─ NetworkError                no answer: the connection failed or was cut
├─ UnexpectedResponse          an answer that is not the app's; something in between gave it
├─ WaitTimeout                 also a TimeoutError: the run goes on
├─ CallbackRefused             a callback whose signature or time is not right
└─ Refused                     the app said no
   ├─ InvalidRequest           400, 413, 415, 422
   ├─ NotAllowed               401, 403
   ├─ NotFound                 404, 410
   ├─ Conflict                 409
   ├─ TooManyRequests          429
   └─ ServerError              500 and above
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class DormouseError(Exception):
    """The base of them all. Programs go by `code`, which is stable; people read `detail`, which says what to do."""

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int = 0,
        problem: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        """The HTTP status; 0 when there was no answer."""
        self.problem: dict[str, Any] = dict(problem or {})
        """The whole body of the refusal (RFC 9457), `errors` with the fields that do not fit among it; may be empty."""
        self.retry_after = retry_after
        """Seconds, where the server said when to try again."""
        self.request_id = request_id
        """What the app's log calls this request."""

    def __str__(self) -> str:
        fields = "".join(f" {each['field']}: {each['problem']}." for each in _fields(self.problem))
        return f"{self.detail}{fields} [{self.code}]"


class InvalidArgument(DormouseError, ValueError):
    """An argument that cannot be right. Nothing was sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="invalid_argument")


class NetworkError(DormouseError):
    """There was no answer. The call may have been carried out; a submit repeated with the same key makes no second."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="network_error")


class UnexpectedResponse(DormouseError):
    """An answer that is not the app's: a proxy or gateway in between gave it, or the address leads elsewhere."""

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(detail, code="unexpected_response", status=status)


class WaitTimeout(DormouseError, TimeoutError):
    """The time that a wait was given is over. What was waited for goes on; `last` is how it was last seen."""

    def __init__(self, detail: str, last: Any) -> None:
        super().__init__(detail, code="wait_timeout")
        self.last = last


class CallbackRefused(DormouseError):
    """A callback that does not come from your app, or too late. Answer it with 401, and do nothing else."""

    def __init__(self, detail: str, *, code: str = "invalid_signature") -> None:
        super().__init__(detail, code=code)


class Refused(DormouseError):
    """The app, or the platform before it, refused the call."""


class InvalidRequest(Refused):
    """The request does not fit. `problem["errors"]` may name the fields."""


class NotAllowed(Refused):
    """Whoever calls is not known, or may not do this."""


class NotFound(Refused):
    """There is no such thing, it is not yours, or it was deleted."""


class Conflict(Refused):
    """It does not fit how things stand: the session is busy, the call was answered, the run has ended."""


class TooManyRequests(Refused):
    """There is too much at once. `retry_after` says when to come back."""


class ServerError(Refused):
    """The app, its storage or its provider failed."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: InvalidRequest,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    410: NotFound,
    409: Conflict,
    429: TooManyRequests,
}
_SAID_BY_THE_PLATFORM = {
    401: "The function key is missing or wrong. Give the app's key as `key` (the environment's DORMOUSE_KEY).",
    403: "The platform refused the call before the app saw it: the app is stopped, or its network does not let you in.",
    404: "There is no Dormouse app at this address, or it is just being started.",
}


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """The error for an answer that is no success. The headers' names are in lower case."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else Refused)
    code, detail = problem.get("code"), problem.get("detail")
    if 300 <= status < 400:
        detail = f"The server sends this call on to {headers.get('location', 'another address')}: use that address."
    return kind(
        detail if isinstance(detail, str) else _SAID_BY_THE_PLATFORM.get(status, f"The server answered {status}."),
        code=code if isinstance(code, str) else f"http_{status}",
        status=status,
        problem=problem,
        retry_after=seconds(headers),
        request_id=headers.get("x-request-id"),
    )


def seconds(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` says, where it is a number of seconds."""
    given = headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdecimal() and len(given) < 10 else None


def _fields(problem: Mapping[str, Any]) -> list[dict[str, Any]]:
    errors = problem.get("errors")
    if not isinstance(errors, list):
        return []
    return [each for each in errors if isinstance(each, dict) and {"field", "problem"} <= each.keys()]
