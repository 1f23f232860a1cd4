"""``/api/ops``: what is overdue or put aside, the intake, the drain, and single runs: for whoever runs the app."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared import errors
from shared.api.bodies import invalid
from shared.api.native.ops_shapes import (
    EXAMPLE_DRAINS,
    EXAMPLE_INTAKES,
    Drain,
    DrainBody,
    Intake,
    IntakeBody,
    WatchedList,
    WatchedRow,
    drain_on_the_wire,
    intake_of,
    intake_on_the_wire,
    watched_on_the_wire,
)
from shared.api.operations import BY_OPERATOR, Answer, cursor_parameter, limit_parameter, operation
from shared.api.operators import audit, check_operator
from shared.api.pages import cursor_of, limit_of, query_of
from shared.api.reading import Share, read_json
from shared.drivers.driver import Driver
from shared.errors import BatchNotFound, InvalidOperatorKey, NotFound, RunNotFound, RunUnreadable
from shared.runs.batches.cancel import cancel_batch
from shared.runs.commands import operate
from shared.runs.commands.cancel import cancel
from shared.runs.model.ids import is_batch_id
from shared.runs.ports import Ports
from shared.runs.queries import watched
from shared.runs.queries.watched import WatchedPage
from shared.runs.store.due import Place
from shared.runs.store.unreadable import RowTooOld, RowUnreadable
from shared.wiring import App

TAG = "operations"
OPERATOR = "operator"
"""Who ended a run, as its timeline tells."""

MAX_BYTES = 65_536
"""Of a body: far more than one can have, and little enough to need no counting."""

CURSOR = re.compile(
    r"[0-9]{1,12}[.][0-9]{6}:(?:run_[0-9a-f]{32}_[0-9]{1,8}|(?:batch|schedule|session)_[0-9a-f]{32})", re.ASCII
)
PAGE = (limit_parameter(), cursor_parameter(CURSOR.pattern))
REFUSALS = (NotFound, InvalidOperatorKey)

of_operators = functools.partial(operation, tag=TAG, security=BY_OPERATOR, acts_for="nobody")
"""Describes an operation that only the operator's key opens."""

B = TypeVar("B", bound=BaseModel)
Page = Callable[[Ports, Place | None, int], Awaitable[WatchedPage]]


@of_operators(
    parameters=PAGE,
    answers={200: Answer(text="A page.", shape=WatchedList)},
    problems=(errors.InvalidRequest, *REFUSALS),
)
async def list_overdue(request: Request, app: App) -> Response:
    """List what is overdue.

    Runs, batches, schedules and deletions that should have been woken `DORMOUSE_OVERDUE_SECONDS` ago: a sweep has found
    them so, or none has come to them. Oldest first, each as it stands now; one that moves meanwhile may come twice, or
    not.
    """
    return await _page(request, app, watched.overdue)


@of_operators(
    parameters=PAGE,
    answers={200: Answer(text="A page.", shape=WatchedList)},
    problems=(errors.InvalidRequest, *REFUSALS),
)
async def list_quarantined(request: Request, app: App) -> Response:
    """List what was put aside.

    Runs, batches and schedules whose row this version cannot read, each with the reason. A sweep tries again each hour;
    `release` has it try a run or batch now.
    """
    return await _page(request, app, watched.quarantined)


@of_operators(
    answers={200: Answer(text="As it is.", shape=Intake)},
    problems=REFUSALS,
)
async def get_intake(request: Request, app: App) -> Response:
    """Are new runs taken?

    Whether an operator has paused the intake, since when, and what callers read.
    """
    check_operator(request, app.settings)
    return _answer(intake_on_the_wire(*await watched.intake_and_drain(app.ports)))


@of_operators(
    body=IntakeBody,
    examples=EXAMPLE_INTAKES,
    answers={200: Answer(text="As it is now.", shape=Intake)},
    problems=REFUSALS,
)
async def set_intake(request: Request, app: App) -> Response:
    """Pause the intake, or open it again.

    While it is paused each new run and batch is 503 `intake_paused`, whoever sends it. What is at work goes on, a
    batch's own items too, and a known `Idempotency-Key` is answered with its run. Every instance obeys within five
    seconds, also after a restart.
    """
    check_operator(request, app.settings)
    wanted = intake_of(await body_of(request, app, IntakeBody))
    after = await operate.set_intake(app.ports, wanted)
    audit(request, "pause" if wanted.paused else "resume", "the intake")
    _, drain = await watched.intake_and_drain(app.ports)
    return _answer(intake_on_the_wire(after, drain))


