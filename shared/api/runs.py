"""``/api/runs``: submit, status, cancel."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.api.bodies import read_submission
from shared.api.callers import owner_of
from shared.drivers.durable import Hub
from shared.errors import RunNotFound
from shared.runs.run import Next, Run, ToolCall
from shared.wiring import App


async def submit(request: Any, app: App, hub: Hub) -> Any:
    """``POST /api/runs``: 202 and the run, or 200 when it is final already."""
    wanted = await read_submission(request, owner_of(request, app.settings), app.settings)
    submitted = await app.submissions.submit(wanted)
    await app.signals.started(submitted, hub)
    run = submitted.run
    return await _answer(app, run, status=200 if run.terminal else 202, located=True)


async def show(request: Any, app: App) -> Any:
    """``GET /api/runs/{id}``: the run as it stands; 200 for failed ones too."""
    return await _answer(app, await _own_run(request, app))


async def cancel(request: Any, app: App, hub: Hub) -> Any:
    """``POST /api/runs/{id}/cancel``: the run, cancelled unless it had ended before. Idempotent."""
    run = await app.lifecycle.cancel((await _own_run(request, app)).id)
    if run is None:
        raise RunNotFound
    if run.next is not Next.NONE:
        await app.signals.woken(run.id, hub)
    return await _answer(app, run)


async def _own_run(request: Any, app: App) -> Run:
    owner = owner_of(request, app.settings)
    stored = await app.services.store.load(request.path_params["run_id"])
    if stored is None or stored.value.owner != owner:
        raise RunNotFound
    return stored.value


async def _answer(app: App, run: Run, *, status: int = 200, located: bool = False) -> Any:
    store = app.services.store
    calls = [call.value for call in await store.calls(run)] if run.tool_calls else []
    url = f"{app.settings.base_url}/api/runs/{run.id}"
    body = on_the_wire(run, url=url, text=await store.read(run, run.text), calls=calls)
    headers: dict[str, str] = {"Cache-Control": "no-cache"}
    if located:
        headers |= {"Location": url, "Operation-Location": url}
    if not run.terminal:
        headers["Retry-After"] = str(max(1, math.ceil((run.wake_at - app.services.clock()).total_seconds())))
    return Response(
        content=json.dumps(body, ensure_ascii=False).encode(),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


def on_the_wire(run: Run, *, url: str, text: str, calls: list[ToolCall]) -> Mapping[str, Any]:
    """A run as callers see it. The continuation token is not in it, nor anything else that is the provider's."""
    return {
        "id": run.id,
        "object": "run",
        "url": url,
        "status": run.status.value,
        "agent": run.agent,
        "session_id": run.session_id,
        "text": text,
        "output": None,
        "error": None if run.error_code is None else {"code": run.error_code, "message": run.error_message},
        "incomplete_details": None if run.incomplete_reason is None else {"reason": run.incomplete_reason},
        "required_action": None,
        "tool_calls": [_call(call) for call in calls],
        "progress": None,
        "provider_status": run.provider_status,
        "usage": {
            "input_tokens": run.usage.input_tokens,
            "output_tokens": run.usage.output_tokens,
            "total_tokens": run.usage.total_tokens,
            "cached_tokens": run.usage.cached_tokens,
            "reasoning_tokens": run.usage.reasoning_tokens,
        },
        "turn": run.turn,
        "wakes": run.wakes,
        "metadata": run.metadata,
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "completed_at": _time(run.completed_at),
        "wake_at": None if run.terminal else _time(run.wake_at),
        "retry_after": None if run.terminal else run.retry_after,
    }


def _call(call: ToolCall) -> Mapping[str, Any]:
    return {
        "call_id": call.call_id,
        "name": call.name,
        "turn": call.turn,
        "state": call.state.value,
        "starts": call.starts,
        "started_at": _time(call.started_at),
        "finished_at": _time(call.finished_at),
    }


def _time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
