"""``/api/v1/responses``: create, retrieve, cancel, delete, and what was asked."""

from __future__ import annotations

from typing import Any

from shared.api.conditions import not_modified
from shared.api.pages import limit_of
from shared.api.rendering import json_response
from shared.api.v1.keys import owner_of
from shared.api.v1.names import response_id, run_id_of
from shared.api.v1.objects import response_object
from shared.api.v1.output import input_items
from shared.api.v1.places import MOST
from shared.api.v1.requests import number_of_query, read_create
from shared.api.v1.starting import begin, finished, given_to, moment, said_in
from shared.api.v1.streaming import streamed
from shared.drivers.driver import Driver
from shared.errors import InvalidRequest, ResponseNotFound
from shared.runs.commands.cancel import cancel as cancel_run
from shared.runs.commands.delete import delete_run
from shared.runs.model.run import Run
from shared.wiring import App


async def create(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/v1/responses``: the response, at once with ``background``, else when it has ended; or its events."""
    since = moment()
    wanted = await read_create(request, owner_of(request, app.settings), app)
    if wanted.background and not wanted.stream:
        return await _answer(await begin(request, wanted, app, driver), app)
    with app.watching.places.take(wanted.owner) as place:  # before anything is begun
        run = await begin(request, wanted, app, driver)
        if wanted.stream:
            return streamed(run, None, app, driver, since=since, place=place.keep())
        return await _answer(await finished(request, wanted, run, app, since=since), app)


async def show(request: Any, app: App, driver: Driver) -> Any:
    """``GET /api/v1/responses/{id}``: the response as it stands; 200 for failed ones too.

    ``?stream=true`` sends its events, from the first, or from after the one that ``starting_after`` numbers.
    """
    run = await _own(request, app)
    if request.query_params.get("stream", "false").lower() == "true" and request.method != "HEAD":
        after = number_of_query(request, "starting_after", MOST)
        place = app.watching.places.take(run.request.owner)
        return streamed(run, after, app, driver, since=moment(), place=place)
    return not_modified(request, await _answer(run, app))


async def cancel(request: Any, app: App, driver: Driver) -> Any:
    """``POST /api/v1/responses/{id}/cancel``: the response, cancelled unless it had ended before. Idempotent."""
    run = await cancel_run(app.ports, (await _own(request, app)).id)
    if run is None:
        raise ResponseNotFound
    if not run.is_done:
        await driver.woken(run.id)
    return await _answer(run, app)


async def delete(request: Any, app: App, driver: Driver) -> Any:
    """``DELETE /api/v1/responses/{id}``: it is gone at once; an active one is cancelled."""
    run = await _own(request, app)
    if await delete_run(app.ports, run.id):
        await driver.woken(run.id)
    return json_response({"id": response_id(run.id), "object": "response.deleted", "deleted": True})


async def list_input(request: Any, app: App) -> Any:
    """``GET /api/v1/responses/{id}/input_items``: the messages that the response answers, latest first."""
    run = await _own(request, app)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` is `asc` or `desc`.", param="order")
    limit = limit_of(request.query_params)
    items = input_items(run, await given_to(run, app))
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
    return json_response({"object": "list", "data": page, "has_more": len(items) > limit, **ends})


async def _own(request: Any, app: App) -> Run:
    owner = owner_of(request, app.settings)
    name = request.path_params["response_id"]
    run = run_id_of(name)
    stored = None if run is None else await app.ports.runs.load_visible(run)
    if stored is None or stored.value.request.owner != owner:
        raise ResponseNotFound(f"There is no response {name!r} here, or it is not yours.", param="response_id")
    return stored.value


async def _answer(run: Run, app: App) -> Any:
    said = await said_in(run, app) if run.terminal else []
    return json_response(response_object(run, said, agent=app.ports.agents.get(run.request.agent)))
