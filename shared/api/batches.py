"""``/api/batches``: submit, status, items, list, cancel, deliver again, delete."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from azurefunctions.extensions.http.fastapi import Response

from shared.api.batch_bodies import read_batch
from shared.api.callers import owner_of
from shared.api.conditions import not_modified
from shared.api.pages import MOST_BYTES, cursor_of, limit_of, query_of, statuses_of
from shared.api.reading import Share
from shared.api.rendering import json_response, time_on_the_wire
from shared.drivers.driver import Driver
from shared.errors import BatchNotFound
from shared.runs.batches.callbacks import redeliver_batch
from shared.runs.batches.cancel import cancel_batch
from shared.runs.batches.delete import delete_batch
from shared.runs.batches.submit import submit_batch
from shared.runs.concurrency import side_by_side
from shared.runs.model.batch import Batch, BatchItem, ItemResult, ItemStatus, counts, item_status, run_of
from shared.runs.model.run import Run
from shared.runs.rules.callbacks import callback_due, callback_status
from shared.runs.store.index import BATCHES
from shared.runs.store.runs import READS
from shared.wiring import App

_Found = tuple[BatchItem, ItemStatus, ItemResult | None]
"""An item without what it asks for, where it stands, and its result if it has ended."""

_CURSOR = re.compile(r"[0-9]{14}:batch_[0-9a-f]{32}:[0-9a-f]{1,16}", re.ASCII)
_ITEM_CURSOR = re.compile(r"[0-9]{6}", re.ASCII)


async def submit(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/batches``: 202 and the batch; 200 when it is over already."""
    with Share(app.settings) as share:
        wanted = await read_batch(request, owner_of(request, app.settings), app.settings, share)
        submitted = await submit_batch(app.ports, wanted)
    await driver.batch_started(submitted)
    batch = submitted.batch
    return _answer(app, batch, status=200 if batch.status.over else 202, located=True)


async def show(request: Any, app: App) -> Any:
    """``GET /api/batches/{id}``: the batch as it stands; 304 for one that the caller has."""
    return not_modified(request, _answer(app, await _own_batch(request, app)))


async def list_own(request: Any, app: App) -> Any:
    """``GET /api/batches``: the caller's own batches, newest first, in pages."""
    query = query_of(request, "limit", "cursor")
    cursor = cursor_of(query, _CURSOR)
    places, after = await app.ports.index.page(owner_of(request, app.settings), cursor, limit_of(query), of=BATCHES)
    loaded = await side_by_side(places, lambda place: app.ports.batches.load(place.run_id), at_once=READS)
    data = [
        on_the_wire(stored.value, url=_url(app, stored.value))
        for place, stored in zip(places, loaded, strict=True)
        if stored is not None and stored.value.request.fingerprint == place.fingerprint and not stored.value.is_deleted
    ]
    return not_modified(request, json_response({"data": data, **({} if after is None else {"next_cursor": after})}))


async def items(request: Any, app: App) -> Any:
    """``GET /api/batches/{id}/items``: the items in order with what became of them, by status, in pages."""
    query = query_of(request, "limit", "cursor", "status")
    limit, first = limit_of(query), int(cursor_of(query, _ITEM_CURSOR) or "0")
    wanted = statuses_of(query, ItemStatus)
    batch = await _own_batch(request, app)
    store = app.ports.batches
    heads = await store.heads(batch.id, first, limit=None if wanted else limit + 1)
    results = await store.results(batch.id, first, heads[-1].index + 1) if heads else {}
    found = [
        (head, status, results.get(head.index))
        for head in heads
        if (status := item_status(batch, head.index, results.get(head.index))) in wanted or not wanted
    ]
    page = found[: limit + 1]
    data = await _data(app, batch, page[:limit])
    body: dict[str, Any] = {"data": data}
    if len(data) < len(page):
        body["next_cursor"] = f"{page[len(data)][0].index:06}"
    return not_modified(request, json_response(body))