@of_operators(
    answers={200: Answer(text="As it is.", shape=Drain)},
    problems=REFUSALS,
)
async def get_drain(request: Request, app: App) -> Response:
    """Is the app drained?

    Whether an operator wants nothing to begin, and which runs are still at work.
    """
    check_operator(request, app.settings)
    return _answer(drain_on_the_wire(await watched.at_work(app.ports)))


@of_operators(
    body=DrainBody,
    examples=EXAMPLE_DRAINS,
    answers={200: Answer(text="As it is now.", shape=Drain)},
    problems=REFUSALS,
)
async def set_drain(request: Request, app: App) -> Response:
    """Drain the app, or let it go on.

    While it drains nothing new is taken, and no wake begins anything: no request to the model, no tool, no callback,
    no item of a batch, no retention. What is under way ends. Deadlines go on. After the end of a drain all goes on by
    itself within a minute.
    """
    check_operator(request, app.settings)
    wanted = await body_of(request, app, DrainBody)
    await operate.set_drain(app.ports, draining=wanted.draining)
    audit(request, "drain" if wanted.draining else "end the drain of", "the app")
    return _answer(drain_on_the_wire(await watched.at_work(app.ports)))


@of_operators(
    answers={200: Answer(text="How it stands now.", shape=WatchedRow)},
    problems=(RunNotFound, RunUnreadable, *REFUSALS),
)
async def operate_run(request: Request, app: App, driver: Driver) -> Response:
    """Wake, release or end a run.

    Whoever owns it. `wake` signals its driver now. `release` gives it back to its driver: its due row is due now, what
    was put aside is tried again, and its orchestration is started where there is none. `end` cancels it, as its owner
    could; its timeline says that an operator did.
    """
    return await _operate(request, app, driver, request.path_params["run_id"], RunNotFound)


@of_operators(
    answers={200: Answer(text="How it stands now.", shape=WatchedRow)},
    problems=(BatchNotFound, RunUnreadable, *REFUSALS),
)
async def operate_batch(request: Request, app: App, driver: Driver) -> Response:
    """Wake, release or end a batch.

    As for a run. `end` cancels it with its active runs.
    """
    return await _operate(request, app, driver, request.path_params["batch_id"], BatchNotFound)


async def _operate(
    request: Request, app: App, driver: Driver, subject: str, absent: type[errors.DormouseError]
) -> Response:
    check_operator(request, app.settings)
    action, ports = request.path_params["action"].lower(), app.ports
    found = await watched.watched_one(ports, subject)
    if not found.is_there:
        raise absent
    if action == "end":
        await _end(ports, subject, absent)
    elif action == "release" and not found.is_done:
        await operate.release(ports, subject)
    audit(request, action, subject, level=logging.WARNING if action == "end" else logging.INFO)
    after = await watched.watched_one(ports, subject)
    if not after.is_done:
        await driver.wake(subject)
    return _answer(watched_on_the_wire(after))


async def _end(ports: Ports, subject: str, absent: type[errors.DormouseError]) -> None:
    try:
        ended = await (cancel_batch(ports, subject) if is_batch_id(subject) else cancel(ports, subject, by=OPERATOR))
    except RowTooOld:
        raise
    except RowUnreadable as error:
        raise RunUnreadable from error
    if ended is None:
        raise absent


async def _page(request: Request, app: App, read: Page) -> Response:
    check_operator(request, app.settings)
    query = query_of(request, "limit", "cursor")
    page = await read(app.ports, _place_of(cursor_of(query, CURSOR)), limit_of(query))
    body: WatchedList = {"data": [watched_on_the_wire(each) for each in page.found], "watched": page.watched}
    if page.following is not None:
        moment, subject = page.following
        body["next_cursor"] = f"{moment:.6f}:{subject}"
    return _answer(body)


def _place_of(cursor: str | None) -> Place | None:
    moment, _, subject = (cursor or "").partition(":")
    return (float(moment), subject) if subject else None


async def body_of(request: Request, app: App, kind: type[B]) -> B:
    """What an operator sends. Raises the errors that say what to change."""
    with Share(app.settings) as share:
        given = await read_json(request, MAX_BYTES, share)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None


def _answer(body: Intake | Drain | WatchedList | WatchedRow) -> Response:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
