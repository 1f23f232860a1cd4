"""The management API of the task hub: the routes of the durable client and of the public webhooks, and the binding."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.host.durable.events import compact_json, parse_time
from local.host.durable.hub import ConflictError, Hub, InvalidIdError, StillRunningError
from local.host.durable.instance import Instance, describe

PUBLIC_PATH = "/runtime/webhooks/durabletask"
RPC_PATH = "/durabletask"

_OPERATIONS = {
    "statusQueryGetUri": "?",
    "sendEventPostUri": "/raiseEvent/{eventName}?",
    "terminatePostUri": "/terminate?reason={text}&",
    "rewindPostUri": "/rewind?reason={text}&",
    "purgeHistoryDeleteUri": "?",
    "restartPostUri": "/restart?",
    "suspendPostUri": "/suspend?reason={text}&",
    "resumePostUri": "/resume?reason={text}&",
}


class ManagementApi:
    """Answers management requests for one hub."""

    def __init__(self, hub: Hub, hub_name: str, system_key: str) -> None:
        self._hub = hub
        self._hub_name = hub_name
        self._code = f"code={system_key}"

    def binding(self, public_url: str, rpc_url: str) -> str:
        """What a durable client binding hands to a function, as JSON; URLs without a slash at the end."""
        base = f"{public_url}{PUBLIC_PATH}"
        create = f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]?"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&"
        return json.dumps(
            {
                "taskHubName": self._hub_name,
                "connectionName": None,
                "creationUrls": {
                    "createNewInstancePostUri": f"{create}{self._code}",
                    "createAndWaitOnNewInstancePostUri": f"{create}{wait}{self._code}",
                },
                "managementUrls": self._links(base, "INSTANCEID"),
                "baseUrl": base,
                "requiredQueryStringParameters": self._code,
                "rpcBaseUrl": f"{rpc_url}{RPC_PATH}/",
                "httpBaseUrl": None,
                "maxGrpcMessageSizeInBytes": None,
                "grpcHttpClientTimeout": None,
            }
        )

    def _links(self, base: str, instance_id: str) -> dict[str, str]:
        tail = f"taskHub={self._hub_name}&connection=Storage&{self._code}"
        links = {name: f"{base}/instances/{instance_id}{middle}{tail}" for name, middle in _OPERATIONS.items()}
        return {"id": instance_id, **links}

    async def answer(self, request: Request, tail: str) -> Response:
        """Answer a request to `<base>/<tail>`; `tail` is the raw path without a slash in front."""
        # Split first: an id may hold an escaped slash.
        parts = [unquote(part) for part in tail.rstrip("/").split("/")]
        match request.method, parts[0].lower(), parts[1:]:
            case "POST", "orchestrators", [name]:
                return await self._start(request, name, None)
            case "POST", "orchestrators", [name, instance_id]:
                return await self._start(request, name, instance_id)
            case "GET" | "DELETE" as method, "instances", []:
                try:
                    found = self._matching(request)
                except ValueError as error:
                    return _bad(str(error))
                return self._purge_all(found) if method == "DELETE" else self._list(request, found)
            case method, "instances", [instance_id, *rest]:
                instance = self._hub.get(instance_id)
                if instance is None:
                    return Response(status_code=404)
                return await self._manage(request, method, instance, rest)
            case _, "entities", _:
                return JSONResponse("this local host has no entities; run the app with `func start`", 501)
        return Response(status_code=404)

    async def _start(self, request: Request, name: str, instance_id: str | None) -> Response:
        try:
            input_text = _canonical(await request.body())
        except ValueError as error:
            return _bad(f"the input is not JSON: {error}")
        version = request.query_params.get("version")
        return self._begin(request, name, instance_id, input_text, version)

    def _begin(
        self, request: Request, name: str, instance_id: str | None, input_text: str | None, version: str | None
    ) -> Response:
        try:
            instance = self._hub.start(name, instance_id, input_text, version)
        except InvalidIdError as error:
            return _bad(str(error))
        except ConflictError as error:
            # The client makes a plain exception of it: only this text says that the instance is there already.
            return JSONResponse({"Message": str(error)}, 409)
        links = self._links(f"{str(request.base_url).rstrip('/')}{PUBLIC_PATH}", instance.id)
        # As the real host's answer to a start, which names no rewind.
        del links["rewindPostUri"]
        location = {"Location": links["statusQueryGetUri"], "Retry-After": "10"}
        return JSONResponse(links, 202, headers=location)

    async def _manage(self, request: Request, method: str, instance: Instance, rest: list[str]) -> Response:
        reason = request.query_params.get("reason", "")
        match method, [part.lower() for part in rest]:
            case "GET", []:
                shown = describe(
                    instance,
                    show_input=_flag(request, "showInput", default=True),
                    show_history=_flag(request, "showHistory"),
                    show_history_output=_flag(request, "showHistoryOutput"),
                )
                # Clients of the HTTP API pattern poll until it is no longer 202.
                return JSONResponse(shown, 200 if instance.finished else 202)
            case "DELETE", []:
                try:
                    self._hub.purge(instance)
                except StillRunningError as error:
                    # What the real host answers to a purge of a running instance.
                    return JSONResponse(str(error), 412)
                return JSONResponse({"instancesDeleted": 1})
            case "POST", ["restart"]:
                new_id = _flag(request, "restartWithNewInstanceId", default=True)
                same = None if new_id else instance.id
                return self._begin(request, instance.name, same, instance.input, instance.version)
            case "POST", ["rewind"]:
                return JSONResponse("this local host does not rewind; run the app with `func start`", 501)
            # The durable client makes an error of its own of 410: the app must meet it here, too.
            case "POST", _ if instance.finished:
                return Response(status_code=410)
            case "POST", ["raiseevent", _]:
                try:
                    input_text = _canonical(await request.body())
                except ValueError:
                    return _bad("Only application/json request content is supported")
                self._hub.raise_event(instance, rest[1], input_text)
            case "POST", ["terminate"]:
                self._hub.terminate(instance, reason)
            case "POST", ["suspend"]:
                self._hub.suspend(instance, reason)
            case "POST", ["resume"]:
                self._hub.resume(instance, reason)
            case _:
                return Response(status_code=404)
        return Response(status_code=202)

    def _list(self, request: Request, found: list[Instance]) -> Response:
        show_input = _flag(request, "showInput", default=True)
        listed = [describe(one, show_input=show_input) for one in found]
        return JSONResponse(listed, headers={"x-ms-continuation-token": ""})

    def _purge_all(self, found: list[Instance]) -> Response:
        finished = [one for one in found if one.finished]
        for instance in finished:
            self._hub.purge(instance)
        return JSONResponse({"instancesDeleted": len(finished)}, 200 if finished else 404)

    def _matching(self, request: Request) -> list[Instance]:
        query = request.query_params
        return self._hub.query(
            created_from=_moment(query, "createdTimeFrom"),
            created_to=_moment(query, "createdTimeTo"),
            statuses=[status for status in query.get("runtimeStatus", "").split(",") if status],
            prefix=query.get("instanceIdPrefix", ""),
        )


def _canonical(body: bytes) -> str | None:
    """A JSON body as the extension keeps it; None for an empty one."""
    return compact_json(json.loads(body)) if body else None


def _bad(message: str) -> Response:
    return JSONResponse({"Message": message, "ExceptionMessage": message}, 400)


def _flag(request: Request, name: str, *, default: bool = False) -> bool:
    text = request.query_params.get(name)
    return default if text is None else text.lower() == "true"


def _moment(query: Mapping[str, Any], name: str) -> datetime | None:
    return parse_time(query[name]) if name in query else None
