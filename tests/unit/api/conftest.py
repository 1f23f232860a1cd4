"""Requests as a trigger gets them, without a host; and runs as they are answered with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from shared.agentkit.agent import ContinuationToken
from shared.runs.model.phases import Creating, Ended, Pending, Phase, RunStatus, WaitingForAnswers
from shared.runs.model.run import Run
from tests.unit.runs.records import NOW, a_run, at


def request(
    body: bytes | str | Any = None,
    *,
    headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
    path: Mapping[str, str] | None = None,
    query: str = "",
    chunk: int = 65_536,
) -> Request:
    """A request; anything but bytes is sent as JSON. The body comes in chunks, without a length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = [*(headers or {}).items()] if not isinstance(headers, list) else headers
    pairs = [("host", "127.0.0.1:50000"), *given]
    if not any(name.lower() == "content-type" for name, _ in pairs):
        pairs.append(("content-type", "application/json"))
    chunks = [data[at : at + chunk] for at in range(0, len(data), chunk)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": at < len(chunks)} for at, piece in enumerate(chunks, 1)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
        "path_params": dict(path or {}),
    }
    return Request(scope, receive)


def content(response: Any) -> dict[str, Any]:
    """The JSON of a response."""
    body: dict[str, Any] = json.loads(bytes(response.body))
    return body


def a_run_that_is(status: RunStatus, **changes: Any) -> Run:
    """A run of that status, with these changes as ``a_run`` takes them."""
    phases: dict[RunStatus, Phase] = {
        RunStatus.QUEUED: Creating(),
        RunStatus.IN_PROGRESS: Pending(token=ContinuationToken(response_id="resp_1"), next_look=at(2)),
        RunStatus.REQUIRES_ACTION: WaitingForAnswers(answer_by=at(600), seconds_left=None),
    }
    run = a_run(phase=phases.get(status) or Ended(status=status, completed_at=NOW), **changes)
    assert run.status is status
    return run
