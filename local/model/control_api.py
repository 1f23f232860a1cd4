"""The control API, under `/control/{world}`: scripts and switches in, log and responses out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.model.api import WorldOf
from local.model.errors import error_body
from local.model.faults import ScriptError, keyed
from local.model.responses import Ending, StoredResponse
from local.model.script import STATUSES
from local.model.world import World

Handler = Callable[[World, Request, Any], Any]


class _NotHere(Exception):
    pass


def control_routes(world_of: WorldOf) -> list[Route]:
    """The control routes, with the world's name in the path."""

    def route(path: str, method: str, handle: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            try:
                data = json.loads(raw) if raw else None
                told = handle(world_of(request.path_params["world"]), request, data)
            except _NotHere as error:
                return JSONResponse(error_body(str(error), kind="control_error"), 404)
            except (ValueError, TypeError) as error:
                return JSONResponse(error_body(str(error), kind="control_error"), 400)
            return JSONResponse(told if told is not None else {"ok": True})

        typed: Callable[[Request], Awaitable[Response]] = endpoint
        return Route("/{world}" + path, typed, methods=[method])

    return [
        route("/scripts/{name}", "PUT", _put_script),
        route("/switches", "PUT", lambda world, _, data: world.set_switches(data)),
        route("/log", "GET", lambda world, *_: {"data": [asdict(entry) for entry in world.log]}),
        route("/responses", "GET", lambda world, *_: {"data": [asdict(r) for r in world.known_responses()]}),
        route("/responses/{response_id}/finish", "POST", _finish),
        route("/responses/{response_id}", "POST", _force),
        route("/reset", "POST", lambda world, *_: world.reset()),
    ]


def _put_script(world: World, request: Request, data: Any) -> None:
    world.set_script(request.path_params["name"], data)


def _stored(world: World, request: Request) -> StoredResponse:
    response_id = request.path_params["response_id"]
    if response_id not in world.responses:
        raise _NotHere(f"no response {response_id} in this world")
    return world.responses[response_id]


def _finish(world: World, request: Request, _: Any) -> None:
    _stored(world, request).finish(world.clock())


def _force(world: World, request: Request, data: Any) -> None:
    stored = _stored(world, request)
    wish = keyed(data, "body", ("status", "error", "forget"))
    if wish.get("forget"):
        stored.forgotten = True
    if "status" in wish:
        status = wish["status"]
        if status not in STATUSES:
            raise ScriptError(f"status must be one of {', '.join(STATUSES)}")
        planned = stored.planned
        error = {"code": "server_error", "message": "Ended by force.", **(wish.get("error") or {})}
        reason = (planned.incomplete_reason or "max_output_tokens") if status == "incomplete" else None
        output = planned.output if status in ("completed", "incomplete") else ()
        failure = error if status == "failed" else None
        stored.force(Ending(status, output, failure, reason, planned.usage), world.clock())
