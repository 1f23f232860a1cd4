"""A chat completion as it is made: chunks that a client appends. What it has, nobody can take back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from shared.api.pacing import TimeIsUp, paced
from shared.api.v1.errors import NO_RETRY, error_object
from shared.api.v1.names import completion_id, response_id
from shared.api.v1.objects import chat_usage, completion_object, finish_reason
from shared.api.v1.starting import now, said_in, seconds_left
from shared.api.v1.streaming import PING, failure, sse, told
from shared.drivers.driver import Driver
from shared.errors import CompletionFailed, StillRunning
from shared.runs.model.phases import RunStatus
from shared.runs.model.run import Run
from shared.wiring import App

DONE = b"data: [DONE]\n\n"
BETWEEN = "\n\n"
"""Between the words of two turns."""


async def chunks(run: Run, app: App, driver: Driver, *, with_usage: bool, since: float) -> AsyncGenerator[bytes, None]:
    """The body: the words as they come, the reason of the end, ``[DONE]``; an error where that cannot be."""
    try:
        events = paced(
            _chunks(run, app, driver, with_usage=with_usage), seconds=seconds_left(app.settings.events_seconds, since)
        )
        async with contextlib.aclosing(events):
            async for chunk in events:
                yield PING if chunk is None else sse(chunk)
        yield DONE
    except TimeIsUp:
        name = response_id(run.id)
        message = f"This connection ends as planned, and the answer is not done. Retrieve it as the response {name}."
        yield sse({"error": error_object(StillRunning(message, response_id=name))})
    except Exception as raised:
        yield sse({"error": error_object(failure(raised, run))})


def check_ended_well(run: Run) -> None:
    """A completion has no status: a run that failed is an error. Raises ``CompletionFailed``."""
    if run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE):
        return
    raise CompletionFailed(
        run.result.error_message or f"The run is {run.status}.",
        reason=run.result.error_code or run.status.value,
        response_id=response_id(run.id),
        headers=NO_RETRY,
    )


async def _chunks(run: Run, app: App, driver: Driver, *, with_usage: bool) -> AsyncGenerator[Mapping[str, Any], None]:
    agent = app.ports.agents.get(run.request.agent)
    live = agent is None or agent.output is None  # an object that does not fit is made again: only the last one counts
    yield _chunk(run, {"role": "assistant", "content": ""})
    message = ""
    async with contextlib.aclosing(told(run, None, app, driver)) as events:
        async for event in events:
            if live and event["type"] == "response.output_text.delta":
                between = BETWEEN if message not in ("", event["item_id"]) else ""
                message = event["item_id"]
                yield _chunk(run, {"content": between + event["delta"]})
            elif message and event["type"] == "response.in_progress":
                raise CompletionFailed(
                    "The model began its answer anew, and a stream of chunks cannot. Retrieve the response instead.",
                    response_id=response_id(run.id),
                )
    run = await now(run, app)
    check_ended_well(run)
    if not live:
        whole = completion_object(run, await said_in(run, app))["choices"][0]["message"]
        yield _chunk(run, {name: whole[name] for name in ("content", "refusal") if whole[name] is not None})
    yield _chunk(run, {}, finish_reason(run))
    if with_usage:
        yield {**_chunk(run, {}), "choices": [], "usage": chat_usage(run.counters.usage)}


def _chunk(run: Run, delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {
        "id": completion_id(run),
        "object": "chat.completion.chunk",
        "created": int(run.request.created_at.timestamp()),
        "model": run.request.agent,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
        "system_fingerprint": None,
    }
