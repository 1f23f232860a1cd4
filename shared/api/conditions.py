"""What a caller asks of the answer besides its content: to wait for it, and to have it only when it is new."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.errors import InvalidRequest
from shared.runs.model.calls import ToolCall
from shared.runs.model.run import Run

MOST_SECONDS = 30


def wait_of_query(request: Any) -> float:
    """``?wait=N``: seconds to wait for a change, 0 to 30; 0 without. Raises ``InvalidRequest``."""
    given = request.query_params.get("wait")
    if given is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,4}", given, re.ASCII) is None or int(given) > MOST_SECONDS:
        raise InvalidRequest(f"`wait` is a whole number of seconds from 0 to {MOST_SECONDS}.", param="wait")
    return float(given)


def wait_of_preference(request: Any) -> int | None:
    """``Prefer: respond-async, wait=N`` (RFC 7240): seconds to wait for the end, at most 30. A preference that is
    none is passed over, as the RFC wants it.
    """
    for header in request.headers.getlist("prefer"):
        match = re.search(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:$|[,;])", header, re.ASCII | re.IGNORECASE)
        if match:
            return min(int(match[1]), MOST_SECONDS)
    return None


def not_modified(request: Any, response: Any) -> Any:
    """304 in place of a 200 whose ETag the caller has (RFC 9110, section 13.1.2)."""
    known = ",".join(request.headers.getlist("if-none-match"))
    etag = response.headers.get("etag")
    if response.status_code != 200 or etag is None:
        return response
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    if etag not in tags and "*" not in tags:
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    return Response(status_code=304, headers=kept)


def facts(run: Run, calls: Sequence[ToolCall]) -> object:
    """What a caller who waits is waiting for: all that changes but the wakes."""
    said = [(call.call_id, call.state, call.approval, call.starts, call.progress_at) for call in calls]
    return run.status, run.turn.number, run.is_deleted, said
