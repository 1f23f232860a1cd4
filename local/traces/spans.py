"""Spans as they were exported, and as a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

SHOWN = (
    "dormouse.status",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.tool.call.id",
    "dormouse.wakes",
    "http.response.status_code",
)
"""Attributes that a line of the tree has room for."""

INSTANCE = "service.instance.id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One span. Ids are hex digits; times are nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""

    start: int
    end: int
    kind: int
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    """Their names."""

    links: tuple[tuple[str, str], ...]
    """Traces and spans."""

    error: str
    """What went wrong; empty where nothing did."""

    resource: Mapping[str, Any]
    """Which service and which process."""


def read(body: bytes) -> list[Exported]:
    """The spans of a request to `/v1/traces`. Raises ``DecodeError`` of protobuf."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Exported(
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            kind=span.kind,
            attributes={each.key: _plain(each.value) for each in span.attributes},
            events=tuple(each.name for each in span.events),
            links=tuple((each.trace_id.hex(), each.span_id.hex()) for each in span.links),
            error=span.status.message if span.status.code == 2 else "",
            resource={each.key: _plain(each.value) for each in group.resource.attributes},
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_plain(each) for each in value.array_value.values)
    return None if kind is None else getattr(value, kind)


def tree(spans: Sequence[Exported]) -> Iterator[str]:
    """One trace, a line a span, each below its parent and in order of time.

    A span whose parent is not there (yet) stands as a root does.
    """
    known = {span.span_id for span in spans}
    below: defaultdict[str, list[Exported]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        below[span.parent_id if span.parent_id in known else ""].append(span)
    begun = min((span.start for span in spans), default=0)
    processes = list(dict.fromkeys(span.resource.get(INSTANCE) for span in sorted(spans, key=lambda each: each.start)))

    def lines(parent: str, indent: str) -> Iterator[str]:
        children = below[parent]
        for span in children:
            is_last = span is children[-1]
            branch = "" if not parent else ("└─ " if is_last else "├─ ")
            yield f"{indent}{branch}{_line(span, begun, processes)}"
            yield from lines(span.span_id, indent if not parent else indent + ("   " if is_last else "│  "))

    yield from lines("", "")


def _line(span: Exported, begun: int, processes: Sequence[Any]) -> str:
    after, seconds = (span.start - begun) / 1e9, (span.end - span.start) / 1e9
    said = [f"{name.rpartition('.')[2]}={_text(span.attributes[name])}" for name in SHOWN if name in span.attributes]
    error = [f"ERROR {span.error}"] if span.error else []
    process = f"process {processes.index(span.resource.get(INSTANCE)) + 1}"
    return "  ".join([f"{span.name}  +{after:.2f} s  {seconds:.3f} s", *said, *error, process])


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The value of a metric for some attributes, as exported: a sum; of a histogram also how many values it is of."""

    name: str
    unit: str
    attributes: Mapping[str, Any]
    count: int
    sum: float


def read_metrics(body: bytes) -> list[Point]:
    """The points of a request to `/v1/metrics`. Raises ``DecodeError`` of protobuf."""
    request = ExportMetricsServiceRequest.FromString(body)
    found = []
    for group in request.resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                for point in metric.sum.data_points:
                    value = point.as_double if point.WhichOneof("value") == "as_double" else point.as_int
                    found.append(_point(metric, point, count=1, sum=float(value)))
                found += [_point(metric, each, count=each.count, sum=each.sum) for each in metric.histogram.data_points]
    return found


def _point(metric: Any, point: Any, *, count: int, sum: float) -> Point:
    attributes = {each.key: _plain(each.value) for each in point.attributes}
    return Point(name=metric.name, unit=metric.unit, attributes=attributes, count=count, sum=sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the log, as it was exported; the ids are empty where it is about no trace."""

    text: str
    severity: str
    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


def read_lines(body: bytes) -> list[Line]:
    """The lines of a request to `/v1/logs`. Raises ``DecodeError`` of protobuf."""
    request = ExportLogsServiceRequest.FromString(body)
    return [
        Line(
            text=record.body.string_value,
            severity=record.severity_text,
            trace_id=record.trace_id.hex(),
            span_id=record.span_id.hex(),
            attributes={each.key: _plain(each.value) for each in record.attributes},
        )
        for group in request.resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    ]


def by_trace(spans: Iterable[Exported]) -> dict[str, list[Exported]]:
    """The spans of each trace, in the order in which the traces came."""
    found: dict[str, list[Exported]] = {}
    for span in spans:
        found.setdefault(span.trace_id, []).append(span)
    return found
