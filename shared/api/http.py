"""What all faces of the app have in common over HTTP: answers, problems, conditions, a request id."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Annotated, Concatenate, Literal, NotRequired, ParamSpec, cast, overload

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from shared.errors import DormouseError, EncryptionKeyUnavailable, InvalidRequest, Misconfigured, StorageUnavailable
from shared.runs.concurrency import LostRace
from shared.runs.log import log
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Conflict, StoreUnavailable
from shared.runs.store.unreadable import RowTooOld
from shared.telemetry.spans import called_with

EXPOSED = "Location, Operation-Location, Retry-After, ETag, Preference-Applied, X-Request-Id"
"""What a page of another origin may read of an answer, where the platform lets it call at all."""

MAX_SECONDS = 30
"""The longest that a request may ask to be held."""

# A context variable: each request is a task, and what it awaits or starts sees the same id.
_request: ContextVar[str] = ContextVar("request_id", default="")

P = ParamSpec("P")
Handler = Callable[Concatenate[Request, P], Awaitable[Response]]
Render = Callable[[DormouseError], Response]
Coding = Literal["gzip", "identity"]

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)


# --- answers ---


def json_response(
    body: Mapping[str, object],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    once: Mapping[str, object] | None = None,
    etag: str | None = None,
) -> Response:
    """A JSON answer that caches revalidate, with a strong ETag: ``etag``, else one of its bytes.

    ``once`` are fields of this answer alone, which nobody may keep: the ETag is that of the body without them.
    """
    content = json.dumps(body, ensure_ascii=False).encode()
    etag = etag or f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Response(
        content=json.dumps({**body, **once}, ensure_ascii=False).encode() if once else content,
        status_code=status,
        media_type="application/json",
        # `no-cache` lets caches keep it, but not use it without asking.
        headers={"Cache-Control": "no-store" if once else "no-cache", "ETag": etag, **(headers or {})},
    )


@overload
def time_on_the_wire(moment: datetime) -> str: ...


@overload
def time_on_the_wire(moment: datetime | None) -> str | None: ...


def time_on_the_wire(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FieldProblem(TypedDict):
    """What is wrong with one field."""

    field: str
    """Where in the body, with dots."""

    problem: str
    """What is wrong there."""


class Problem(TypedDict):
    """An error (RFC 9457). Some have fields of their own besides, such as `active_run` or `limit`."""

    type: Annotated[str, Field(pattern="^urn:dormouse:[a-z_]+$")]
    """The code as a URN."""

    title: str
    """The code in words."""

    status: Annotated[int, Field(ge=400, le=599)]
    """The HTTP status."""

    code: str
    """A stable word for programs."""

    detail: str
    """A sentence for people that says what to do."""

    errors: NotRequired[list[FieldProblem]]
    """Which fields of the request do not fit."""


def problem(error: DormouseError) -> Response:
    """The response for an error: its code, what happened, and what to do next."""
    body: Problem = {
        "type": f"urn:dormouse:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
    }
    own = {name: value for name, value in error.details.items() if value is not None}
    return Response(
        # The sentence may quote half a surrogate pair from the request, which UTF-8 cannot hold.
        content=json.dumps({**body, **own}, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **error.headers},
    )


def answered(handler: Handler[P]) -> Handler[P]:
    """A trigger's handler, whatever becomes of it: what it raises is its problem response.

    The caller's `X-Request-Id`, or one of ours, is on the answer and in every line that is logged meanwhile.
    """
    return answered_as(problem)(handler)


def answered_as(render: Render) -> Callable[[Handler[P]], Handler[P]]:
    """``answered`` for callers who want errors in another shape."""
    return functools.partial(_answered, render)


def _answered(render: Render, handler: Handler[P]) -> Handler[P]:
    # The worker binds a trigger by the names and annotations of its parameters, which this keeps.
    @functools.wraps(handler)
    async def wrapped(req: Request, *args: P.args, **kwargs: P.kwargs) -> Response:
        request_id = _request_id(req)
        token = _request.set(request_id)
        try:
            with called_with(req.headers.get("traceparent", "")):
                response = await _answer(render, handler, req, *args, **kwargs)
        finally:
            _request.reset(token)
        response.headers["X-Request-Id"] = request_id
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        if isinstance(response, StreamingResponse):
            chunks = cast("AsyncGenerator[bytes, None]", response.body_iterator)  # as all bodies of this app are
            response.body_iterator = _streamed(request_id, chunks)
        if req.method == "HEAD":
            response.body = b""  # Content-Length stays that of the GET
        return response

    return cast("Handler[P]", wrapped)  # the host calls it by name; a type cannot say so beside `P`


async def _answer(render: Render, handler: Handler[P], req: Request, *args: P.args, **kwargs: P.kwargs) -> Response:
    """The handler's answer, or the problem of what it raised; the unexpected is logged and is a 500 of ours."""
    try:
        return await handler(req, *args, **kwargs)
    except DormouseError as error:
        return render(error)
    # A lost race as well: nothing is wrong with the request, and the next try may win.
    except (StoreUnavailable, Conflict, LostRace) as error:
        log.warning("the store: %s", error)
        kind = EncryptionKeyUnavailable if isinstance(error, KeyUnavailable) else StorageUnavailable
        return render(kind(headers={"Retry-After": "5"}))
    except RowTooOld as error:
        log.error("a row is of an earlier format: %s", error)
        return render(Misconfigured(str(error)))
    except Exception:
        # Not left to the host, whose own 500 is empty and names no request.
        log.exception("a request failed in a way nobody expected")
        return render(DormouseError())