async def cancel(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/batches/{id}/cancel``: the batch, as it is being cancelled unless it was over. Idempotent."""
    batch = await cancel_batch(app.ports, (await _own_batch(request, app)).id)
    if batch is None or batch.is_deleted:
        raise BatchNotFound
    if not batch.is_done:
        await driver.woken(batch.id)
    return _answer(app, batch)


async def deliver_again(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/batches/{id}/deliveries``: 202; the batch's end is told again, under the same id."""
    batch = await redeliver_batch(app.ports, (await _own_batch(request, app)).id)
    if batch is None:
        raise BatchNotFound
    await driver.woken(batch.id)
    return _answer(app, batch, status=202)


async def delete(request: Any, app: App, driver: Driver) -> Any:
    """``DELETE /api/batches/{id}``: 204. Its runs go as well, here and at the provider; an active one is cancelled."""
    batch = await _own_batch(request, app)
    if await delete_batch(app.ports, batch.id):
        await driver.woken(batch.id)
    return Response(status_code=204)


def on_the_wire(batch: Batch, *, url: str) -> Mapping[str, Any]:
    """A batch as callers see it."""
    return {
        "id": batch.id,
        "object": "batch",
        "url": url,
        "items_url": f"{url}/items",
        "status": batch.status.value,
        "counts": counts(batch),
        "agent": batch.request.agent,
        "model": batch.request.model,
        "concurrency": batch.request.concurrency,
        "metadata": batch.request.metadata,
        "callback_url": batch.request.callback_url,
        "callback_status": callback_status(batch.outbox),
        "callback_attempts": batch.outbox.deliveries,
        "callback_last": _last_attempt(batch),
        "created_at": time_on_the_wire(batch.request.created_at),
        "updated_at": time_on_the_wire(batch.updated_at),
        "completed_at": time_on_the_wire(batch.over_at),
        "retry_after": None if batch.status.over else batch.schedule.retry_after,
    }


def _last_attempt(batch: Batch) -> Mapping[str, Any] | None:
    last = batch.last_callback
    if last.at is None:
        return None
    return {
        "sent_at": time_on_the_wire(last.at),
        "http_status": last.http_status,
        "error": last.fault,
        "next_attempt_at": time_on_the_wire(callback_due(batch.outbox)),
    }


def _item(
    app: App,
    batch: Batch,
    head: BatchItem,
    status: ItemStatus,
    result: ItemResult | None,
    run: Run | None,
    text: str,
    output: str,
) -> Mapping[str, Any]:
    code = head.error_code if result is None else result.error_code
    message = head.error_message if result is None else result.error_message
    if status is ItemStatus.FAILED and code is None and result is None:  # it never had its turn
        code, message = "internal_error", batch.progress.failed_because
    incomplete = run.result.incomplete_reason if run is not None else None
    return {
        "id": head.id,
        "object": "batch.item",
        "index": head.index,
        "status": status.value,
        "run_id": None if run is None else run.id,
        "run_url": None if run is None else f"{app.settings.base_url}/api/runs/{run.id}",
        "run_status": None if run is None else run.status.value,
        "text": text,
        "output": json.loads(output) if output else None,
        "error": None if code is None else {"code": code, "message": message},
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "completed_at": None if result is None else time_on_the_wire(result.ended_at),
    }


async def _data(app: App, batch: Batch, page: Sequence[_Found]) -> list[Mapping[str, Any]]:
    """As many of the items as one answer may hold, some read side by side."""
    data: list[Mapping[str, Any]] = []
    held = 0
    for start in range(0, len(page), READS):
        some = page[start : start + READS]
        runs = await side_by_side(some, lambda each: _run(app, batch, *each), at_once=READS)
        for (head, status, result), run in zip(some, runs, strict=True):
            text, output = await _said(app, run)
            held += len(text.encode()) + len(output.encode())
            if data and held > MOST_BYTES:
                return data
            data.append(_item(app, batch, head, status, result, run, text, output))
    return data


async def _run(app: App, batch: Batch, head: BatchItem, status: ItemStatus, result: ItemResult | None) -> Run | None:
    """The run of an item that has one, and still has."""
    if head.error_code is not None or (result is not None and not result.ran):
        return None
    if result is None and status is not ItemStatus.ACTIVE:
        return None
    stored = await app.ports.runs.load(run_of(batch.id, head.index))
    return None if stored is None or stored.value.is_deleted else stored.value


async def _said(app: App, run: Run | None) -> tuple[str, str]:
    """The run's text and output; nothing of one that is deleted while we read it."""
    if run is None:
        return "", ""
    try:
        return await app.ports.runs.read(run, run.result.text), await app.ports.runs.read(run, run.result.output)
    except LookupError:
        again = await app.ports.runs.load(run.id)
        if again is None or again.value.is_deleted:
            return "", ""
        raise


async def _own_batch(request: Any, app: App) -> Batch:
    owner = owner_of(request, app.settings)
    stored = await app.ports.batches.load(request.path_params["batch_id"])
    if stored is None or stored.value.request.owner != owner or stored.value.is_deleted:
        raise BatchNotFound
    return stored.value


def _answer(app: App, batch: Batch, *, status: int = 200, located: bool = False) -> Any:
    url = _url(app, batch)
    headers: dict[str, str] = {}
    if located:
        headers |= {"Location": url, "Operation-Location": url}
    if not batch.status.over:
        seconds = (batch.schedule.wake_at - app.ports.clock()).total_seconds()
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    return json_response(on_the_wire(batch, url=url), status=status, headers=headers)


def _url(app: App, batch: Batch) -> str:
    return f"{app.settings.base_url}/api/batches/{batch.id}"
