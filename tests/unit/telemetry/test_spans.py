"""Spans as records: where each stands in its trace, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from shared.telemetry.spans import Kind, NoTelemetry, Place, Recording, Span, called_with, root_of, traceparent

SESSION = "0af7651916cd43dd8448eb211c80319c"
RUN, NEXT = f"run_{SESSION}_1", f"run_{SESSION}_2"
BATCH = "batch_11112222333344445555666677778888"
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Recorder(Recording):
    """Keeps spans; its clock is a second later at each look."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.attached: list[str] = []
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        super().__init__(self.spans.append, self._later, self._attached)

    def _later(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    @contextmanager
    def _attached(self, span: Span) -> Iterator[None]:
        self.attached.append(span.name)
        yield


def test_the_trace_of_a_run_is_its_session_and_its_root_the_same_in_every_process() -> None:
    first, second = root_of(RUN), root_of(NEXT)
    assert first.trace_id == second.trace_id == SESSION
    assert first == Place(SESSION, "2312cd05c98c0a66")
    assert first.span_id != second.span_id
    assert root_of(BATCH).trace_id == BATCH.removeprefix("batch_")


def test_a_span_within_another_is_its_child_and_one_alone_is_the_run_s() -> None:
    recorder = Recorder()
    with recorder.span("wake", RUN, {"a": 1}) as wake, recorder.span("retrieve", RUN, kind=Kind.CLIENT) as retrieve:
        assert traceparent() == retrieve.place.traceparent == f"00-{SESSION}-{retrieve.place.span_id}-01"
    assert traceparent() is None
    assert [each.name for each in recorder.spans] == ["retrieve", "wake"], "each when it ends"
    assert recorder.attached == ["wake", "retrieve"]
    assert retrieve.parent == wake.place
    assert wake.parent == root_of(RUN)
    assert wake.attributes == {"a": 1}
    assert retrieve.kind is Kind.CLIENT
    assert wake.start < retrieve.start < (retrieve.end or wake.start) < (wake.end or wake.start)
    assert wake.links == retrieve.links == []


def test_a_batch_that_submits_a_run_is_a_link() -> None:
    recorder = Recorder()
    with recorder.span("wake", BATCH) as batch, recorder.span("submit", RUN) as submit:
        pass
    assert submit.parent == root_of(RUN)
    assert submit.links == [batch.place]


@pytest.mark.parametrize(
    ("header", "links"),
    [
        (CALLER, [Place("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")]),
        ("", []),
        (CALLER.upper(), []),
        (f"{CALLER}-more", []),
        (f"{CALLER}\n", []),
        (CALLER.replace("00f067aa0ba902b7", "0" * 16), []),
        (CALLER.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), []),
        ("x" * 100_000, []),
    ],
)
def test_a_caller_s_own_span_is_a_link_if_it_is_one(header: str, links: list[Place]) -> None:
    recorder = Recorder()
    with called_with(header), recorder.span("submit", RUN) as submit:
        pass
    with recorder.span("wake", RUN) as wake:
        pass
    assert submit.links == links
    assert wake.links == []


def test_what_a_span_raises_is_its_error_unless_it_has_one() -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="secret"), recorder.span("wake", RUN):
        raise ValueError("a secret")
    with contextlib.suppress(ValueError), recorder.span("wake", RUN) as named:
        named.error = "http_500"
        raise ValueError("x")
    assert [each.error for each in recorder.spans] == ["ValueError", "http_500"]


async def test_a_span_that_is_cancelled_ends_without_an_error() -> None:
    recorder = Recorder()

    async def work() -> None:
        with recorder.span("wake", RUN):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(each.name, each.error, each.end is not None) for each in recorder.spans] == [("wake", None, True)]


def test_events_are_those_of_the_span_that_is_open() -> None:
    recorder = Recorder()
    recorder.event("lost", {})
    with recorder.span("wake", RUN) as wake:
        recorder.event("looked", {"dormouse.status": "in_progress"})
    assert [(each.name, dict(each.attributes)) for each in wake.events] == [
        ("looked", {"dormouse.status": "in_progress"})
    ]


def test_without_telemetry_nothing_is_recorded_and_nothing_is_linked() -> None:
    nothing = NoTelemetry()
    with nothing.span("wake", RUN) as span:
        nothing.event("looked", {})
        assert span is None
        assert traceparent() is None
    assert nothing.sink is None
