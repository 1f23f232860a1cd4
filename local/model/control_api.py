"""The control API, under `/control/{account}`: scripts and switches in, log and responses out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.model.account import Account
from local.model.api import AccountOf
from local.model.errors import error_body
from local.model.faults import ScriptError, keyed
from local.model.responses import Ending, StoredResponse
from local.model.script import STATUSES
from local.model.state import restore, state_of

Handler = Callable[[Account, Request, Any], Any]


class _NoResponse(Exception):
    """The account has no response of this id."""


def control_routes(account_of: AccountOf) -> list[Route]:
    """The control routes, with the account's name in the path."""

    def route(path: str, method: str, handle: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            try:
                data = json.loads(raw) if raw else None
                result = handle(account_of(request.path_params["account"]), request, data)
            except _NoResponse as error:
                return JSONResponse(error_body(str(error), kind="control_error"), 404)
            # A test with a wrong script must read why, in the answer and not in a server's log.
            except (ValueError, TypeError) as error:
                return JSONResponse(error_body(str(error), kind="control_error"), 400)
            return JSONResponse(result if result is not None else {"ok": True})

        typed: Callable[[Request], Awaitable[Response]] = endpoint
        return Route("/{account}" + path, typed, methods=[method])

    return [
        route("/scripts/{name}", "PUT", _put_script),
        route("/switches", "PUT", lambda account, _, data: account.set_switches(data)),
        route("/log", "GET", lambda account, *_: {"data": [asdict(entry) for entry in account.log]}),
        route("/responses", "GET", lambda account, *_: {"data": [asdict(r) for r in account.known_responses()]}),
        route("/responses/{response_id}/finish", "POST", _finish),
        route("/responses/{response_id}", "POST", _force),
        route("/reset", "POST", lambda account, *_: account.reset()),
        route("/state", "GET", lambda account, *_: state_of(account)),
        route("/state", "PUT", lambda account, _, data: restore(account, data)),
    ]


def _put_script(account: Account, request: Request, data: Any) -> None:
    account.set_script(request.path_params["name"], data)


def _stored(account: Account, request: Request) -> StoredResponse:
    response_id = request.path_params["response_id"]
    if response_id not in account.responses:
        raise _NoResponse(f"no response {response_id} in this account")
    return account.responses[response_id]


def _finish(account: Account, request: Request, _: Any) -> None:
    _stored(account, request).finish(account.clock())


def _force(account: Account, request: Request, data: Any) -> None:
    stored = _stored(account, request)
    wanted = keyed(data, "body", ("status", "error", "forget"))
    if wanted.get("forget"):
        stored.forgotten = True
    if "status" in wanted:
        status = wanted["status"]
        if status not in STATUSES:
            raise ScriptError(f"status must be one of {', '.join(STATUSES)}")
        planned = stored.planned
        error = {"code": "server_error", "message": "Ended by force.", **(wanted.get("error") or {})}
        # The API has a reason for every incomplete response.
        reason = (planned.incomplete_reason or "max_output_tokens") if status == "incomplete" else None
        output = planned.output if status in ("completed", "incomplete") else ()
        failure = error if status == "failed" else None
        stored.force(Ending(status, output, failure, reason, planned.usage), account.clock())
