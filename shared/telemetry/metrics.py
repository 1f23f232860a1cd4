"""The app's metrics: their names, units and what they count.

Those of the model have the names of OpenTelemetry's conventions for generative AI, of 1.44; ours begin with
`dormouse.`. Attributes are few and bounded: agents, statuses, codes, tools, never an id or an owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

AGENT = "gen_ai.agent.name"
MODEL = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
ERROR = "error.type"
KIND = "dormouse.kind"
OUTCOME = "dormouse.outcome"
STATUS = "dormouse.status"
TOKEN_TYPE = "gen_ai.token.type"
TOOL = "gen_ai.tool.name"
METHOD = "http.request.method"

SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0)
TOKENS = (1.0, 16.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0)
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)


class MetricKind(StrEnum):
    """How its values are put together, by OpenTelemetry's names."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``attributes`` are those that its values may have; ``buckets`` the upper bounds of a histogram's."""

    name: str
    kind: MetricKind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, unit: str, description: str, *attributes: str) -> Metric:
    return Metric(name, MetricKind.COUNTER, unit, description, attributes)


def _histogram(name: str, unit: str, description: str, buckets: tuple[float, ...], *attributes: str) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, unit, description, attributes, buckets)


RUNS_SUBMITTED = _counter("dormouse.runs.submitted", "{run}", "Runs that were written", AGENT)
RUNS_ENDED = _counter("dormouse.runs.ended", "{run}", "Runs that have ended", AGENT, STATUS, ERROR)
WAITS_BEGUN = _counter("dormouse.waits.begun", "{wait}", "Times a run began to wait for answers", AGENT)
WAITS_ENDED = _counter("dormouse.waits.ended", "{wait}", "Times a run ceased to wait for answers", AGENT)
RUN_SECONDS = _histogram(
    "dormouse.run.duration",
    "s",
    "From a run's submit (of one for later: its start) to its end",
    SECONDS,
    AGENT,
    STATUS,
    ERROR,
)
RUN_ACTIVE_SECONDS = _histogram(
    "dormouse.run.active", "s", "How long the app was at work for a run, in all its wakes", SECONDS, AGENT
)
RUN_LOOKS = _histogram(
    "dormouse.run.looks", "{look}", "Requests of a run that found its response pending, or got no answer", COUNTS, AGENT
)
WAKE_LAG = _histogram("dormouse.wake.lag", "s", "From when a wake was due to when it began; early ones not", SECONDS)
DETECTION_LAG = _histogram(
    "dormouse.detection.lag", "s", "From when a response ended, by the provider's clock, to when that was seen", SECONDS
)
TURN_SECONDS = _histogram(
    "gen_ai.client.operation.duration",
    "s",
    "A turn: from when the provider took it to when its end was seen",
    SECONDS,
    *MODEL,
    ERROR,
)
TURN_TOKENS = _histogram("gen_ai.client.token.usage", "{token}", "Tokens of a turn", TOKENS, *MODEL, TOKEN_TYPE)
TOOL_SECONDS = _histogram("dormouse.tool.duration", "s", "A call of a tool", SECONDS, TOOL, ERROR)
PROVIDER_ERRORS = _counter(
    "dormouse.provider.errors", "{error}", "Requests to the provider that brought no response", AGENT, KIND, ERROR
)
CALLBACKS = _counter("dormouse.callbacks", "{attempt}", "Attempts at callbacks, and callbacks given up", OUTCOME)
WAKES_CRASHED = _counter("dormouse.wakes.crashed", "{wake}", "Wakes that an unexpected exception ended", AGENT)
SWEPT = _counter("dormouse.sweep.rows", "{row}", "Due rows that sweeps have handled, by what was done", OUTCOME)
SWEEP_LAG = _histogram("dormouse.sweep.lag", "s", "How long the oldest row was due that a sweep found", SECONDS)
RETAINED = _counter("dormouse.retention.rows", "{row}", "What retention has removed; `cut_off` counts passes", OUTCOME)
STORAGE = _counter("dormouse.storage.requests", "{request}", "Requests to Table Storage", METHOD, OUTCOME)

METRICS = (
    *(RUNS_SUBMITTED, RUNS_ENDED, WAITS_BEGUN, WAITS_ENDED, RUN_SECONDS, RUN_ACTIVE_SECONDS, RUN_LOOKS),
    *(WAKE_LAG, DETECTION_LAG, TURN_SECONDS, TURN_TOKENS, TOOL_SECONDS, PROVIDER_ERRORS, CALLBACKS, WAKES_CRASHED),
    *(SWEPT, SWEEP_LAG, RETAINED, STORAGE),
)
"""All of them: the docs list them, and what is exported is held to it."""
