"""Sends spans, metrics and lines of the log to where the environment says: OTLP, Application Insights, or both.

The only importer of OpenTelemetry. It is imported by a thread once a worker's first answers are out, for it takes some
0.1 to 0.3 s of processor time; what comes before is kept until then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeAlias

from shared.telemetry.metrics import Metric, MetricKind
from shared.telemetry.spans import Measured, Place, Span

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.trace import SpanContext

IMPORT_AFTER_SECONDS = 1.0
"""A worker's first answer is out by then: it would wait for the import."""

KEPT = 2_000
"""Spans that are kept until the import is done: the oldest go first."""

EXPORT_SECONDS = 1.0
"""From a span's end to its export: what a process has not exported when it is killed is lost."""

EXPORT_MILLIS = EXPORT_SECONDS * 1_000

SCOPE = "dormouse"

LINE_IDS = {
    "run_id": "dormouse.run.id",
    "batch_id": "dormouse.batch.id",
    "session_id": "gen_ai.conversation.id",
    "turn": "dormouse.turn",
    "request_id": "dormouse.request.id",
    "error_code": "error.type",
}
"""What a line of the log says besides its text, by the names that this has as attributes of spans."""

SEVERITIES = {"WARNING": "WARN", "CRITICAL": "FATAL"}
"""What OpenTelemetry calls levels that Python has other names for."""

Exported: TypeAlias = Span | Measured | logging.LogRecord

log = logging.getLogger("dormouse")


class Exporting:
    """A sink that exports.

    ``insights``: a connection string of Application Insights, and ``credential`` who sends there, where its key is not
    taken. ``otlp``: to the endpoint that `OTEL_EXPORTER_OTLP_ENDPOINT` names. ``name``: of the service, where
    `OTEL_SERVICE_NAME` says nothing.
    """

    def __init__(
        self, *, name: str, insights: str | None, otlp: bool, credential: Callable[[], object] | None = None
    ) -> None:
        self._name, self._insights, self._otlp, self._credential = name, insights, otlp, credential
        self._early: deque[Exported] = deque(maxlen=KEPT)
        self._export: Callable[[Exported], None] | None = None
        self._lock = threading.Lock()
        self._begun = False

    def __call__(self, span: Exported) -> None:
        """Have it exported: a span, a value of a metric, or a line of the log."""
        export = self._export
        if export is None:
            with self._lock:  # the thread may just be handing over those that were kept
                export = self._export
                if export is None:
                    self._early.append(span)
                    self._begin()
                    return
        export(span)

    def attach(self, span: Span) -> AbstractContextManager[object]:
        """Make it the current span of OpenTelemetry's own context, for libraries that a tool uses."""
        return contextlib.nullcontext() if self._export is None else _attached(span)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        timer = threading.Timer(IMPORT_AFTER_SECONDS, self._load)
        timer.daemon = True
        timer.start()

    def _load(self) -> None:
        try:
            export = self._exporter()
        except Exception:  # whatever is wrong with it, the runs go on
            log.exception("telemetry cannot be exported")
            export = _forget
        with self._lock:
            for span in self._early:
                export(span)
            self._early.clear()
            self._export = export

    def _exporter(self) -> Callable[[Exported], None]:
        from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace import set_tracer_provider

        resource = Resource.create({SERVICE_INSTANCE_ID: f"{socket.gethostname()}:{os.getpid()}"})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: self._name}))
        provider = TracerProvider(resource=resource)
        processors = [*self._processors()]
        for processor in processors:
            provider.add_span_processor(processor)
        set_tracer_provider(provider)  # for libraries that a tool uses; it is ended with the process
        convert, measure = _Converter(provider, resource, processors), self._meter(resource)
        write = _lines(resource) if self._otlp else _forget

        def export(each: Exported) -> None:
            match each:
                case Span():
                    convert(each)
                case Measured():
                    measure(each)
                case _:
                    write(each)

        return export

    def _meter(self, resource: Resource) -> _Meter:
        from opentelemetry.metrics import set_meter_provider
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers = [PeriodicExportingMetricReader(each) for each in self._metric_exporters()]
        provider = MeterProvider(metric_readers=readers, resource=resource)
        set_meter_provider(provider)
        return _Meter(provider)

    def _metric_exporters(self) -> Iterator[MetricExporter]:
        if self._otlp:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            yield OTLPMetricExporter()
        if self._insights:
            from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

            credential = None if self._credential is None else self._credential()
            yield AzureMonitorMetricExporter(connection_string=self._insights, credential=credential)

    def _processors(self) -> Iterator[SpanProcessor]:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if self._otlp:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            yield BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=EXPORT_MILLIS)
        if self._insights:
            from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

            credential = None if self._credential is None else self._credential()
            exporter = AzureMonitorTraceExporter(connection_string=self._insights, credential=credential)
            yield BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_MILLIS)


