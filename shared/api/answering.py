"""What every answer of the app has in common: errors as problems, the headers that pages may read, a request id."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from shared.api.problems import problem
from shared.errors import DormouseError, StorageUnavailable
from shared.runs.concurrency import LostRace
from shared.runs.ports import log
from shared.runs.store.tables import Conflict, StoreUnavailable

EXPOSED = "Location, Operation-Location, Retry-After, ETag, Preference-Applied, X-Request-Id"
"""What a page of another origin may read of an answer, where the platform lets it call at all."""

_request: ContextVar[str] = ContextVar("request_id", default="")

Handler = Callable[..., Awaitable[Any]]


def answered(handler: Handler) -> Handler:
    """A trigger's handler, whatever becomes of it: what it raises is its problem response.

    The caller's `X-Request-Id`, or one of ours, is on the answer and in every line that is logged meanwhile.
    """
    return answered_as(problem)(handler)


def answered_as(render: Callable[[DormouseError], Any]) -> Callable[[Handler], Handler]:
    """``answered`` for callers who want errors in another shape."""
    return functools.partial(_answered, render)


def _answered(render: Callable[[DormouseError], Any], handler: Handler) -> Handler:
    @functools.wraps(handler)
    async def wrapped(req: Any, *args: Any, **kwargs: Any) -> Any:
        request_id = _request_id(req)
        token = _request.set(request_id)
        try:
            response = await _answer(render, handler, req, *args, **kwargs)
        finally:
            _request.reset(token)
        response.headers["X-Request-Id"] = request_id
        response.headers["Access-Control-Expose-Headers"] = EXPOSED
        if hasattr(response, "body_iterator"):
            response.body_iterator = _streamed(request_id, response.body_iterator)
        if req.method == "HEAD":
            response.body = b""  # Content-Length stays that of the GET
        return response

    return wrapped


async def _answer(render: Callable[[DormouseError], Any], handler: Handler, *args: Any, **kwargs: Any) -> Any:
    """The handler's answer, or the problem of what it raised; the unexpected is logged and is a 500 of ours."""
    try:
        return await handler(*args, **kwargs)
    except DormouseError as error:
        return render(error)
    except (StoreUnavailable, Conflict, LostRace) as error:
        log.warning("the store: %s", error)
        return render(StorageUnavailable(headers={"Retry-After": "5"}))
    except Exception:
        log.exception("a request failed in a way nobody expected")
        return render(DormouseError())


async def _streamed(request_id: str, chunks: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """A body that is made while it is sent, by the request's own task: what it logs names the request too."""
    _request.set(request_id)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk


def _request_id(request: Any) -> str:
    """The caller's, if it is fit for headers and logs; else a new one."""
    given = request.headers.get("x-request-id", "")
    return given if re.fullmatch(r"[A-Za-z0-9._:/+=@-]{1,128}", given, re.ASCII) else secrets.token_hex(16)


def _with_request_id(record: logging.LogRecord) -> bool:
    """Name the request in what is logged while it is answered."""
    request_id = _request.get()
    if request_id and not hasattr(record, "request_id"):
        record.request_id = request_id
        record.msg = f"{record.msg} (request {request_id})"
    return True


log.addFilter(_with_request_id)
