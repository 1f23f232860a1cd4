"""What the spans of a run say. What is the model's has the names of OpenTelemetry's conventions for generative AI, of
1.44; what is ours begins with `dormouse.`. Nothing that a caller or a model wrote is among it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from shared.agentkit.agent import AgentResponse, Item, ResponseStatus, Usage
from shared.agentkit.faults import ProviderFault
from shared.agentkit.redaction import plain_code
from shared.agentkit.tools import error_of
from shared.runs import contents
from shared.runs.metrics import measure_fact, measure_turn
from shared.runs.model import facts
from shared.runs.model.batch import Batch
from shared.runs.model.callbacks import Sent
from shared.runs.model.calls import ToolCall
from shared.runs.model.facts import Fact
from shared.runs.model.phases import Creating, Pending
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.telemetry.spans import Attribute, Event, Kind, Span, child_of, root_of

Attributes: TypeAlias = dict[str, Attribute]

TOOL_CALLS, STOP = "tool_calls", "stop"
"""Why a model stopped, as OpenAI names it."""


def of_run(run: Run) -> Attributes:
    """Which run a span is about."""
    return {
        "dormouse.run.id": run.id,
        "dormouse.turn": run.turn.number,
        "gen_ai.agent.name": run.request.agent,
        "gen_ai.conversation.id": run.request.session_id,
    }


def of_call(run: Run, call: ToolCall) -> Attributes:
    """A call of a tool."""
    return {
        **of_run(run),
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.call.id": call.call_id,
        "gen_ai.tool.type": "function",
        "dormouse.tool.start": call.starts,
    }


@contextlib.contextmanager
def provider_request(ports: Ports, name: str, run_id: str, sent: Sequence[Item] = ()) -> Iterator[None]:
    """A request to the provider, made in this block: a fault's code is on its span, in place of a class's name."""
    with ports.telemetry.span(name, run_id, kind=Kind.CLIENT) as span:
        if span is not None and sent and ports.settings.trace_content:
            span.attributes["gen_ai.input.messages"] = contents.messages(sent)
        try:
            yield
        except ProviderFault as fault:
            if span is not None:
                span.error = plain_code(fault.code)
            raise


def tell_call(ports: Ports, span: Span | None, arguments: str, output: str) -> None:
    """What a tool was given and gave, where traces may hold that."""
    if span is not None and ports.settings.trace_content:
        span.attributes["gen_ai.tool.call.arguments"] = contents.cut(arguments)
        span.attributes["gen_ai.tool.call.result"] = contents.cut(output)


def name_failure(span: Span | None, output: str) -> None:
    """A tool's output that is an error has its code on the span of the call."""
    if span is not None and (error := error_of(output)) is not None:
        span.error = plain_code(error[0], "tool_error")


def name_outcome(span: Span | None, event: str, sent: Sent) -> None:
    """What became of an attempt at a callback."""
    if span is None:
        return
    span.attributes["dormouse.event"] = event
    if sent.status is not None:
        span.attributes["http.response.status_code"] = sent.status
    if not sent.ok:
        span.error = sent.fault or f"http_{sent.status}"


def committed(ports: Ports, before: Run, fact: Fact, after: Run) -> None:
    """A fact was written: an event of the wake; a span for the model's turn, and for the whole run, that it ended."""
    sink = ports.telemetry.sink
    if sink is None:
        return
    now = ports.clock()
    measure_fact(ports.telemetry, before, fact, after)
    ports.telemetry.event(_words(type(fact).__name__), {"dormouse.status": after.status.value})
    if isinstance(fact, facts.Looked | facts.ResponseCreated) and _ends_turn(before, fact.answer.response, after):
        turn = _turn(ports, before, fact.answer.response, now)
        sink(turn)
        measure_turn(ports.telemetry, turn, fact.answer.response)
    if after.terminal and not before.terminal:
        sink(ended(after))


def ended(run: Run) -> Span:
    """The root span: the whole run, from its submit to its end, as its row and its metrics have them."""
    counters = run.counters
    return Span(
        name=f"invoke_agent {run.request.agent}",
        place=root_of(run.id),
        parent=None,
        start=run.request.created_at,
        end=max(run.updated_at, run.request.created_at),
        attributes={
            **of_run(run),
            "gen_ai.operation.name": "invoke_agent",
            **_of_usage(counters.usage),
            "dormouse.status": run.status.value,
            "dormouse.wakes": counters.wakes,
            "dormouse.tool_calls": counters.tool_calls,
            "dormouse.active_seconds": counters.active_ms / 1_000,
        },
        events=[
            Event(
                line.kind.value,
                datetime.fromtimestamp(line.at / 1_000, tz=UTC),
                {"dormouse.turn": line.turn, "dormouse.code": line.code, "dormouse.count": line.count},
            )
            for line in run.journal.lines
        ],
        error=run.result.error_code,
    )


def of_batch(batch: Batch) -> Attributes:
    """Which batch a span is about."""
    return {"dormouse.batch.id": batch.id, "dormouse.items": batch.request.total}


def batch_committed(ports: Ports, batch: Batch) -> None:
    """Its status has changed: the root span, once all items have ended. Their runs are traces of their own."""
    sink = ports.telemetry.sink
    if sink is None or not batch.status.terminal:
        return
    done, now = batch.progress, ports.clock()
    counts = {"completed": done.completed, "incomplete": done.incomplete}
    counts |= {"failed": done.failed, "cancelled": done.cancelled}
    sink(
        Span(
            name="batch",
            place=root_of(batch.id),
            parent=None,
            start=batch.request.created_at,
            end=max(now, batch.request.created_at),
            attributes={
                **of_batch(batch),
                "dormouse.status": batch.status.value,
                **{f"dormouse.items.{name}": count for name, count in counts.items()},
            },
        )
    )


def _ends_turn(before: Run, response: AgentResponse, after: Run) -> bool:
    """Whether it is what the run waited for, and is over."""
    waited = isinstance(before.phase, Pending | Creating) and before.phase != after.phase
    return waited and response.status is not ResponseStatus.PENDING and not isinstance(after.phase, Pending)


def _turn(ports: Ports, run: Run, response: AgentResponse, now: datetime) -> Span:
    """The model's turn: from when the provider took it to when it was seen to have ended."""
    agent = ports.agents.get(run.request.agent)
    model = run.request.model or (None if agent is None else agent.model) or "unknown"
    failed = response.status is ResponseStatus.FAILED
    attributes: Attributes = {
        **of_run(run),
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": ports.settings.provider_name,
        "gen_ai.request.model": model,
        "gen_ai.response.finish_reasons": (_finish_reason(response),),
        **_of_usage(response.usage),
        "dormouse.attempt": run.turn.attempt,
    }
    if response.response_id is not None:
        attributes["gen_ai.response.id"] = response.response_id
    if ports.settings.trace_content and response.items:
        attributes["gen_ai.output.messages"] = contents.messages(response.items)
    start = run.turn.accepted_at or run.updated_at
    root = root_of(run.id)
    return Span(
        name=f"chat {model}",
        place=child_of(root),
        parent=root,
        start=min(start, now),
        end=now,
        attributes=attributes,
        error=plain_code(response.error_code, "provider_failed") if failed else None,
    )


def _finish_reason(response: AgentResponse) -> str:
    if response.calls or response.approvals:
        return TOOL_CALLS
    if response.status is ResponseStatus.COMPLETED:
        return STOP
    return plain_code(response.incomplete_reason or response.error_code, response.status.value)


def _of_usage(usage: Usage) -> Attributes:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def _words(name: str) -> str:
    """The name of a class as a word for programs: `response_created`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
