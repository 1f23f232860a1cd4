"""``/api/runs``: submit, status, list, cancel, answer, delete."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.api.bodies import read_answers, read_submission
from shared.api.callers import owner_of
from shared.api.conditions import facts, not_modified, wait_of_preference, wait_of_query
from shared.api.pages import read_page
from shared.api.rendering import json_response, time_on_the_wire
from shared.drivers.driver import Driver
from shared.errors import RunNotFound, TooManyViewers
from shared.runs.commands.answer import answer as answer_run
from shared.runs.commands.cancel import cancel as cancel_run
from shared.runs.commands.delete import delete_run
from shared.runs.commands.submit import submit as submit_run
from shared.runs.concurrency import side_by_side
from shared.runs.model.calls import Approval, CallState, ToolCall
from shared.runs.model.phases import RunningTools, WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.rules.agenda import next_time
from shared.runs.rules.approvals import approval_id
from shared.runs.rules.callbacks import callback_status
from shared.runs.store.runs import READS
from shared.runs.watching.views import Seen
from shared.wiring import App

SOONER: dict[type, int] = {RunningTools: 5, WaitingForAnswers: 30}
"""The longest `Retry-After`, in seconds, while the next change is not up to the schedule."""

PAGES_READ = 10
"""Pages of the index that one list call reads at most while it looks for runs that a filter lets through."""


async def submit(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/runs``: 202 and the run, or 200 when it is final already."""
    wanted = await read_submission(request, owner_of(request, app.settings), app.settings)
    submitted = await submit_run(app.ports, wanted)
    await driver.started(submitted)
    run, calls = submitted.run, await _calls(app, submitted.run)
    wait = wait_of_preference(request)
    if wait and not run.terminal:
        try:
            run, calls = await _ended(app, run, calls, wait)
        except TooManyViewers:  # it is submitted, and to wait was only a wish
            wait = None
    response = await _answer(app, run, calls, status=200 if run.terminal else 202, located=True)
    if wait is not None:
        response.headers["Preference-Applied"] = f"wait={wait}"
    response.headers["Vary"] = "Prefer"
    return response


async def show(request: Any, app: App) -> Any:
    """``GET /api/runs/{id}``: the run as it stands; 200 for failed ones too, 304 for one that the caller has.

    ``?wait=N`` answers when something of it changes that a person would want to see, or after N seconds; at once when
    it is not what the caller has, who says so with ``If-None-Match``.
    """
    seconds = wait_of_query(request)
    run = await own_run(request, app)
    if not seconds or run.terminal:
        return not_modified(request, await _answer(app, run, await _calls(app, run)))
    before: object = None
    if "if-none-match" in request.headers:
        calls = await _calls(app, run)
        response = await _answer(app, run, calls)
        if not_modified(request, response) is response:
            return response
        before = facts(run, calls)

    def is_other(now: Seen | None) -> bool:
        nonlocal before
        seen = None if now is None else facts(now.run, now.calls)
        before = before or seen  # who does not say what it has waits for what changes from now on
        return seen is None or seen != before

    with app.watching.places.take(run.request.owner):
        now = await app.watching.until(run.id, seconds, is_other)
    if now is None:
        raise RunNotFound
    return not_modified(request, await _answer(app, now.run, now.calls))


async def list_own(request: Any, app: App) -> Any:
    """``GET /api/runs``: the caller's own runs, newest first, by status and agent, in pages."""
    page = read_page(request)
    owner = owner_of(request, app.settings)
    found: list[Run] = []
    cursor: str | None = page.cursor
    for _ in range(PAGES_READ):
        places, cursor = await app.ports.index.page(owner, cursor, page.limit)
        loaded = await side_by_side(places, lambda place: app.ports.runs.load_visible(place.run_id), at_once=READS)
        for number, (place, stored) in enumerate(zip(places, loaded, strict=True)):
            if stored is None or stored.value.request.fingerprint != place.fingerprint:
                continue
            if not page.wants(stored.value):
                continue
            found.append(stored.value)
            if len(found) == page.limit:
                if number + 1 < len(places) or cursor is not None:
                    cursor = place.cursor
                return not_modified(request, _listed(app, found, cursor))
        if cursor is None:
            break
    return not_modified(request, _listed(app, found, cursor))


