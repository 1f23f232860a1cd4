"""The host: an app loaded, served, timed and orchestrated until it is stopped."""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import azure.functions as func
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from local.access import AccessGuard, AccessRules, Application, names_of
from local.host.app import Function, Index, LoadError, index_app, load_app
from local.host.clock import Clock, MovableClock, SystemClock
from local.host.durable.hub import Hub
from local.host.durable.replay import FunctionNames
from local.host.durable.rpc import PUBLIC_PATH, RPC_PATH, ManagementApi
from local.host.http import HttpFrontEnd, Keys, has_key
from local.host.server import serving
from local.host.settings import (
    HostSettings,
    LocalSettings,
    load_host_settings,
    load_local_settings,
    read_host_settings,
)
from local.host.timers import Timers
from local.host.worker import Worker
from local.serving import listen

_log = logging.getLogger("local.host")
_CORS_ADVICE = "Name theirs in local.settings.json, under `Host` as `CORS`, or start it with `--cors ORIGIN`."
ORIGINS_OF_THE_APP = "DORMOUSE_ALLOWED_ORIGINS"
"""The setting by which the app itself lets pages of other origins call some of its addresses."""
_KEY_ADVICE = "This takes the key that was printed at the start, as the header `x-functions-key`."
NO_WELCOME = "AzureWebJobsDisableHomepage"
_WELCOME = "<!doctype html><title>Functions</title><p>Your local functions host is up and running."


