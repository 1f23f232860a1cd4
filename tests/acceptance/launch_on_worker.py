"""`launch` with the platform's own worker for Python 3.13 and later (`azure-functions-runtime`) in the host's place.

The local host keeps what the platform's host does: routes, keys, timers, the hub. Indexing the app, decoding what
triggers bring, calling functions, encoding what they return and serving HTTP are the package's. On the platform it is
asked by messages over gRPC; here by objects of the same shape in the same process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator, Mapping, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import aiohttp
import azure.functions as func
import uvicorn
from multidict import CIMultiDict
from yarl import URL

from local import ROOT
from local.host import command, host
from local.host.app import Function, Index
from local.host.durable.caller import FunctionFailedError
from local.host.http import HttpFrontEnd
from local.host.worker import Worker
from tests.acceptance.launch import launch

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]

PER_HOP = frozenset({b"host", b"connection", b"keep-alive", b"transfer-encoding", b"expect", b"upgrade", b"te"})
"""Request headers that are the connection's, and that no proxy hands on."""
INVOCATION = b"x-ms-invocation-id"
STATE_MARK = "\n\n$OutOfProcData$:"


class Message(SimpleNamespace):
    """A message of the worker's protocol. Of a `oneof` it has the one field that was set."""

    def WhichOneof(self, name: str) -> str | None:
        """The field that is set, as protobuf's own messages say it."""
        return next(iter(vars(self)), None)


class BindingInfo(Message):
    """What a binding is; with the directions that the worker compares with."""

    inout = 2
    out = 1
    undefined = 0


class StatusResult(Message):
    """How a request went."""

    Failure = "failure"
    Success = "success"


PROTOCOL = SimpleNamespace(
    **dict.fromkeys(
        (
            "FunctionLoadResponse",
            "FunctionMetadataResponse",
            "InvocationResponse",
            "ParameterBinding",
            "RpcException",
            "RpcFunctionMetadata",
            "TypedData",
            "WorkerInitResponse",
            "WorkerMetadata",
        ),
        Message,
    ),
    BindingInfo=BindingInfo,
    StatusResult=StatusResult,
)
"""The messages, by the names that the worker makes them by."""


