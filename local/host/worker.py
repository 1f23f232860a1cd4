"""Calling the app's functions: coroutines on the loop, the others in a pool of threads."""

import asyncio
import contextvars
import json
import os
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import azure.functions as func
from azure.functions import meta
from azure.functions._abc import RetryContext, TraceContext

from local.host.app import Function, Index, converter
from local.host.durable.caller import FunctionFailedError

_STATE_MARK = "\n\n$OutOfProcData$:"


class Context(func.Context):
    """What a function's `context` parameter gets."""

    def __init__(self, function: Function) -> None:
        self._function_name = function.name
        self._invocation_id = str(uuid4())

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        return threading.local()

    @property
    def function_name(self) -> str:
        return self._function_name

    @property
    def function_directory(self) -> str:
        return os.getcwd()

    @property
    def trace_context(self) -> TraceContext:
        return _NoTrace()

    @property
    def retry_context(self) -> RetryContext:
        return _FirstTry()


class _NoTrace(TraceContext):
    """What a call without a trace has: nothing of it, as the worker has it."""

    trace_state = trace_parent = Tracestate = Traceparent = ""

    @property
    def attributes(self) -> dict[str, str]:
        return {}

    Attributes = attributes


class _FirstTry(RetryContext):
    """What the first call of a function has. This host tries none again."""

    retry_count = max_retry_count = 0
    exception: Any = None


class Worker:
    """Calls functions by what triggers them. Implements the hub's `Caller`."""

    def __init__(self, index: Index, *, client_binding: Callable[[], str], timeout: float | None) -> None:
        self._activities = {one.called: one for one in index.of("activity")}
        self._orchestrators = {one.called: one for one in index.of("orchestrator")}
        self._client_binding = client_binding
        self._timeout = timeout
        # The Python worker's own default: orchestrators and sync activities wait for each other there, too.
        size = int(os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT") or min(32, (os.cpu_count() or 1) + 4))
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="function")

    def close(self) -> None:
        """Let the pool go; a thread that is still in a function is not waited for."""
        # A thread cannot be stopped, and a stuck function must not keep the host from ending.
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def call(self, function: Function, trigger: Any) -> Any:
        """Call a function with what its trigger parameter gets. What the function raises comes through."""
        arguments = {function.trigger_name: trigger}
        for name, binding in function.inputs.items():
            arguments[name] = _decode(binding, self._client_binding())
        if function.wants_context:
            arguments["context"] = Context(function)
        if function.is_async:
            return await function.call(**arguments)
        # A thread of a pool starts without the caller's context variables.
        run = contextvars.copy_context().run
        work = asyncio.get_running_loop().run_in_executor(self._pool, lambda: run(function.call, **arguments))
        return await work

    async def activity(self, name: str, input_text: str) -> str:
        function = self._activities[name]
        try:
            async with asyncio.timeout(self._timeout) as limit:
                result = await self.call(function, _decode("activityTrigger", input_text))
            return _encode("activityTrigger", result)
        except TimeoutError as error:
            # The activity's own TimeoutError, not the host's limit.
            if not limit.expired():
                raise _failure(error) from error
            raise FunctionFailedError(
                f"FunctionTimeoutException: Timeout value of {self._timeout:g} s was exceeded by "
                f"function: Functions.{name}"
            ) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _failure(error) from error  # the activity's own affair; its orchestrator must not wait for ever
        except Exception as error:
            raise _failure(error) from error

    async def orchestrator(self, name: str, context: str) -> Mapping[str, Any]:
        function = self._orchestrators[name]
        try:
            state = json.loads(await self.call(function, _decode("orchestrationTrigger", context)))
        except Exception as error:
            # A failed orchestrator still reports what it scheduled before, after a mark in the message.
            _, mark, state_text = str(error).partition(_STATE_MARK)
            if not mark:
                raise FunctionFailedError(str(error), _stack(error)) from error
            state = json.loads(state_text)
        assert isinstance(state, dict)
        return state

    async def timer(self, function: Function, information: str) -> None:
        """Call a timer function; `information` is the JSON of its TimerRequest. Raises TimeoutError too."""
        async with asyncio.timeout(self._timeout):
            result = await self.call(function, _decode("timerTrigger", information))
        # The worker refuses a value that no binding takes.
        if result is not None:
            raise RuntimeError(f"function '{function.name}' without a $return binding returned a value")


def _decode(binding: str, text: str) -> Any:
    # What the converters of azure-functions expect; all others take text.
    kind = "json" if binding == "timerTrigger" else "string"
    return converter(binding).decode(meta.Datum(text, kind), trigger_metadata=None)


def _encode(binding: str, result: Any) -> str:
    datum = converter(binding).encode(result, expected_type=None)
    return str(datum.value)


def _failure(error: BaseException) -> FunctionFailedError:
    return FunctionFailedError(f"{type(error).__name__}: {error}", _stack(error))


def _stack(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))
