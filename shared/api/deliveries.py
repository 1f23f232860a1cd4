"""``/api/runs/{id}/deliveries``: the log of a run's callbacks, and one more delivery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.api.conditions import not_modified
from shared.api.rendering import json_response, time_on_the_wire
from shared.api.runs import own_run
from shared.drivers.driver import Driver
from shared.errors import RunNotFound
from shared.runs.commands.redeliver import redeliver
from shared.runs.model.deliveries import Delivery
from shared.runs.model.run import Run
from shared.runs.rules.callbacks import callback_due, callback_status, type_of, webhook_id
from shared.wiring import App


async def show(request: Any, app: App) -> Any:
    """``GET``: where the run's callbacks stand, and the latest attempts, newest first."""
    return not_modified(request, await _log(app, await own_run(request, app)))


async def again(request: Any, app: App, driver: Driver) -> Any:
    """``POST``: 202, and the end of the run is delivered again, under the same id, whatever became of it before."""
    run = await redeliver(app.ports, (await own_run(request, app)).id)
    if run is None:
        raise RunNotFound
    answer = await _log(app, run, status=202)  # before the driver hears of it: what stands beside the run's own word
    await driver.woken(run.id)
    return answer


async def _log(app: App, run: Run, *, status: int = 200) -> Any:
    lines = [stored.value for stored in await app.ports.runs.deliveries(run)]
    body = {
        "callback_url": run.request.callback_url,
        "callback_status": callback_status(run.outbox),
        "next_attempt_at": time_on_the_wire(callback_due(run.outbox)),
        "data": [_line(run, line) for line in reversed(lines)],
    }
    return json_response(body, status=status)


def _line(run: Run, line: Delivery) -> Mapping[str, Any]:
    return {
        "webhook_id": webhook_id(run.id, line.event),
        "type": type_of(line.event),
        "attempt": line.attempt,
        "state": line.state.value,
        "sent_at": time_on_the_wire(line.sent_at),
        "http_status": line.http_status,
        "error": line.fault,
        "seconds": line.seconds,
        "next_attempt_at": time_on_the_wire(line.next_try_at),
    }