async def _streamed(request_id: str, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    # The body is sent after the handler has returned, when the id is no longer set.
    _request.set(request_id)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk


def _request_id(request: Request) -> str:
    """The caller's, if it is fit for headers and logs; else a new one."""
    given = request.headers.get("x-request-id", "")
    # No line end, which could forge a line of the log; no `%`, which would break its formatting.
    return given if re.fullmatch(r"[A-Za-z0-9._:/+=@-]{1,128}", given, re.ASCII) else secrets.token_hex(16)


def _with_request_id(record: logging.LogRecord) -> bool:
    """Name the request in what is logged while it is answered."""
    request_id = _request.get()
    if request_id and not hasattr(record, "request_id"):
        record.request_id = request_id
        record.msg = f"{record.msg} (request {request_id})"
    return True


# --- what a caller asks of the answer besides its content ---


def wait_of_query(request: Request) -> float:
    """``?wait=N``: seconds to wait for a change, 0 to 30; 0 without. Raises ``InvalidRequest``."""
    given = request.query_params.get("wait")
    if given is None:
        return 0.0
    # By a pattern: `int` also takes signs, blanks, underscores and digits of other scripts.
    if re.fullmatch(r"[0-9]{1,4}", given, re.ASCII) is None or int(given) > MAX_SECONDS:
        raise InvalidRequest(f"`wait` is a whole number of seconds from 0 to {MAX_SECONDS}.", param="wait")
    return float(given)


def wait_of_preference(request: Request) -> int | None:
    """``Prefer: respond-async, wait=N`` (RFC 7240): seconds to wait for the end, at most 30. A preference that is
    none is passed over, as the RFC wants it.
    """
    for header in request.headers.getlist("prefer"):
        match = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:$|[,;])", header, re.ASCII | re.IGNORECASE)
        if match:
            return min(int(match[1]), MAX_SECONDS)
    return None


def coding_of(accepted: str) -> Coding:
    """How to send it to who accepts this (the header ``Accept-Encoding``: RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for each in accepted.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        weights[name] = _weight(parameters)
    # As it is in any case: RFC 9110 allows that also where `identity` is refused, and everybody can read it.
    return "gzip" if weights.get("gzip", weights.get("*", 0.0)) > 0 else "identity"


def _weight(parameters: list[str]) -> float:
    """The value of ``q``; 1 without one, 0 for one that is none."""
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value.strip()) else 0.0
    return 1.0


def is_known(request: Request, etag: str) -> bool:
    """Whether the caller says that it has the body of that ETag."""
    known = ",".join(request.headers.getlist("if-none-match"))
    # The comparison is the weak one (RFC 9110): a proxy that compresses makes our tag weak.
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return etag in tags or "*" in tags


def not_modified(request: Request, response: Response) -> Response:
    """304 in place of a 200 whose ETag the caller has (RFC 9110, section 13.1.2)."""
    etag = response.headers.get("etag")
    if response.status_code != 200 or etag is None or not is_known(request, etag):
        return response
    # These describe a body, and a 304 has none.
    of_a_body = ("content-length", "content-type", "content-encoding")
    kept = {name: value for name, value in response.headers.items() if name not in of_a_body}
    return Response(status_code=304, headers=kept)


log.addFilter(_with_request_id)
