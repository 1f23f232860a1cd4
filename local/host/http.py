"""The HTTP front end: finds the function, checks the key, passes the request in and the response out."""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import azure.functions as func
from azure.functions import meta
from azurefunctions.extensions.base import ModuleTrackerMeta, RequestTrackerMeta
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from local.host.app import Function, converter
from local.host.routes import PathError, decode_path
from local.host.worker import Worker

FASTAPI_EXTENSION = "azurefunctions.extensions.http.fastapi.web"
"""The module of Microsoft's extension, which makes JSON of what is no response."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Request, str], Awaitable[Response | None]]

_log = logging.getLogger("local.host.http")
# The limit of Kestrel, the real host's server.
_REQUEST_LINE = 8192
# Overwritten, not extended: a caller cannot choose what the app sees as its public name.
_REPLACED = frozenset({b"host", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
# Of the caller's connection to the host: the worker has another, which the host's proxy makes.
_PER_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"expect"}
    | {b"proxy-authenticate", b"proxy-authorization"}
)
_LEVELS = {"anonymous": 0, "function": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that open functions. With neither set, none is asked for, as with `func start`."""

    function: str | None = None
    master: str | None = None

    @property
    def enforced(self) -> bool:
        return self.function is not None or self.master is not None

    def allow(self, level: str, request: Request) -> bool:
        """Whether the request carries a key for this level."""
        if not self.enforced or _LEVELS.get(level, 2) == 0:
            return True
        return has_key(request, self.master, self.function if level == "function" else None)


def has_key(request: Request, *keys: str | None) -> bool:
    """Whether the request carries one of these keys. One in the header counts before one in the query, even a wrong."""
    given = request.headers.get("x-functions-key") or request.query_params.get("code") or ""
    return any(hmac.compare_digest(given.encode(), key.encode()) for key in keys if key)


class HttpFrontEnd:
    """The ASGI application on the public port."""

    def __init__(
        self,
        functions: Iterable[Function],
        worker: Worker,
        keys: Keys,
        *,
        inner_host: str,
        headers: Mapping[str, str],
        special: Handler,
        home: Callable[[], Response],
    ) -> None:
        # The real host tries routes by function name; the first that fits wins, literal or not.
        self._functions = sorted(functions, key=lambda one: one.name.lower())
        self._worker = worker
        self._keys = keys
        self._inner_host = inner_host.encode()
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._special = special
        self._home = home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = await self._answer(scope, receive, send)
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        raw: bytes = scope["raw_path"]
        target = raw + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        if len(f"{scope['method']}  HTTP/1.1\r\n") + len(target) > _REQUEST_LINE:
            return Response(status_code=414)
        try:
            path = decode_path(raw)
        except PathError:
            return Response(status_code=400)
        special = await self._special(Request(scope, receive), path)
        # Before the functions: no route of an app can hide the host's own.
        if special is not None:
            return special
        for function in self._functions:
            # No 405: a route with another method is passed over, and in the end nothing is found.
            if scope["method"] not in function.methods or function.route is None:
                continue
            values = function.route.match(path)
            if values is not None:
                break
        else:
            return self._home() if path == "/" else Response(status_code=404)
        if not self._keys.allow(function.auth_level, Request(scope)):
            # Empty, and without WWW-Authenticate, as on the platform.
            return Response(status_code=401)
        if any("\n" in value.removesuffix("\n") for value in values.values()):
            # The real host answers 404 too, but its invocation hangs until functionTimeout.
            _log.error(
                "a newline in a path parameter of '%s' hangs the worker on the platform: constrain it",
                function.name,
            )
            return Response(status_code=404)
        inner: Scope = {**scope, "headers": self._forward(scope), "path_params": dict(values)}
        await self._invoke(function, inner, receive, send)
        return None

    def _forward(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The headers as the worker sees them: the host is its own, the public one is in x-forwarded-host."""
        headers = [(name, value) for name, value in _joined(scope["headers"]) if name not in _REPLACED | _PER_HOP]
        public = dict(scope["headers"]).get(b"host", b"")
        client = scope.get("client") or ("127.0.0.1", 0)
        return [
            (b"host", self._inner_host),
            *headers,
            (b"x-forwarded-for", str(client[0]).encode()),
            (b"x-forwarded-host", public),
            (b"x-forwarded-proto", scope["scheme"].encode()),
        ]

    async def _invoke(self, function: Function, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in self._headers if each[0] not in own)]
            await send(message)

        try:
            request = Request(scope, receive)
            trigger = _typed(request) if function.streams else await _buffered(request)
            result = await self._worker.call(function, trigger)
            response = _encoded(result) if function.streams else _render(result)
            await response(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            raise
        except Exception:
            _log.exception("function '%s' raised", function.name)
            # A status was sent: only a reset can still show that the answer is not whole.
            if started:
                raise _BrokenStreamError(function.name) from None
            await PlainTextResponse("Internal Server Error", 500)(scope, receive, send_with_headers)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Each name once: the real host joins a header that is sent twice."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return [(name, (b"; " if name == b"cookie" else b", ").join(each)) for name, each in values.items()]


class _BrokenStreamError(Exception):
    """A function raised in mid-stream: the server resets the connection."""


def _typed(request: Request) -> Request:
    # That of the app's extension, which is starlette's or made from it: an app may check for it.
    kind = RequestTrackerMeta.get_request_type() or Request
    typed: Request = kind(request.scope, request.receive)
    return typed


async def _buffered(request: Request) -> Any:
    """The classic azure.functions.HttpRequest, its body read to the end."""

    def strings(pairs: Iterable[tuple[str, str]]) -> dict[str, meta.Datum]:
        return {name: meta.Datum(value, "string") for name, value in pairs}

    content = {
        "method": meta.Datum(request.method, "string"),
        "url": meta.Datum(str(request.url), "string"),
        "headers": strings(request.headers.items()),
        "query": strings(request.query_params.items()),
        "params": strings(request.path_params.items()),
        "body": meta.Datum(await request.body(), "bytes"),
    }
    return converter("httpTrigger").decode(meta.Datum(content, "http"), trigger_metadata=None)


def _encoded(result: Any) -> Response:
    """What the app's extension makes of a value: with Microsoft's, what is no response is JSON, text and bytes too."""
    if isinstance(result, Response):
        return result
    # The worker cannot tell it from an answer that never came.
    if result is None:
        raise ValueError("a function with the streaming types must return a response, and returned None")
    if (extension := ModuleTrackerMeta.get_module()) != FASTAPI_EXTENSION:
        raise TypeError(f"with {extension} a function must return a response, and it returned {result!r}")
    # Only an app with that extension needs it.
    from fastapi.encoders import jsonable_encoder

    return JSONResponse(jsonable_encoder(result))


def _render(result: Any) -> Response:
    """What the host makes of a value that a function with the classic types returned."""
    # The platform's 204 for a function without a return value, not an error.
    if result is None:
        return Response(status_code=204)
    if isinstance(result, str):
        return PlainTextResponse(result)
    if isinstance(result, func.HttpResponse):
        response = Response(result.get_body(), result.status_code)
        for name, value in result.headers.items():
            response.headers.append(name, value)
        if "content-type" not in response.headers:
            charset = f"; charset={result.charset}" if result.mimetype.startswith("text/") else ""
            response.headers["content-type"] = f"{result.mimetype}{charset}"
        return response
    if isinstance(result, bytes):
        return Response(result)
    json.dumps(result)  # what is no JSON raises here, before anything is sent
    return JSONResponse(result)
