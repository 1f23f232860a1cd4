"""``/api/v1/responses``: create, retrieve, cancel, delete, list the input."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shared.api.http import json_response, not_modified
from shared.api.openai.events import MAX_NUMBER
from shared.api.openai.http import owner_of_key
from shared.api.openai.objects import input_messages, response_id, response_object, run_id_of
from shared.api.openai.requests import number_of_query, read_create
from shared.api.openai.starting import loop_time, start_run, wait_for_end
from shared.api.openai.streaming import event_stream
from shared.api.pages import limit_of
from shared.drivers.driver import Driver
from shared.errors import InvalidRequest, ResponseNotFound, RunNotFound
from shared.runs.commands.cancel import cancel as cancel_run
from shared.runs.commands.delete import delete_run
from shared.runs.model.run import Run
from shared.runs.queries.conversation import input_of, run_of_owner, turn_texts
from shared.wiring import App


async def create(request: Request, app: App, driver: Driver) -> Response:
    """``POST /api/v1/responses``: the response, at once with ``background``, else when it has ended; or its events."""
    arrived = loop_time()
    submission = await read_create(request, owner_of_key(request, app.settings), app)
    if submission.background and not submission.stream:
        return await _answer(await start_run(request, submission, app, driver), app)
    with app.watching.places.take(submission.owner) as place:  # first: who has too many open must not start a run
        run = await start_run(request, submission, app, driver)
        if submission.stream:
            return event_stream(run, None, app, driver, arrived=arrived, place=place.keep())
        return await _answer(await wait_for_end(request, submission, run, app, arrived=arrived), app)


async def show(request: Request, app: App, driver: Driver) -> Response:
    """``GET /api/v1/responses/{id}``: the response as it stands; 200 for failed ones too.

    ``?stream=true`` sends its events, from the first, or from after the one that ``starting_after`` numbers.
    """
    run = await _own_run(request, app)
    if request.query_params.get("stream", "false").lower() == "true" and request.method != "HEAD":
        after = number_of_query(request, "starting_after", MAX_NUMBER)
        place = app.watching.places.take(run.request.owner)
        return event_stream(run, after, app, driver, arrived=loop_time(), place=place)
    response: Response = not_modified(request, await _answer(run, app))
    return response


async def cancel(request: Request, app: App, driver: Driver) -> Response:
    """``POST /api/v1/responses/{id}/cancel``: the response, cancelled unless it had ended before. Idempotent."""
    run = await cancel_run(app.ports, (await _own_run(request, app)).id)
    if run is None:
        raise ResponseNotFound
    if not run.is_done:
        await driver.woken(run.id)
    return await _answer(run, app)


async def delete(request: Request, app: App, driver: Driver) -> Response:
    """``DELETE /api/v1/responses/{id}``: it is gone at once; an active one is cancelled."""
    run = await _own_run(request, app)
    if await delete_run(app.ports, run.id):
        await driver.woken(run.id)
    response: Response = json_response({"id": response_id(run.id), "object": "response.deleted", "deleted": True})
    return response


async def list_input(request: Request, app: App) -> Response:
    """``GET /api/v1/responses/{id}/input_items``: the messages that the response answers, latest first."""
    run = await _own_run(request, app)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` is `asc` or `desc`.", param="order")
    limit = limit_of(request.query_params)
    items = input_messages(run, await input_of(app.ports, run))
    if order == "desc":
        items.reverse()
    after = request.query_params.get("after")
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidRequest("`after` is the id of no item of this list.", param="after")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": "", "last_id": ""}
    response: Response = json_response({"object": "list", "data": page, "has_more": len(items) > limit, **ends})
    return response


async def _own_run(request: Request, app: App) -> Run:
    owner = owner_of_key(request, app.settings)
    name = request.path_params["response_id"]
    run_id = run_id_of(name)
    try:
        if run_id is not None:
            return await run_of_owner(app.ports, run_id, owner)
    except RunNotFound:
        pass
    raise ResponseNotFound(f"There is no response {name!r} here, or it is not yours.", param="response_id")


async def _answer(run: Run, app: App) -> Response:
    turns = await turn_texts(app.ports, run) if run.terminal else []
    response: Response = json_response(response_object(run, turns, agent=app.ports.agents.get(run.request.agent)))
    return response