async def cancel(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/runs/{id}/cancel``: the run, cancelled unless it had ended before. Idempotent."""
    run = await cancel_run(app.ports, (await own_run(request, app)).id)
    if run is None:
        raise RunNotFound
    if not run.is_done:
        await driver.woken(run.id)
    return await _answer(app, run, await _calls(app, run))


async def answer(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/runs/{id}/answers``: the run, which goes on when every question is answered. Idempotent."""
    run_id = (await own_run(request, app)).id
    run = await answer_run(app.ports, run_id, await read_answers(request, app.settings))
    if run is None:
        raise RunNotFound
    if isinstance(run.phase, RunningTools):
        await driver.woken(run.id)
    return await _answer(app, run, await _calls(app, run))


async def delete(request: Any, app: App, driver: Driver) -> Any:
    """``DELETE /api/runs/{id}``: 204. What it owes, here and at the provider, is done afterwards."""
    run_id = (await own_run(request, app)).id
    if await delete_run(app.ports, run_id):
        await driver.woken(run_id)
    return Response(status_code=204)


async def own_run(request: Any, app: App) -> Run:
    """The run that the address names, if it is the caller's. Raises ``RunNotFound``, ``Unauthenticated``."""
    owner = owner_of(request, app.settings)
    stored = await app.ports.runs.load_visible(request.path_params["run_id"])
    if stored is None or stored.value.request.owner != owner:
        raise RunNotFound
    return stored.value


async def _calls(app: App, run: Run) -> Sequence[ToolCall]:
    return [call.value for call in await app.ports.runs.calls(run)] if run.counters.tool_calls else []


async def _ended(app: App, run: Run, calls: Sequence[ToolCall], wait: float) -> tuple[Run, Sequence[ToolCall]]:
    """The run when it has ended, or after that time, as it was last seen. Raises ``TooManyViewers``."""
    with app.watching.places.take(run.request.owner):
        seen = await app.watching.until(run.id, wait, lambda now: now is None or now.run.terminal)
    return (run, calls) if seen is None else (seen.run, seen.calls)


def _listed(app: App, runs: Sequence[Run], cursor: str | None) -> Any:
    body = {"data": [in_a_list(run, url=_url(app, run)) for run in runs]}
    return json_response(body if cursor is None else {**body, "next_cursor": cursor})


def _url(app: App, run: Run) -> str:
    return f"{app.settings.base_url}/api/runs/{run.id}"


async def _answer(app: App, run: Run, calls: Sequence[ToolCall], *, status: int = 200, located: bool = False) -> Any:
    body = await body_of(app, run, calls)
    url = _url(app, run)
    headers: dict[str, str] = {}
    if located:
        headers |= {"Location": url, "Operation-Location": url}
    if not run.terminal:
        headers["Retry-After"] = str(_retry_after(run, app.ports.clock()))
    return json_response(body, status=status, headers=headers)


async def body_of(app: App, run: Run, calls: Sequence[ToolCall]) -> Mapping[str, Any]:
    """A run as callers see it, with its long values read back. Raises ``RunNotFound`` if it is deleted meanwhile."""
    store = app.ports.runs
    waiting = [call for call in calls if call.state is CallState.WAITING]
    try:
        return on_the_wire(
            run,
            url=_url(app, run),
            text=await store.read(run, run.result.text),
            output=await store.read(run, run.result.output),
            calls=calls,
            asked=[_question(call, await store.read(run, call.arguments)) for call in waiting],
        )
    except LookupError:
        again = await store.load(run.id)
        if again is None or again.value.is_deleted:
            raise RunNotFound from None
        raise


def _retry_after(run: Run, now: datetime) -> int:
    """Seconds until it is worth asking again: the next wake; sooner where tools or people decide, not the schedule."""
    soonest = next_time(run)
    seconds = 1 if soonest is None else max(1, math.ceil((soonest.due - now).total_seconds()))
    return min(seconds, SOONER.get(type(run.phase), seconds))


def _wake_at(run: Run) -> datetime | None:
    soonest = next_time(run)
    return None if soonest is None else soonest.due


def _gap(run: Run) -> float | None:
    """The same in the body: between the last look and the next, so that it stays as it is from look to look."""
    if run.terminal:
        return None
    sooner = SOONER.get(type(run.phase))
    return run.schedule.retry_after if sooner is None else float(min(run.schedule.retry_after or sooner, sooner))


def on_the_wire(
    run: Run,
    *,
    url: str,
    text: str,
    output: str = "",
    calls: Sequence[ToolCall] = (),
    asked: Sequence[Mapping[str, Any]] = (),
) -> Mapping[str, Any]:
    """A run as callers see it. The continuation token is not in it, nor anything else that is the provider's."""
    return {
        "id": run.id,
        "object": "run",
        "url": url,
        "status": run.status.value,
        "agent": run.request.agent,
        "session_id": run.request.session_id,
        "batch_id": run.request.batch_id,
        "text": text,
        "output": json.loads(output) if output else None,
        "error": None
        if run.result.error_code is None
        else {"code": run.result.error_code, "message": run.result.error_message},
        "incomplete_details": None
        if run.result.incomplete_reason is None
        else {"reason": run.result.incomplete_reason},
        "required_action": {"type": "approve", "calls": asked} if asked and not run.terminal else None,
        "tool_calls": [call_on_the_wire(call) for call in calls],
        "progress": _progress(calls),
        "provider_status": run.chain.provider_status,
        "usage": {
            "input_tokens": run.counters.usage.input_tokens,
            "output_tokens": run.counters.usage.output_tokens,
            "total_tokens": run.counters.usage.total_tokens,
            "cached_tokens": run.counters.usage.cached_tokens,
            "reasoning_tokens": run.counters.usage.reasoning_tokens,
        },
        "turn": run.turn.number,
        "wakes": run.counters.wakes,
        "metadata": run.request.metadata,
        "callback_url": run.request.callback_url,
        "callback_status": callback_status(run.outbox),
        "created_at": time_on_the_wire(run.request.created_at),
        "updated_at": time_on_the_wire(run.updated_at),
        "completed_at": time_on_the_wire(run.completed_at),
        "wake_at": None if run.terminal else time_on_the_wire(_wake_at(run)),
        "retry_after": _gap(run),
    }


def in_a_list(run: Run, *, url: str) -> Mapping[str, Any]:
    """A run as a list shows it: without what is long, or lies in other rows."""
    full = on_the_wire(run, url=url, text="")
    left_out = ("text", "output", "tool_calls", "required_action", "progress")
    return {name: value for name, value in full.items() if name not in left_out}


def call_on_the_wire(call: ToolCall) -> Mapping[str, Any]:
    """A tool call as callers see it: without what it was given and what it returned."""
    return {
        "call_id": call.call_id,
        "name": call.name,
        "turn": call.turn,
        "state": call.state.value,
        "starts": call.starts,
        "started_at": time_on_the_wire(call.started_at),
        "finished_at": time_on_the_wire(call.finished_at),
        "approval": None if call.approval is Approval.NONE else call.approval.value,
        "progress": _progress([call]),
    }


def _question(call: ToolCall, arguments: str) -> Mapping[str, Any]:
    """What a person is asked: which call, with what, and why. Its ``id`` is what an answer names."""
    return {
        "id": approval_id(call),
        "call_id": call.call_id,
        "name": call.name,
        "arguments": arguments,
        "reason": call.why or None,
    }


def _progress(calls: Iterable[ToolCall]) -> Mapping[str, Any] | None:
    """The last word of the calls on how far they are."""
    said = [(call.progress_at, call) for call in calls if call.progress_at is not None]
    if not said:
        return None
    at, call = max(said, key=lambda each: each[0])
    return {
        "call_id": call.call_id,
        "name": call.name,
        "message": call.progress,
        "fraction": call.progress_fraction,
        "at": time_on_the_wire(at),
    }
