"""``/api/runs/{id}/deliveries``: the log of a run's callbacks, and one more delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared import errors
from shared.api.http import json_response, not_modified, time_on_the_wire
from shared.api.native.fields import CallbackStatus, Time
from shared.api.native.runs import TAG, own_run
from shared.api.operations import IF_NONE_MATCH, UNCHANGED, Answer, operation
from shared.drivers.driver import Driver
from shared.errors import RunNotFound
from shared.runs.commands.redeliver import redeliver
from shared.runs.model.deliveries import Delivery as DeliveryRecord
from shared.runs.model.deliveries import DeliveryState
from shared.runs.model.run import Run
from shared.runs.queries.runs import deliveries_of
from shared.runs.rules.callbacks import callback_due, callback_status, type_of, webhook_id
from shared.wiring import App


class Delivery(TypedDict):
    """One attempt to tell the caller's address."""

    webhook_id: str
    """The message's id, the same in all attempts at it (the header `webhook-id`)."""

    type: str
    """What is reported, such as `run.completed`."""

    attempt: Annotated[int, Field(ge=1)]
    """Its number among the attempts at this message; the first is 1."""

    state: Literal[DeliveryState.SENDING, DeliveryState.DELIVERED, DeliveryState.FAILED]
    """`sending`: under way, or cut off by a crash."""

    sent_at: Time
    """When it was sent."""

    http_status: int | None
    """What the receiver answered; null when no answer came."""

    error: str | None
    """A word for why there is no HTTP status."""

    seconds: float | None
    """How long the answer took; null without one."""

    next_attempt_at: Time | None
    """When it was to be tried again; null when it was not."""


class Deliveries(TypedDict):
    """The log of a run's callbacks."""

    callback_url: str | None
    """Where the run's end and its questions are reported; null when nowhere."""

    callback_status: CallbackStatus | None
    """What became of the last callback; null while none is due or was sent."""

    next_attempt_at: Time | None
    """When the next attempt is due; null when none is."""

    data: list[Delivery]
    """The latest attempts, newest first."""


@operation(
    tag=TAG,
    parameters=(IF_NONE_MATCH,),
    answers={200: Answer(text="The latest attempts.", shape=Deliveries, headers=("ETag",)), 304: UNCHANGED},
    problems=(RunNotFound,),
)
async def list_deliveries(request: Request, app: App) -> Response:
    """See what became of a run's callbacks.

    Each attempt, with what the receiver answered, or why no answer came.
    """
    return not_modified(request, json_response(await _log(app, await own_run(request, app))))


@operation(
    tag=TAG,
    answers={202: Answer(text="It is on its way.", shape=Deliveries, headers=("ETag",))},
    problems=(RunNotFound, errors.CallbacksDisabled, errors.NoCallback, errors.RunNotEnded),
)
async def deliver_again(request: Request, app: App, driver: Driver) -> Response:
    """Deliver the callback of a run's end again.

    Under the same `webhook-id`, also after the receiver wanted no more, or when it was given up.
    """
    run = await redeliver(app.ports, (await own_run(request, app)).id)
    if run is None:
        raise RunNotFound
    body = await _log(app, run)  # before the wake: the attempt that it makes is not to be in it by chance
    await driver.wake(run.id)
    return json_response(body, status=202)


async def _log(app: App, run: Run) -> Deliveries:
    return deliveries_on_the_wire(run, await deliveries_of(app.ports, run))


def deliveries_on_the_wire(run: Run, lines: Sequence[DeliveryRecord]) -> Deliveries:
    """The log of a run's callbacks, as callers see it."""
    return {
        "callback_url": run.request.callback_url,
        "callback_status": callback_status(run.outbox),
        "next_attempt_at": time_on_the_wire(callback_due(run.outbox)),
        "data": [_line(run, line) for line in reversed(lines)],
    }


def _line(run: Run, line: DeliveryRecord) -> Delivery:
    return {
        "webhook_id": webhook_id(run.id, line.event),
        "type": type_of(line.event),
        "attempt": line.attempt,
        "state": line.state,
        "sent_at": time_on_the_wire(line.sent_at),
        "http_status": line.http_status,
        "error": line.fault,
        "seconds": line.seconds,
        "next_attempt_at": time_on_the_wire(line.next_try_at),
    }
