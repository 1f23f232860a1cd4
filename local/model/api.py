"""The Responses API and Chat Completions over HTTP: read a request, apply its fault, answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.model.account import Account, ScriptedTurn
from local.model.chat import completion
from local.model.conversation import new_id
from local.model.errors import ApiError, Json, error_body, invalid
from local.model.events import due_events, sse
from local.model.faults import Fault
from local.model.records import LoggedRequest
from local.model.responses import Ending, StoredResponse

MODELS = ("gpt-scripted", "gpt-5", "gpt-5-mini", "gpt-5.4-mini")
AccountOf = Callable[[str], Account]
# No HTTP status: it marks in the code that the connection is gone, and is never sent.
_CLIENT_GONE = 499


class Exchange:
    """One API request to an account, and its entry in the log."""

    def __init__(self, request: Request, account: Account, entry: LoggedRequest) -> None:
        self.request = request
        self.account = account
        self.entry = entry
        self.body: Any = None
        self.subject: ScriptedTurn | StoredResponse | None = None

    async def answer(self) -> Response:
        """The answer, after what the script and the switches do to it."""
        switches = self.account.switches
        # Before the request is read: a provider that is down looks at no body.
        if switches.down:
            self.entry.fault = {"down": True}
            return await self._drop()
        if switches.unavailable is not None:
            self.entry.fault = {"unavailable": switches.unavailable}
            error = ApiError(503, "The service is unavailable.", code="service_unavailable", kind="server_error")
            return JSONResponse(error.body, 503, {"retry-after": f"{switches.unavailable:g}"})
        await self._read()
        # A script may have a fault for this very request, so it is read before anything can go wrong with it.
        operation = "create" if self.entry.operation == "chat" else self.entry.operation
        fault = self.account.next_fault(operation, self.subject)
        if fault is None:
            return await self._carry_out()
        self.entry.fault = _fields_of(fault)
        return await self._apply(fault)

    async def _read(self) -> None:
        """Find the turn, or the response, that the request is about, and put it into the log."""
        response_id = self.request.path_params.get("response_id")
        if self.entry.operation in ("create", "chat"):
            raw = await self.request.body()
            try:
                self.body = json.loads(raw)
            except ValueError:
                self.body = None
            self.entry.body = self.body if isinstance(self.body, dict) else None
            read = self.account.find_turn if self.entry.operation == "create" else self.account.find_chat_turn
            found = self.subject = read(self.body)
            if found is not None:
                metadata = self.body.get("metadata")
                self.entry.metadata = metadata if isinstance(metadata, dict) else {}
                self.entry.script, self.entry.turn, self.entry.attempt = found.script, found.index, found.attempt
        elif response_id in self.account.responses:
            stored = self.subject = self.account.responses[response_id]
            self.entry.script, self.entry.turn = stored.script, stored.turn_index
            self.entry.attempt, self.entry.metadata = stored.attempt, stored.request.get("metadata") or {}

    async def _apply(self, fault: Fault) -> Response:
        # A create that is carried out and then not answered: the app cannot know that it has a response.
        done = await self._carry_out() if fault.after_accept else None
        if fault.hang and await self._client_disconnects(fault.hang):
            return Response(status_code=_CLIENT_GONE)
        if fault.drop:
            return await self._drop()
        if fault.answers:
            status, headers, body = fault.answer()
            # Sent as it is, so that a script can cut JSON in the middle.
            if isinstance(body, str):
                return Response(body, status, headers)
            return JSONResponse(body, status, headers)
        return done if done is not None else await self._carry_out()

    async def _client_disconnects(self, seconds: float) -> bool:
        # Until the body is read, ``receive`` gives its parts and not the disconnect.
        await self.request.body()
        try:
            async with asyncio.timeout(seconds):
                while (await self.request.receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    async def _drop(self) -> Response:
        # Aborted, not closed: nothing that is buffered may still be sent.
        self.request.state.transport.abort()
        # Two turns of the loop: the server must see the lost connection before it is given an answer to send.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.entry.fault = self.entry.fault or {"drop": True}
        return Response(status_code=_CLIENT_GONE)

    async def _carry_out(self) -> Response:
        operations: dict[str, Callable[[], Awaitable[Response]]] = {
            "create": self._create,
            "chat": self._chat,
            "retrieve": self._retrieve,
            "cancel": self._cancel,
            "delete": self._delete,
            "input_items": self._input_items,
            "models": self._models,
        }
        try:
            return await operations[self.entry.operation]()
        except ApiError as error:
            return JSONResponse(error.body, error.status)

    def _stored(self) -> StoredResponse:
        return self.account.known(self.request.path_params["response_id"])

    def _rendered(self, stored: StoredResponse) -> Response:
        return JSONResponse(stored.rendered(self.account.clock()))

    async def _create(self) -> Response:
        stored = self.account.create(self.body, self.subject if isinstance(self.subject, ScriptedTurn) else None)
        self.entry.accepted, self.entry.response_id = True, stored.id
        if stored.request.get("stream"):
            return self._stream(stored, -1)
        # As the API: the create answers ``queued``, however soon the response ends.
        if stored.background:
            return JSONResponse(stored.snapshot("queued"))
        await self._ended(stored)
        return self._rendered(stored)

    async def _chat(self) -> Response:
        stored = self.account.complete(self.body, self.subject if isinstance(self.subject, ScriptedTurn) else None)
        self.entry.accepted, self.entry.response_id = True, stored.id
        return JSONResponse(completion(stored, await self._ended(stored)))

    async def _ended(self, stored: StoredResponse) -> Ending:
        while True:
            ending = stored.ending_at(self.account.clock())
            if ending is not None:
                return ending
            await stored.pause(stored.done_at - self.account.clock())

    async def _retrieve(self) -> Response:
        stored = self._stored()
        query = self.request.query_params
        if query.get("stream", "").lower() != "true":
            return self._rendered(stored)
        # As the API: only what was created with `stream` and `background` can be streamed later.
        if not (stored.request.get("stream") and stored.background):
            raise invalid(
                "This response cannot be streamed because it was not created with background=true and stream=true."
            )
        # OpenAI refuses a replay five minutes after the create (openai-python#2828): polling is what is left.
        wall = self.account.switches.stream_wall
        if self.account.clock() - stored.created > wall:
            raise invalid(f"This response can no longer be streamed because it is more than {wall / 60:g} minutes old.")
        return self._stream(stored, self._number("starting_after", -1))

    def _number(self, name: str, default: int) -> int:
        try:
            return int(self.request.query_params.get(name, default))
        except ValueError:
            raise invalid(f"Invalid '{name}': expected an integer.", param=name, code="invalid_type") from None

    def _stream(self, stored: StoredResponse, after: int) -> Response:
        fault = self.account.next_fault("stream", stored)
        if fault is not None:
            self.entry.fault = _fields_of(fault)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        events = self._events(stored, after, fault)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream; charset=utf-8")

    async def _events(self, stored: StoredResponse, after: int, fault: Fault | None) -> AsyncIterator[str]:
        closed = "left"
        self.entry.events = 0
        try:
            most = fault.after_events if fault is not None else None
            if most != 0:
                async for event in due_events(stored, after, self.account.clock):
                    self.entry.events += 1
                    yield sse(event)
                    after = event["sequence_number"]
                    if self.entry.events == most:
                        break
                else:
                    closed = "ended"
                    return
            if fault is not None and fault.event is not None:
                yield sse({"sequence_number": after + 1, **fault.event})
            if fault is not None and fault.hang:
                await self._client_disconnects(fault.hang)
            closed = "cut"
            if fault is not None and fault.drop:
                await self._drop()
        finally:
            self.entry.closed = closed

    async def _cancel(self) -> Response:
        stored = self._stored()
        self.account.cancel(stored)
        return self._rendered(stored)

    async def _delete(self) -> Response:
        stored = self._stored()
        self.account.delete(stored)
        return JSONResponse({"id": stored.id, "object": "response", "deleted": True})

    async def _input_items(self) -> Response:
        query = self.request.query_params
        items = list(self._stored().given)
        # The API's default is newest first.
        if query.get("order", "desc") == "desc":
            items.reverse()
        ids = [item["id"] for item in items]
        if query.get("after") in ids:
            items = items[ids.index(query["after"]) + 1 :]
        limit = self._number("limit", 20)
        page = items[:limit]
        return JSONResponse(
            {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": len(items) > limit,
            }
        )

    async def _models(self) -> Response:
        return JSONResponse({"object": "list", "data": [model(name) for name in MODELS]})


def model(name: str) -> Json:
    """A model object."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"}