class Host:
    """Hosts one app in this process: `async with Host(app_dir, port=0) as host: host.url`.

    `app` is the app's directory, which becomes the working directory and the head of `sys.path` until the
    host is closed, or an app object. `host_json` replaces the content of the app's host.json. `announce` is
    called once it is known what is served where, before the first answer. Only one host with a directory may
    be open at a time. It answers to the loopback names and to `hosts`, and to pages of `cors` besides its own.
    """

    def __init__(
        self,
        app: Path | str | func.FunctionRegister,
        *,
        port: int | None = None,
        address: str = "127.0.0.1",
        rpc_port: int = 0,
        clock: Clock | None = None,
        keys: Keys | None = None,
        cors: Sequence[str] = (),
        hosts: Sequence[str] = (),
        admin_key: str | None = None,
        host_json: Mapping[str, Any] | None = None,
        grace: float = 5.0,
        announce: Callable[["Host"], object] = lambda _: None,
    ) -> None:
        self._app = app
        self._port = port
        self._address = address
        self._rpc_port = rpc_port
        self._clock: Clock = clock or SystemClock()
        self._keys = keys or Keys()
        self._cors = tuple(cors)
        self._hosts = tuple(hosts)
        self._host_json = host_json
        self._grace = grace
        self._announce = announce
        self.admin_key = admin_key or secrets.token_urlsafe(24)
        """Opens `/admin/…` and the durable management routes. Made anew at each start unless it is given."""
        # For URLs that management calls hand out; other than the admin key, it opens no timers.
        self._system_key = secrets.token_urlsafe(24)
        # The app's own client sends no key, so that the path has to be one.
        self._rpc_key = secrets.token_hex(16)
        self._stack = contextlib.AsyncExitStack()
        self._manual_tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        """Where the app answers, without a slash at the end. Set once the host is open."""
        self.rpc_url = ""
        """Where durable clients are answered, without a slash at the end. Its path is a key: no other path is there."""
        self.index = Index(())
        self.hub: Hub

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        # What was opened so far must not outlive a start that failed, or a cancelled one.
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        register, settings, local = self._load()
        self.index = index_app(register, route_prefix=settings.route_prefix, setting=os.environ.get)
        # 0 is a port, too: any free one.
        port = self._port if self._port is not None else (local.port or 7071)
        # Bound before anything is started, so that a port in use is the first thing to fail.
        public, rpc = self._bind(self._address, port), self._bind("127.0.0.1", self._rpc_port)
        self.url = f"http://{_reachable(self._address)}:{public.getsockname()[1]}"
        inner_host = f"127.0.0.1:{rpc.getsockname()[1]}"
        self.rpc_url = f"http://{inner_host}/{self._rpc_key}"

        worker = Worker(
            self.index,
            client_binding=lambda: self._management.binding(self.url, self.rpc_url),
            timeout=settings.function_timeout,
        )
        self._stack.callback(worker.close)
        known = FunctionNames(
            activities=[one.called for one in self.index.of("activity")],
            orchestrators=[one.called for one in self.index.of("orchestrator")],
        )
        self.hub = Hub(
            worker,
            self._clock,
            known,
            max_activities=settings.max_activities,
            max_orchestrators=settings.max_orchestrators,
            any_state_overridable=settings.any_state_overridable,
        )
        self._management = ManagementApi(self.hub, settings.hub_name, self._system_key)
        self._timers = Timers(self.index.of("timer"), worker, self._clock)
        front_end = HttpFrontEnd(
            self.index.of("http"),
            worker,
            self._keys,
            inner_host=inner_host,
            headers=settings.headers,
            special=self._special,
            home=_home,
        )
        self._announce(self)
        await self._start(public, rpc, self._guarded(front_end, local))

    def _load(self) -> tuple[func.FunctionRegister, HostSettings, LocalSettings]:
        given = self._host_json
        settings = None if given is None else read_host_settings(given)
        if isinstance(self._app, func.FunctionRegister):
            return self._app, settings or HostSettings(), LocalSettings({})
        app_dir = Path(self._app).resolve()
        if not app_dir.is_dir():
            raise LoadError(f"there is no directory {app_dir}")
        local = load_local_settings(app_dir)
        for name, value in local.values.items():
            # The environment wins over the file, as with Core Tools.
            if name not in os.environ:
                os.environ[name] = value
                self._stack.callback(os.environ.pop, name, None)
        settings = settings or load_host_settings(app_dir)
        # As in Azure: an app may open files relative to its folder.
        self._stack.callback(os.chdir, os.getcwd())
        os.chdir(app_dir)
        path = str(app_dir)
        # First: the app's modules win over those of the same name elsewhere.
        sys.path.insert(0, path)
        self._stack.callback(_forget_path, path)
        return load_app(app_dir), settings, local

    def _bind(self, address: str, port: int) -> socket.socket:
        listener = listen(address, port)
        self._stack.callback(listener.close)
        return listener

    def _guarded(self, front_end: HttpFrontEnd, local: LocalSettings) -> Application:
        """The front end behind the access rules, with CORS headers for the pages that may call it."""
        origins = (*self._cors, *local.cors)
        hosts = (*self._hosts, *local.allowed_hosts, *names_of(self._address))
        app: Application = front_end
        if origins:
            app = CORSMiddleware(
                front_end,
                allow_origins=origins,
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials=local.cors_credentials,
            )
        # As on the platform these get no headers of the host: the app answers their preflights where they may call.
        by_app = os.environ.get(ORIGINS_OF_THE_APP, "").replace(",", " ").split()
        return AccessGuard(app, AccessRules(hosts=hosts, origins=(*origins, *by_app), advice=_CORS_ADVICE))

    async def _start(self, public: socket.socket, rpc: socket.socket, front_end: Application) -> None:
        _reset_durable_client()
        self._stack.push_async_callback(_close_durable_client)
        # No CORS on the RPC port: only the app itself calls it, never a page.
        rpc_port, public_port = serving(AccessGuard(self._rpc, AccessRules()), rpc), serving(front_end, public)
        self.hub.open()
        await rpc_port.open()
        self._stack.push_async_callback(rpc_port.close)
        # An activity that still runs may use its durable client, so the RPC port closes after the hub.
        self._stack.push_async_callback(self._close_work)
        await public_port.open()
        self._stack.push_async_callback(public_port.close)
        # Last: a timer may call the app's own URL.
        self._timers.open()
        self._stack.callback(self._timers.stop)

    async def _close_work(self) -> None:
        for task in self._manual_tasks:
            task.cancel()
        await asyncio.gather(*self._manual_tasks, return_exceptions=True)
        await asyncio.gather(self.hub.close(self._grace), self._timers.close(self._grace))

    # --- the host's own routes ---

    async def _special(self, request: Request, path: str) -> Response | None:
        lowered = path.lower()
        if lowered.startswith(f"{PUBLIC_PATH}/"):
            if not has_key(request, self._keys.master, self.admin_key, self._system_key):
                return self._without_key()
            return await self._management.answer(request, _raw_tail(request, PUBLIC_PATH))
        if lowered.startswith("/admin/") and not has_key(request, self._keys.master, self.admin_key):
            return self._without_key()
        if lowered == "/admin/clock" and isinstance(self._clock, MovableClock):
            return await _advance(request, self._clock)
        if lowered.startswith("/admin/functions/") and request.method == "POST":
            return await self._run_manually(request, lowered.removeprefix("/admin/functions/").rstrip("/"))
        if lowered.startswith(("/admin/", "/runtime/")):
            return Response(status_code=404)
        return None

    def _without_key(self) -> Response:
        """401 as the real host answers it; with a sentence where no function wants a key and this one is unexpected."""
        return Response(status_code=401) if self._keys.enforced else PlainTextResponse(_KEY_ADVICE, 401)

    async def _rpc(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        response = Response(status_code=404)
        for prefix in (f"/{self._rpc_key}{RPC_PATH}", f"/{self._rpc_key}{PUBLIC_PATH}"):
            if request.url.path.lower().startswith(f"{prefix}/"):
                response = await self._management.answer(request, _raw_tail(request, prefix))
        await response(scope, receive, send)

    async def _run_manually(self, request: Request, name: str) -> Response:
        """Run a timer or an activity by `/admin/functions/…`, or start an orchestrator. The input is JSON text."""
        # Names of functions ignore the case.
        function = next((one for one in self.index.functions if one.name.lower() == name), None)
        if function is None or function.kind == "http":
            return Response(status_code=404)
        try:
            body = json.loads(await request.body() or b"{}")
            given = body.get("input") or ""
        except (ValueError, AttributeError):
            return Response(status_code=400)
        if function.kind == "orchestrator":
            self.hub.start(function.called, None, json.dumps(given) if given else None)
            return Response(status_code=202)
        work = self._timers.fire(function) if function.kind == "timer" else self._run_activity(function, given)
        task = asyncio.create_task(work)
        # Answered before it has run, as on the platform: the caller learns only that it began.
        self._manual_tasks.add(task)
        task.add_done_callback(self._manual_tasks.discard)
        return Response(status_code=202)

    async def _run_activity(self, function: Function, given: object) -> None:
        try:
            text = given if isinstance(given, str) else json.dumps(given)
            await self.hub.caller.activity(function.called, text or "null")
        except Exception:
            _log.exception("activity '%s', fired by hand, failed", function.name)


def _home() -> Response:
    """What the host has at `/` where no function does (`HomepageMiddleware.cs` in Azure/azure-functions-host)."""
    disabled = os.environ.get(NO_WELCOME, "").lower() == "true"
    return Response(status_code=204) if disabled else HTMLResponse(_WELCOME)


def _forget_path(path: str) -> None:
    with contextlib.suppress(ValueError):
        sys.path.remove(path)


def _reachable(address: str) -> str:
    if address in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{address}]" if ":" in address else address


async def _advance(request: Request, clock: MovableClock) -> Response:
    if request.method != "POST":
        return Response(status_code=404)
    try:
        now = clock.advance(float((await request.json())["advance"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return JSONResponse({"error": 'the body is {"advance": seconds}, from 0 on'}, 400)
    return JSONResponse({"now": now.isoformat()})


def _raw_tail(request: Request, prefix: str) -> str:
    raw: bytes = request.scope["raw_path"]
    return raw.decode("ascii")[len(prefix) + 1 :]


def _reset_durable_client() -> None:
    """Detach the durable client's module-wide session and lock from the loop of an earlier host."""
    http = _client_http()
    if http is None:
        return
    session = http._client_session
    if session is None or session._loop is not asyncio.get_running_loop():
        http._client_session = None
        http._session_lock = asyncio.Lock()


async def _close_durable_client() -> None:
    http = _client_http()
    if http is not None and http._client_session is not None:
        await http._client_session.close()
        http._client_session = None


def _client_http() -> Any:
    try:
        http = importlib.import_module("azure.durable_functions.models.utils.http_utils")
    except ImportError:
        return None
    return http if hasattr(http, "_client_session") else None
