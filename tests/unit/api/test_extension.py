"""The worker's web server: what the worker finds, and what it makes of the worker's endpoint.

`tests/acceptance/test_platform_worker.py` has it serve the whole app in the platform's own worker.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from azurefunctions.extensions import base
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from shared.api import extension


def test_the_worker_finds_it_and_knows_its_types() -> None:
    assert base.ModuleTrackerMeta.get_module() == extension.__name__
    assert base.RequestTrackerMeta.check_type(Request)
    for kind in (Response, StreamingResponse, JSONResponse):
        assert base.ResponseTrackerMeta.check_type(kind)
    assert not base.ResponseTrackerMeta.check_type(str)


def test_a_request_gets_the_parameters_that_the_host_has_read() -> None:
    request = Request({"type": "http", "path_params": {"rest": "x"}, "headers": []})
    base.RequestTrackerMeta.get_synchronizer().sync_route_params(request, {"run_id": "run_1"})
    assert request.path_params == {"run_id": "run_1"}


async def test_any_request_reaches_the_endpoint_with_its_body_and_is_answered_with_what_it_returns() -> None:
    async def endpoint(request: Request) -> Response:
        return Response(f"{request.method} {request.url.path} {(await request.body()).decode()}", 207)

    assert await answered(endpoint, method="MADEUP", path="/api/a b/c", body="ü".encode()) == (
        207,
        "MADEUP /api/a b/c ü".encode(),
    )


async def test_what_the_endpoint_raises_is_left_to_the_server() -> None:
    async def endpoint(request: Request) -> Response:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await answered(endpoint)


async def answered(
    endpoint: extension.Endpoint, *, method: str = "GET", path: str = "/", body: bytes = b""
) -> tuple[int, bytes]:
    """Status and body that the application sends where the worker answers every request by this endpoint."""
    app, sent = extension.WebApp(), list[MutableMapping[str, Any]]()
    assert app.route(endpoint) is endpoint

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    await extension.WebServer("127.0.0.1", 1, app).web_app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)
