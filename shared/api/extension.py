"""The web server of the Functions worker: the app's requests and answers are Starlette's, streams as they come.

The worker finds it by the classes that are made here from what azurefunctions-extensions-base has for that, and serves
by it what the host hands on. It is Microsoft's extension for FastAPI without FastAPI, whose routes and models the app
has no use for and whose import is a third of a cold start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import uvicorn
from azurefunctions.extensions.base import RequestSynchronizer, RequestTrackerMeta, ResponseLabels, ResponseTrackerMeta
from azurefunctions.extensions.base import WebApp as AnyWebApp
from azurefunctions.extensions.base import WebServer as AnyWebServer
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Request", "Response", "WebApp", "WebServer"]

Endpoint = Callable[[Request], Awaitable[Response]]


class _RouteParameters(RequestSynchronizer):  # type: ignore[misc]
    """Hands the parameters that the host has read from the route to the request."""

    def sync_route_params(self, request: Request, path_params: Mapping[str, str]) -> None:
        request.scope["path_params"] = dict(path_params)


class _Requests(metaclass=RequestTrackerMeta):  # type: ignore[metaclass]
    request_type = Request
    synchronizer = _RouteParameters()


class _Responses(metaclass=ResponseTrackerMeta):  # type: ignore[metaclass]
    label = ResponseLabels.STANDARD
    response_type = Response


class WebApp(AnyWebApp):  # type: ignore[misc]
    """The ASGI application of the worker, with the one endpoint to which it sends every request."""

    def __init__(self) -> None:
        self._endpoint: Endpoint | None = None

    def route(self, func: Endpoint) -> Endpoint:
        """Have every request answered by this."""
        self._endpoint = func
        return func

    def get_app(self) -> ASGIApp:
        """The application. What its endpoint raises is the server's 500."""
        endpoint = self._endpoint
        assert endpoint is not None

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        return answer


class WebServer(AnyWebServer):  # type: ignore[misc]
    """The worker's server, to which the host's proxy connects."""

    async def serve(self) -> None:
        """Serve until the worker ends. It logs as the worker does, and no line a request: the host has those."""
        config = uvicorn.Config(
            self.web_app,
            host=self.hostname,
            port=self.port,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        await uvicorn.Server(config).serve()