class Lines(logging.Handler):
    """Hands lines of a log to what exports them."""

    def __init__(self, export: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._export = export

    def emit(self, record: logging.LogRecord) -> None:
        """Have it exported."""
        self._export(record)


class _Converter:
    """Our spans as those of the SDK."""

    def __init__(self, provider: TracerProvider, resource: Resource, processors: list[SpanProcessor]) -> None:
        self._provider, self._resource, self._processors = provider, resource, processors

    def __call__(self, span: Span) -> None:
        from opentelemetry.sdk.trace.sampling import Decision

        # By the trace's id alone, so that a trace is exported whole or not at all, whichever process is at it.
        trace_id = int(span.place.trace_id, 16)
        sampled = self._provider.sampler.should_sample(None, trace_id, span.name)
        if sampled.decision is not Decision.RECORD_AND_SAMPLE:
            return
        converted = self._converted(span)
        for processor in self._processors:
            processor.on_end(converted)

    def _converted(self, span: Span) -> ReadableSpan:
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode

        attributes = dict(span.attributes)
        if span.error is not None:
            attributes.setdefault("error.type", span.error)
        end = span.end or span.start
        return ReadableSpan(
            name=span.name,
            context=_context(span.place),
            parent=None if span.parent is None else _context(span.parent),
            resource=self._resource,
            attributes=attributes,
            events=[Event(each.name, dict(each.attributes), _nanoseconds(each.at.timestamp())) for each in span.events],
            links=[Link(_context(each)) for each in span.links],
            kind=SpanKind[span.kind.name],
            status=Status(StatusCode.UNSET if span.error is None else StatusCode.ERROR, span.error),
            start_time=_nanoseconds(span.start.timestamp()),
            end_time=_nanoseconds(end.timestamp()),
            instrumentation_scope=InstrumentationScope(SCOPE),
        )


class _Meter:
    """Our metrics as instruments of the SDK, each made at its first value."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter(SCOPE)
        self._instruments: dict[str, Counter | Histogram] = {}

    def __call__(self, measured: Measured) -> None:
        from opentelemetry.metrics import Counter

        metric = measured.metric
        instrument = self._instruments.get(metric.name) or self._made(metric)
        if isinstance(instrument, Counter):
            instrument.add(measured.value, measured.attributes)
        else:
            instrument.record(measured.value, measured.attributes)

    def _made(self, metric: Metric) -> Counter | Histogram:
        made: Counter | Histogram
        if metric.kind is MetricKind.COUNTER:
            made = self._meter.create_counter(metric.name, metric.unit, metric.description)
        else:
            made = self._meter.create_histogram(
                metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
            )
        self._instruments[metric.name] = made
        return made


def _lines(resource: Resource) -> Callable[[logging.LogRecord], None]:
    """Writes lines of the log to OTLP."""
    from opentelemetry._logs import LogRecord
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs._internal import std_to_otel
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(), schedule_delay_millis=EXPORT_MILLIS))
    logger = provider.get_logger(SCOPE)

    def write(record: logging.LogRecord) -> None:
        ids = {name: getattr(record, own, None) for own, name in LINE_IDS.items()}
        attributes = {name: value for name, value in ids.items() if value is not None}
        if record.exc_info and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__name__
            attributes["exception.stacktrace"] = "".join(traceback.format_exception(*record.exc_info))
        trace_id, span_id = (getattr(record, name, None) for name in ("trace_id", "span_id"))
        context = Context()
        if trace_id is not None and span_id is not None:
            context = set_span_in_context(NonRecordingSpan(_context(Place(trace_id, span_id))), context)
        logger.emit(
            LogRecord(
                timestamp=_nanoseconds(record.created),
                context=context,
                severity_text=SEVERITIES.get(record.levelname, record.levelname),
                severity_number=std_to_otel(record.levelno),
                body=record.getMessage(),
                attributes=attributes,
            )
        )

    return write


def _context(place: Place) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(place.trace_id, 16), int(place.span_id, 16), is_remote=True, trace_flags=flags)


@contextlib.contextmanager
def _attached(span: Span) -> Iterator[None]:
    from opentelemetry.trace import NonRecordingSpan, use_span

    with use_span(NonRecordingSpan(_context(span.place)), record_exception=False, set_status_on_exception=False):
        yield


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e6) * 1_000


def _forget(each: Exported) -> None:
    """Nowhere to send it."""
