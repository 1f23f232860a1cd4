"""``/api/ops/export`` and ``/api/ops/erase``: what is stored of an owner, for whoever has to answer a person."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import errors
from shared.api.native.ops import REFUSALS, body_of, of_operators
from shared.api.native.owner_shapes import (
    EXAMPLE_OWNERS,
    Elsewhere,
    Erasure,
    Export,
    OwnerBody,
    erasure_on_the_wire,
    exported_on_the_wire,
)
from shared.api.operations import Answer
from shared.api.operators import audit, check_operator
from shared.api.pages import not_a_cursor
from shared.drivers.driver import Driver
from shared.drivers.retention import HISTORY_KEPT
from shared.runs.actions.outbox import PROVIDER_KEEPS
from shared.runs.commands.delete import tombstone_kept
from shared.runs.model.owners import OwnerPlace
from shared.runs.owners.erase import Erasure as ErasureRecord
from shared.runs.owners.erase import erase as erase_pages
from shared.runs.queries.owners import all_of_owner
from shared.runs.store.owners import digest_of
from shared.settings import Settings
from shared.wiring import App

PAGE_BYTES = 1_000_000
"""Bytes of a page of an export, but for its last piece: one value may be longer."""

PAGE_SECONDS = 5.0
"""How long one call goes on, but for what it has begun."""


@of_operators(
    body=OwnerBody,
    examples=EXAMPLE_OWNERS,
    answers={200: Answer(text="A page.", shape=Export)},
    problems=(errors.InvalidRequest, *REFUSALS),
)
async def export_owner(request: Request, app: App) -> Response:
    """Export what is stored of an owner.

    All of it, in pages of about a megabyte: sessions with their runs and all of their texts, batches with their items,
    what is kept of requests. What cannot be read is named. Whatever changes meanwhile may be in it or not.
    """
    check_operator(request, app.settings)
    body = await body_of(request, app, OwnerBody)
    place = _place_of(body.cursor)
    _audit(request, "export what is stored of", body)
    page: Export = {"data": []}
    size, until, following = 0, _now() + PAGE_SECONDS, None
    try:
        async for step in all_of_owner(app.ports, body.owner, place):
            if step.found is not None:
                entry = exported_on_the_wire(app, step.found)
                page["data"].append(entry)
                size += len(json.dumps(entry))
            if size >= PAGE_BYTES or _now() >= until:
                following = step.after
                break
    except ValueError as error:
        raise not_a_cursor() from error
    if following is None:
        page["elsewhere"] = _elsewhere(app.settings, erased=False)
    else:
        page["next_cursor"] = following.to_cursor()
    return JSONResponse(page, headers={"Cache-Control": "no-store"})


@of_operators(
    body=OwnerBody,
    examples=EXAMPLE_OWNERS,
    answers={200: Answer(text="What was done, and where to go on.", shape=Erasure)},
    problems=(errors.InvalidRequest, *REFUSALS),
)
async def erase_owner(request: Request, app: App, driver: Driver) -> Response:
    """Erase what is stored of an owner.

    Deletes sessions with their runs, batches, and what is kept of requests, a few seconds with each call: call again
    with `next_cursor` until there is none. What is active is cancelled; nobody sees any of it from then on. The app
    deletes the provider's copies, and removes the rows. What was submitted meanwhile is deleted in a second pass. It
    may be called any number of times.
    """
    check_operator(request, app.settings)
    body = await body_of(request, app, OwnerBody)
    place = _place_of(body.cursor)
    _audit(request, "erase what is stored of", body)
    done, until, is_over = ErasureRecord(after=place), _now() + PAGE_SECONDS, True
    try:
        async for step in erase_pages(app.ports, body.owner, place, driver.wake):
            done.erased.update(step.erased)
            done.remaining.update(step.remaining)
            done.failures += step.failures
            done.after = step.after
            if _now() >= until and not step.is_last:
                is_over = False
                break
    except ValueError as error:
        raise not_a_cursor() from error
    answer = erasure_on_the_wire(done)
    if is_over:
        answer["elsewhere"] = _elsewhere(app.settings, erased=True)
    else:
        answer["next_cursor"] = done.after.to_cursor()
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _place_of(cursor: str | None) -> OwnerPlace:
    try:
        return OwnerPlace() if cursor is None else OwnerPlace.from_cursor(cursor)
    except ValueError as error:
        raise not_a_cursor() from error


def _audit(request: Request, action: str, body: OwnerBody) -> None:
    # By a digest: the log outlives what is erased, and must not name the person.
    level = logging.WARNING if body.cursor is None else logging.INFO
    audit(request, action, f"the owner with SHA-256 {digest_of(body.owner)}", level=level)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _elsewhere(settings: Settings, *, erased: bool) -> list[Elsewhere]:
    """Where else something of an owner is, in words for whoever answers the person."""
    hours, days = tombstone_kept(settings).total_seconds() / 3_600, HISTORY_KEPT.days
    found: Sequence[tuple[str, str]] = (
        (
            "provider",
            "The model provider keeps a copy of each response until its run is deleted, here or by retention; what is "
            f"deleted here is deleted there, which the app tries for {PROVIDER_KEEPS.days} days.",
        ),
        ("task_hub", f"The task hub's history names runs by their ids, for {days} days. No text is in it."),
        ("callbacks", "Receivers of callbacks were sent ids, statuses, times and metadata. Ask those who run them."),
        ("logs", "Logs, traces and metrics name runs by their ids, as long as your workspace keeps them."),
        (
            "backups",
            "Backups of the tables hold what was there when they were made. Delete them, or erase again after "
            "one was restored.",
        ),
    )
    tombstones = (
        "tombstones",
        f"Rows of what was deleted stay for {hours:g} hours without any text: owner, ids, times, statuses and hashes.",
    )
    return [{"where": where, "what": what} for where, what in ((tombstones, *found) if erased else found)]
