"""The metrics of runs: what facts, turns, wakes and calls of tools count as."""

from __future__ import annotations

from typing import TypeAlias

from shared.agentkit.agent import AgentResponse
from shared.agentkit.redaction import plain_code
from shared.runs.model import facts
from shared.runs.model.calls import ToolCall
from shared.runs.model.facts import Fact
from shared.runs.model.journal import LineKind
from shared.runs.model.outbox import CallbackState
from shared.runs.model.phases import WaitingForAnswers
from shared.runs.model.run import Run
from shared.runs.ports import Ports
from shared.runs.rules.agenda import next_time
from shared.telemetry import metrics
from shared.telemetry.metrics import AGENT, ERROR, KIND, MODEL, OUTCOME, STATUS, TOKEN_TYPE, TOOL
from shared.telemetry.spans import Attribute, Span, Telemetry

Attributes: TypeAlias = dict[str, Attribute]

_LOOKS = (LineKind.LOOKED, LineKind.NO_ANSWER)


def measure_fact(telemetry: Telemetry, before: Run, fact: Fact, after: Run) -> None:
    """A fact that was written."""
    agent: Attributes = {AGENT: after.request.agent}
    match fact:
        case facts.NoNews(fault=fault):
            _error(telemetry, agent, fault.code, "access_denied" if fault.is_denial else "no_news")
        case facts.NotCreated(fault=fault):
            _error(telemetry, agent, fault.code, "access_denied" if fault.is_denial else "not_created")
        case facts.OutcomeUnknown(code=code):
            _error(telemetry, agent, code, "outcome_unknown")
        case facts.ClaimRanOut():
            _error(telemetry, agent, "claim_ran_out", "outcome_unknown")
        case facts.WakeCrashed():
            telemetry.measure(metrics.WAKES_CRASHED, 1, agent)
        case facts.OutboxDone(callback_state=CallbackState() as state) if state is not CallbackState.DELIVERED:
            telemetry.measure(metrics.CALLBACKS, 1, {OUTCOME: state.value})
    waited, waits = (isinstance(run.phase, WaitingForAnswers) for run in (before, after))
    if waited is not waits:
        telemetry.measure(metrics.WAITS_BEGUN if waits else metrics.WAITS_ENDED, 1, agent)
    if after.terminal and not before.terminal:
        _end(telemetry, after, agent)


def measure_turn(telemetry: Telemetry, turn: Span, response: AgentResponse) -> None:
    """A turn of the model, which that span is of."""
    of_model = {name: turn.attributes[name] for name in MODEL}
    error: Attributes = {} if turn.error is None else {ERROR: turn.error}
    seconds = ((turn.end or turn.start) - turn.start).total_seconds()
    telemetry.measure(metrics.TURN_SECONDS, seconds, {**of_model, **error})
    if response.ended_at is not None:
        lag = ((turn.end or turn.start) - response.ended_at).total_seconds()
        telemetry.measure(metrics.DETECTION_LAG, max(0.0, lag))
    tokens = {"input": response.usage.input_tokens, "output": response.usage.output_tokens}
    for kind, count in tokens.items():
        telemetry.measure(metrics.TURN_TOKENS, count, {**of_model, TOKEN_TYPE: kind})


def measure_wake(ports: Ports, run: Run) -> None:
    """How late a wake is: nothing where it is early, as after a webhook or a signal."""
    if ports.telemetry.sink is None:
        return
    soonest = next_time(run)
    late = 0.0 if soonest is None else (ports.clock() - soonest.due).total_seconds()
    if late > 0:
        ports.telemetry.measure(metrics.WAKE_LAG, late)


def measure_call(ports: Ports, span: Span | None, call: ToolCall) -> None:
    """How long a call of a tool has taken, while its span is open."""
    if span is not None:
        error: Attributes = {} if span.error is None else {ERROR: span.error}
        seconds = (ports.clock() - span.start).total_seconds()
        ports.telemetry.measure(metrics.TOOL_SECONDS, seconds, {TOOL: call.name, **error})


def _error(telemetry: Telemetry, agent: Attributes, code: str, kind: str) -> None:
    telemetry.measure(metrics.PROVIDER_ERRORS, 1, {**agent, KIND: kind, ERROR: plain_code(code)})


def _end(telemetry: Telemetry, run: Run, agent: Attributes) -> None:
    outcome: Attributes = {**agent, STATUS: run.status.value}
    if run.result.error_code is not None:
        outcome[ERROR] = plain_code(run.result.error_code)
    telemetry.measure(metrics.RUNS_ENDED, 1, outcome)
    seconds = (run.updated_at - (run.schedule.begun_at or run.request.created_at)).total_seconds()
    telemetry.measure(metrics.RUN_SECONDS, max(0.0, seconds), outcome)
    telemetry.measure(metrics.RUN_ACTIVE_SECONDS, run.counters.active_ms / 1_000, agent)
    looks = sum(line.count for line in run.journal.lines if line.kind in _LOOKS)
    telemetry.measure(metrics.RUN_LOOKS, looks, agent)
