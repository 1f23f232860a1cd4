"""Errors as ``application/problem+json`` (RFC 9457), rendered in this one place."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec

from azurefunctions.extensions.http.fastapi import Response

from shared.errors import DormouseError, StorageUnavailable
from shared.runs.services import log
from shared.runs.store.tables import Conflict, StoreUnavailable

P = ParamSpec("P")


def problem(error: DormouseError) -> Any:
    """The response for an error: its code, what happened, and what to do next."""
    body = {
        "type": f"urn:dormouse:{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        **{name: value for name, value in error.details.items() if value is not None},
    }
    return Response(
        content=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=error.status,
        media_type="application/problem+json",
        headers={"Cache-Control": "no-store", **error.headers},
    )


def answers_problems(handler: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[Any]]:
    """Turn what a handler raises into its problem response; the unexpected is logged and is a 500 of ours."""

    @functools.wraps(handler)
    async def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            return await handler(*args, **kwargs)
        except DormouseError as error:
            return problem(error)
        except (StoreUnavailable, Conflict) as error:
            log.warning("the store: %s", error)
            return problem(StorageUnavailable(headers={"Retry-After": "5"}))
        except Exception:
            log.exception("a request failed in a way nobody expected")
            return problem(DormouseError())

    return wrapped
