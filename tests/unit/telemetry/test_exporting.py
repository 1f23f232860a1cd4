"""What is exported, received as any collector would receive it; and that nothing is imported without need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from local import ROOT
from local.stack import machine_environment
from local.traces.receiver import Receiver
from local.traces.spans import Exported
from shared.telemetry import exporting
from shared.telemetry.exporting import Exporting
from shared.telemetry.spans import Event, Kind, Place, root_of
from tests.parts.waiting import eventually
from tests.unit.telemetry.records import BEGUN, RUN, a_span

EXPORT = """
import logging, sys, time
from shared.runs.log import with_ids, without_values
from tests.unit.telemetry.records import RUN, a_span
from shared.telemetry import exporting, metrics
from shared.telemetry.spans import Measured
exporting.IMPORT_AFTER_SECONDS = 0.2
sink = exporting.Exporting(name="site", insights=None, otlp=True)
with sink.attach(a_span()):
    for number in range(3):
        sink(a_span(f"early {number}"))
        sink(Measured(metrics.RUNS_SUBMITTED, 1, {"gen_ai.agent.name": "novelist"}))
assert not any(name.startswith("opentelemetry") for name in sys.modules), "it is imported at once"
while sink._export is None:
    time.sleep(0.01)
with sink.attach(a_span("outer")):
    from opentelemetry import trace
    print("current", f"{trace.get_current_span().get_span_context().trace_id:032x}")
    with trace.get_tracer("library").start_as_current_span("of a library"):
        pass
sink(a_span("late"))
sink(Measured(metrics.RUNS_SUBMITTED, 1, {"gen_ai.agent.name": "novelist"}))
log = logging.getLogger("dormouse")
log.addHandler(exporting.Lines(sink))
log.addFilter(without_values)
log.addFilter(with_ids)
log.warning("run %s is failed", RUN, extra={"error_code": "timeout"})
try:
    raise ValueError("a secret")
except ValueError:
    log.exception("nobody's")
sink(Measured(metrics.WAKE_LAG, 1.5, {}))
sink(Measured(metrics.WAKE_LAG, 0.25, {}))
"""


def exported(receiver: Receiver, **env: str) -> tuple[list[Exported], str]:
    """What a process exports until it ends."""
    given = machine_environment() | {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PYTHONPATH": str(ROOT)} | env
    ran = subprocess.run(
        [sys.executable, "-c", EXPORT], env=given, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return receiver.spans, ran.stdout


@pytest.mark.own_command
def test_spans_that_came_before_the_import_are_exported_too_and_all_at_the_end_of_the_process() -> None:
    with Receiver() as receiver:
        spans, said = exported(receiver)
    trace_id = root_of(RUN).trace_id
    assert sorted(span.name for span in spans) == ["early 0", "early 1", "early 2", "late", "of a library"]
    assert {span.trace_id for span in spans} == {trace_id}
    assert said.strip() == f"current {trace_id}"
    (late,) = [span for span in spans if span.name == "late"]
    assert late.parent_id == root_of(RUN).span_id
    assert (late.start, late.end) == (int(BEGUN.timestamp()) * 10**9, int(BEGUN.timestamp()) * 10**9 + 1_500_000_000)
    assert late.resource["service.name"] == "site"
    assert late.resource["service.instance.id"].rpartition(":")[2].isdigit()


@pytest.mark.own_command
def test_metrics_are_exported_with_their_units_those_before_the_import_too() -> None:
    with Receiver() as receiver:
        exported(receiver)
    assert {(each.name, each.unit, each.count, each.sum) for each in receiver.points} == {
        ("dormouse.runs.submitted", "{run}", 1, 4.0),
        ("dormouse.wake.lag", "s", 2, 1.75),
    }
    (submitted,) = [each for each in receiver.points if each.name == "dormouse.runs.submitted"]
    assert submitted.attributes == {"gen_ai.agent.name": "novelist"}


@pytest.mark.own_command
def test_lines_of_the_log_are_exported_with_the_ids_of_the_run_that_they_name() -> None:
    with Receiver() as receiver:
        exported(receiver)
    failed, crashed = receiver.lines
    assert (failed.text, failed.severity) == (f"run {RUN} is failed", "WARN")
    assert (failed.trace_id, failed.span_id) == (root_of(RUN).trace_id, root_of(RUN).span_id)
    assert failed.attributes == {
        "dormouse.run.id": RUN,
        "gen_ai.conversation.id": RUN[4:36],
        "error.type": "timeout",
    }
    assert (crashed.text, crashed.severity, crashed.trace_id.strip("0")) == ("nobody's", "ERROR", "")
    assert crashed.attributes["exception.type"] == "ValueError"
    assert "Traceback" in crashed.attributes["exception.stacktrace"]
    assert "secret" not in crashed.attributes["exception.stacktrace"]


@pytest.mark.own_command
def test_the_variables_of_opentelemetry_are_honoured() -> None:
    with Receiver() as receiver:
        spans, _ = exported(receiver, OTEL_SERVICE_NAME="mine", OTEL_TRACES_SAMPLER="always_off")
        assert spans == []
        spans, _ = exported(receiver, OTEL_SERVICE_NAME="mine")
    assert {span.resource["service.name"] for span in spans} == {"mine"}


async def test_a_span_says_all_that_its_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "IMPORT_AFTER_SECONDS", 0.0)
    with Receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        sink = Exporting(name="site", insights=None, otlp=True)
        sink(
            a_span(
                "retrieve response",
                kind=Kind.CLIENT,
                attributes={"dormouse.turn": 2, "gen_ai.response.finish_reasons": ("stop",)},
                events=[Event("looked", BEGUN, {"dormouse.status": "in_progress"})],
                links=[Place("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")],
                error="http_429",
            )
        )
        sink(a_span("root", place=root_of(RUN), parent=None))
        await eventually(lambda: len(receiver.spans) == 2)
    span, root = receiver.spans
    assert span.kind == 3
    assert span.attributes == {
        "dormouse.turn": 2,
        "gen_ai.response.finish_reasons": ("stop",),
        "error.type": "http_429",
    }
    assert span.events == ("looked",)
    assert span.links == (("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),)
    assert span.error == "http_429"
    assert (root.span_id, root.parent_id) == (root_of(RUN).span_id, "")


async def test_what_cannot_be_exported_costs_the_run_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "IMPORT_AFTER_SECONDS", 0.0)
    sink = Exporting(name="site", insights="this is no connection string", otlp=False)
    sink(a_span())
    await eventually(lambda: "telemetry cannot be exported" in caplog.text)
    sink(a_span())


def test_more_than_can_be_kept_before_the_import_is_let_go() -> None:
    sink = Exporting(name="site", insights=None, otlp=True)
    sink._begun = True  # it never comes
    for number in range(exporting.KEPT + 10):
        sink(a_span(str(number)))
    assert [sink._early[0].name, len(sink._early)] == ["10", exporting.KEPT]