def _fields_of(fault: Fault) -> Json:
    default = asdict(Fault())
    return {key: value for key, value in asdict(fault).items() if value != default[key]}


def credential(request: Request) -> str | None:
    """The Bearer key or `api-key` of a request: the name of its account."""
    # The key names the account, so that tests run side by side on one server without meeting.
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("api-key") or None


def api_routes(account_of: AccountOf, clock: Callable[[], float]) -> list[Route]:
    """The API's routes, without the `/v1` before them."""

    def route(path: str, method: str, operation: str) -> Route:
        async def endpoint(request: Request) -> Response:
            key = credential(request)
            if key is None:
                error = ApiError(401, "You didn't provide an API key.", code="missing_api_key")
                return JSONResponse(error.body, 401)
            account = account_of(key)
            entry = LoggedRequest(
                time=clock(),
                method=request.method,
                path=request.url.path,
                operation=operation,
                query=dict(request.query_params),
                response_id=request.path_params.get("response_id"),
            )
            # Before it is answered: a test sees requests that hang, too.
            account.log.append(entry)
            response = await Exchange(request, account, entry).answer()
            entry.answered_at = clock()
            # A dropped connection has no status, for the client or for the log.
            if response.status_code != _CLIENT_GONE:
                entry.status = response.status_code
            response.headers["x-request-id"] = new_id("req")
            return response

        return Route(path, endpoint, methods=[method])

    return [
        route("/responses", "POST", "create"),
        route("/responses/{response_id}", "GET", "retrieve"),
        route("/responses/{response_id}", "DELETE", "delete"),
        route("/responses/{response_id}/cancel", "POST", "cancel"),
        route("/responses/{response_id}/input_items", "GET", "input_items"),
        route("/chat/completions", "POST", "chat"),
        route("/models", "GET", "models"),
    ]


def unknown_url(request: Request, _: Exception) -> Response:
    """404 and 405 as OpenAI's API answers them."""
    message = f"Invalid URL ({request.method} {request.url.path})"
    return JSONResponse(error_body(message, kind="invalid_request_error"), 404)
