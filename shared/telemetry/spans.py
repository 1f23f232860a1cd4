"""Spans of a run's whole life, though hours and processes lie between them; and values of metrics.

All spans of a session are one trace, whose id is the session's own; the root span of a run, which its last write
records, has an id made from the run's. So a wake needs no more than the run's id to continue the trace. Spans are plain
records here: OpenTelemetry is imported, beside the work, only where they are exported (``telemetry.exporting``).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

from shared.telemetry.metrics import Metric

Attribute: TypeAlias = str | int | float | bool | tuple[str, ...]
"""What OpenTelemetry takes as a value."""

_ID = re.compile(r"[0-9a-f]{32}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


class Kind(StrEnum):
    """How a span relates to others, by OpenTelemetry's names."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"


@dataclass(frozen=True, slots=True)
class Place:
    """A span as others name it: 32 and 16 hex digits."""

    trace_id: str
    span_id: str

    @property
    def traceparent(self) -> str:
        """The header of W3C Trace Context."""
        return f"00-{self.trace_id}-{self.span_id}-01"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened during a span."""

    name: str
    at: datetime
    attributes: Mapping[str, Attribute]


@dataclass(slots=True, kw_only=True)
class Span:
    """One operation. Complete once it has an end; it is recorded then."""

    name: str
    place: Place
    parent: Place | None
    start: datetime
    end: datetime | None = None
    kind: Kind = Kind.INTERNAL
    attributes: dict[str, Attribute] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    links: list[Place] = field(default_factory=list)
    error: str | None = None
    """A stable word for what went wrong; None where nothing did."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of a metric."""

    metric: Metric
    value: float
    attributes: Mapping[str, Attribute]


Measures: TypeAlias = Callable[[Measured], None]
"""Takes a value; returns at once and raises nothing."""

Sink: TypeAlias = Callable[[Span], None]
"""Takes a complete span; returns at once and raises nothing."""

Attach: TypeAlias = Callable[[Span], AbstractContextManager[object]]
"""Makes the span the current one for libraries that make spans of their own."""

_current: ContextVar[Span | None] = ContextVar("span", default=None)
_caller: ContextVar[Place | None] = ContextVar("caller", default=None)


class Telemetry(Protocol):
    """Records what is done."""

    def span(
        self,
        name: str,
        subject: str,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        kind: Kind = Kind.INTERNAL,
        since: datetime | None = None,
    ) -> AbstractContextManager[Span | None]:
        """A span about that run or batch while the block runs; None where nothing is recorded."""
        ...

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Something that happened during the current span, if there is one."""
        ...

    def measure(self, metric: Metric, value: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        """A value of a metric: how many more, or how long or large something was."""
        ...

    @property
    def sink(self) -> Sink | None:
        """Where complete spans go; None where nothing is recorded."""
        ...


class NoTelemetry:
    """Records nothing, and costs next to nothing."""

    sink: Sink | None = None

    def span(
        self,
        name: str,
        subject: str,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        kind: Kind = Kind.INTERNAL,
        since: datetime | None = None,
    ) -> AbstractContextManager[None]:
        """The block, and no more."""
        return contextlib.nullcontext()

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Pass over it."""

    def measure(self, metric: Metric, value: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Pass over it."""


class Recording:
    """Records spans by the app's clock."""

    def __init__(
        self,
        sink: Sink,
        clock: Callable[[], datetime],
        attach: Attach = lambda span: contextlib.nullcontext(),
        measures: Measures = lambda measured: None,
    ) -> None:
        self.sink: Sink | None = sink
        self._record = sink
        self._clock = clock
        self._attach = attach
        self._measures = measures

    @contextlib.contextmanager
    def span(
        self,
        name: str,
        subject: str,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        kind: Kind = Kind.INTERNAL,
        since: datetime | None = None,
    ) -> Iterator[Span]:
        """A span about that run or batch: a child of the current one, if that is of the same trace, else of the run's
        own. What it was done for in another trace, a batch's or a caller's, is a link.
        """
        current, root = _current.get(), root_of(subject)
        cause = _caller.get() if current is None else current.place
        is_child = current is not None and current.place.trace_id == root.trace_id
        span = Span(
            name=name,
            place=child_of(root),
            parent=cause if is_child else root,
            start=since or self._clock(),
            kind=kind,
            attributes=dict(attributes or {}),
            links=[] if cause is None or is_child else [cause],
        )
        token = _current.set(span)
        try:
            with self._attach(span):
                yield span
        except Exception as error:
            span.error = span.error or type(error).__name__
            raise
        finally:
            _current.reset(token)
            span.end = self._clock()
            self._record(span)

    def measure(self, metric: Metric, value: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        """A value of a metric."""
        self._measures(Measured(metric, value, attributes or {}))

    def event(self, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Something that happened during the current span."""
        if (span := _current.get()) is not None:
            span.events.append(Event(name, self._clock(), attributes))


def root_of(subject: str) -> Place:
    """The root span of a run, a batch, or a session that is deleted: the same in every process."""
    found = _ID.search(subject)
    digest = hashlib.sha256(subject.encode()).hexdigest()
    return Place(found[0] if found else digest[:32], digest[32:48])


def child_of(place: Place) -> Place:
    """A new span of the same trace."""
    return Place(place.trace_id, secrets.token_hex(8))


def current() -> Span | None:
    """The span in which this is done; None where nothing is recorded."""
    return _current.get()


def traceparent() -> str | None:
    """The current span as a header; None where there is none."""
    span = _current.get()
    return None if span is None else span.place.traceparent


@contextlib.contextmanager
def called_with(header: str) -> Iterator[None]:
    """A request that came with this ``traceparent``, empty without one, is answered in this block."""
    found = _TRACEPARENT.fullmatch(header)
    token = _caller.set(None if found is None else Place(found[1], found[2]))
    try:
        yield
    finally:
        _caller.reset(token)