class PlatformWorker:
    """The package: started once in a process, with the app in a folder."""

    def __init__(self) -> None:
        self.runtime: Any = importlib.import_module("azure_functions_runtime")
        self.url = ""
        self.indexed: dict[str, Any] = {}
        """What it has found: the metadata of each function by its name."""

    async def start(self, app_dir: Path) -> None:
        """Index the app and begin to serve HTTP, as at the start of a worker on the platform."""
        self.runtime.start_threadpool_executor()
        # First: the app's modules win over those of the same name elsewhere.
        sys.path.insert(0, str(app_dir))
        init = Message(capabilities={}, function_app_directory=str(app_dir))
        request = Message(
            request=Message(worker_init_request=init), properties={"host": "127.0.0.1", "protos": PROTOCOL}
        )
        reply = succeeded(await self.runtime.worker_init_request(request))
        self.url = reply.capabilities["HttpUri"]
        found = succeeded(await self.runtime.functions_metadata_request(request))
        self.indexed = {each.name: each for each in found.function_metadata_results}
        for each in self.indexed.values():
            load = Message(request=Message(function_load_request=Message(function_id=each.function_id)))
            succeeded(await self.runtime.function_load_request(load))
        address = URL(self.url)
        async with asyncio.timeout(10):
            while True:
                # No request: one without an invocation is an error there.
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection(address.host, address.port)
                    writer.close()
                    return
                await asyncio.sleep(0.01)

    async def invoke(self, name: str, invocation: str, **inputs: Message) -> Message:
        """Call a function with its inputs; how it went and what it returned."""
        request = Message(
            invocation_id=invocation,
            function_id=self.indexed[name].function_id,
            input_data=[PROTOCOL.ParameterBinding(data=value) for value in inputs.values()],
            trigger_metadata={},
            trace_context=Message(trace_parent="", trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
        )
        for binding, parameter in zip(request.input_data, inputs, strict=True):
            binding.name = parameter
        reply: Message = await self.runtime.invocation_request(Message(request=Message(invocation_request=request)))
        return reply


def succeeded(reply: Message) -> Message:
    """The reply, unless it says that the worker failed."""
    if reply.result.status != StatusResult.Success:
        raise FunctionFailedError(reply.result.exception.message, reply.result.exception.stack_trace)
    return reply


PLATFORM = PlatformWorker()


class CallingWorker(Worker):
    """Calls functions that are not for HTTP by the platform's worker."""

    def inputs_of(self, function: Function) -> dict[str, Message]:
        """What a function gets besides its trigger: the binding of a durable client."""
        return {name: PROTOCOL.TypedData(string=self._client_binding()) for name in function.inputs}

    async def _invoke(self, function: Function, trigger: Message) -> Any:
        inputs = {function.trigger_name: trigger, **self.inputs_of(function)}
        reply = succeeded(await PLATFORM.invoke(function.name, str(uuid4()), **inputs))
        return next(iter(vars(reply.return_value).values())) if reply.return_value else None

    async def activity(self, name: str, input_text: str) -> str:
        return str(await self._invoke(self._activities[name], PROTOCOL.TypedData(string=input_text)))

    async def orchestrator(self, name: str, context: str) -> Mapping[str, Any]:
        try:
            text = await self._invoke(self._orchestrators[name], PROTOCOL.TypedData(string=context))
        except FunctionFailedError as error:
            _, mark, text = str(error).partition(STATE_MARK)
            if not mark:
                raise
        state = json.loads(text)
        assert isinstance(state, dict)
        return state

    async def timer(self, function: Function, information: str) -> None:
        await self._invoke(function, PROTOCOL.TypedData(json=information))


class ForwardingFrontEnd(HttpFrontEnd):
    """Sends each request on to the worker's own server while it asks for the invocation, as the platform's host."""

    async def _invoke(self, function: Function, scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(self._worker, CallingWorker)
        invocation = str(uuid4())
        # The body is not in the message: the worker's server gets it. The parameters of the route are.
        request = Message(
            method=scope["method"],
            url="",
            headers={},
            body=Message(),
            params=dict(scope["path_params"]),
            query={},
        )
        inputs = {
            function.trigger_name: PROTOCOL.TypedData(http=request),
            **self._worker.inputs_of(function),
        }
        called = asyncio.create_task(PLATFORM.invoke(function.name, invocation, **inputs))
        try:
            await self._forward_to_worker(invocation, scope, receive, send)
        finally:
            await asyncio.gather(called, return_exceptions=True)

    async def _forward_to_worker(self, invocation: str, scope: Scope, receive: Receive, send: Send) -> None:
        headers = CIMultiDict(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in PER_HOP and name != INVOCATION
        )
        headers[INVOCATION.decode()] = invocation
        sent = dict(scope["headers"])
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        body = Body(receive)
        has_body = sent.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in sent
        async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout()) as session:
            request = session.request(
                scope["method"],
                URL(PLATFORM.url + target.decode("ascii"), encoded=True),
                headers=headers,
                data=body.chunks() if has_body else None,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
            answered = asyncio.create_task(answer(request, send, self._headers))
            gone = asyncio.create_task(body.gone.wait())
            reading = asyncio.create_task(body.read())
            try:
                await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
                if answered.done():
                    await answered
            finally:
                for task in (answered, gone, reading):
                    task.cancel()
                await asyncio.gather(answered, gone, reading, return_exceptions=True)


class Body:
    """A request's body on its way to the worker, and whether its sender is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self.gone = asyncio.Event()

    async def read(self) -> None:
        """Take what is sent, until the caller is gone."""
        while (message := await self._receive())["type"] != "http.disconnect":
            if part := message.get("body", b""):
                await self._parts.put(part)
            if not message.get("more_body", False):
                await self._parts.put(None)
        self.gone.set()

    async def chunks(self) -> Any:
        """The body in parts."""
        while (part := await self._parts.get()) is not None:
            yield part


async def answer(request: Any, send: Send, added: list[tuple[bytes, bytes]]) -> None:
    """Give the worker's answer back as it comes."""
    async with request as response:
        own = [
            (name.lower(), value)
            for name, value in response.raw_headers
            if name.lower() not in (b"transfer-encoding", b"connection")
        ]
        names = {name for name, _ in own}
        headers = [*own, *(each for each in added if each[0] not in names)]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for part in response.content.iter_any():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class PlatformHost(host.Host):
    """The local host around the platform's worker."""

    async def _open(self) -> None:
        assert isinstance(self._app, (str, Path))
        await PLATFORM.start(await asyncio.to_thread(Path(self._app).resolve))
        await super()._open()


def app_of_the_worker(app_dir: Path) -> func.FunctionRegister:
    """The app that the worker has imported already."""
    script = os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py").removesuffix(".py")
    found = [each for each in vars(sys.modules[script]).values() if isinstance(each, func.FunctionRegister)]
    # It notes the names that it has given out, and refuses to give them out again.
    found[0].functions_bindings = None
    return found[0]


@contextlib.contextmanager
def _no_signals(server: uvicorn.Server) -> Generator[None]:
    yield


async def print_index() -> None:
    """Print what the worker and the local host find in the app: name, and the properties of its bindings."""
    await PLATFORM.start(ROOT)
    register = app_of_the_worker(ROOT)
    ours: Index = host.index_app(register, route_prefix="", setting=os.environ.get)
    bindings = {name: [json.loads(each) for each in one.raw_bindings] for name, one in PLATFORM.indexed.items()}
    local = {
        one.name: {
            "kind": one.kind,
            "route": one.route and one.route.text,
            "methods": list(one.methods),
            "level": one.auth_level,
            "trigger": one.trigger_name,
            "schedule": one.schedule_text,
            "inputs": dict(one.inputs),
        }
        for one in ours.functions
    }
    print(json.dumps({"platform": bindings, "local": local, "problems": ours.problems}))


def main() -> int:
    """Run the host; with `--index` alone, print what is found in the app."""
    # On the platform the worker's server has the whole process; here signals are the host's.
    uvicorn.Server.capture_signals = _no_signals  # type: ignore[method-assign]
    if sys.argv[1:] == ["--index"]:
        asyncio.run(print_index())
        return 0
    host.load_app = app_of_the_worker
    host.Worker = CallingWorker  # type: ignore[misc]
    host.HttpFrontEnd = ForwardingFrontEnd  # type: ignore[misc]
    command.Host = PlatformHost  # type: ignore[misc]
    return launch()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
