"""The server: the application, and a running instance of it within this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.access import AccessGuard, AccessRules, Application, names_of
from local.model.account import Account
from local.model.api import api_routes, unknown_url
from local.model.control_api import control_routes
from local.serving import RunningServer, listen, server_config

DEFAULT_THINK = 0.05
KEEP_ALIVE_SECONDS = 600
"""Longer than any client keeps a connection: a create that is written to a closing one has an unknown outcome."""


def build_app(
    *, think: float = DEFAULT_THINK, clock: Callable[[], float] = time.time, hosts: Sequence[str] = ()
) -> Starlette:
    """The whole application: `/v1` and `/openai/v1` (the same), `/control/{account}`, `/health`.

    `think` is in seconds, `clock` in epoch seconds. An account is created when its
    key is first used. It answers to loopback names and to `hosts`, and to no other page.
    """
    accounts: dict[str, Account] = {}

    def account_of(key: str) -> Account:
        # Made at its first use: a test needs nothing but a key of its own.
        if key not in accounts:
            accounts[key] = Account(clock, think)
        return accounts[key]

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    # Azure OpenAI's paths begin with `/openai/v1`; the same API is behind them.
    routes = api_routes(account_of, clock)
    return Starlette(
        routes=[
            Mount("/v1", routes=routes),
            Mount("/openai/v1", routes=routes),
            Mount("/control", routes=control_routes(account_of)),
            Route("/health", health),
        ],
        exception_handlers={404: unknown_url, 405: unknown_url},
        middleware=[Middleware(AccessGuard, AccessRules(hosts=tuple(hosts)))],
    )


class _Protocol(H11Protocol):
    """Hands the connection to the request, as `request.state.transport`, so that a fault can drop it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The only way to the request: ASGI itself hands no connection over.
        self.app_state = {**self.app_state, "transport": transport}


def model_config(app: Application) -> uvicorn.Config:
    """A server that stops without waiting for requests, and does not log the connections that it drops."""
    return server_config(app, protocol=_Protocol, keep_alive=KEEP_ALIVE_SECONDS, grace=0, log_level="critical")


class ScriptedModel:
    """A running scripted model: `async with ScriptedModel() as model: AsyncOpenAI(base_url=model.url)`.

    `url` is the API's base URL, with `/v1`; `root` is without. Lives on the event loop it was entered on.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        bind: str = "127.0.0.1",
        think: float = DEFAULT_THINK,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bind = bind
        self._wanted_port = port
        self._app = build_app(think=think, clock=clock, hosts=names_of(bind))
        self._serving: RunningServer | None = None
        self.port = 0

    @property
    def root(self) -> str:
        return f"http://{self._bind}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    async def __aenter__(self) -> ScriptedModel:
        listening = listen(self._bind, self._wanted_port)
        self.port = listening.getsockname()[1]
        self._serving = RunningServer(model_config(self._app), listening)
        await self._serving.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving is not None:
            await self._serving.close()
