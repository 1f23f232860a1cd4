"""The trace of a run's whole life, as its wakes record it."""

from __future__ import annotations

import json
from dataclasses import replace

import opentelemetry.semconv._incubating.attributes.gen_ai_attributes as conventions

from shared.runs.contents import LONGEST
from shared.runs.model.phases import RunStatus
from shared.telemetry.spans import Kind, Recording, Span, root_of
from tests.parts.receiver import Receiver
from tests.unit.runs.batches import load, submit
from tests.unit.runs.conftest import NewRig, Rig
from tests.unit.runs.crashes import Driver

KNOWN = {value for name, value in vars(conventions).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
PROMPT, RESULT = "[script:s] Nobody may read this prompt", "worked on Nobody-may-read-this-result"


def traced(rig: Rig) -> tuple[Rig, list[Span]]:
    """The same process with telemetry, and what that records."""
    spans: list[Span] = []
    telemetry = Recording(spans.append, rig.clock)
    return replace(rig, app=replace(rig.app, ports=replace(rig.app.ports, telemetry=telemetry))), spans


def named(spans: list[Span], beginning: str) -> list[Span]:
    return [span for span in spans if span.name.startswith(beginning)]


async def test_a_run_with_tools_is_one_tree(rig: Rig) -> None:
    call = {"name": "work", "arguments": {"label": "Nobody-may-read-this-result"}}
    await rig.model.script("s", [{"calls": [call]}, {"text": "Nobody may read this text."}])
    traced_rig, spans = traced(rig)
    run = await traced_rig.run_to_end(PROMPT)
    assert run.status is RunStatus.COMPLETED

    (root,) = named(spans, "invoke_agent")
    assert (root.name, root.place, root.parent) == ("invoke_agent workshop", root_of(run.id), None)
    assert (root.start, root.end) == (run.request.created_at, run.updated_at)
    places = {span.place for span in spans}
    assert len(places) == len(spans)
    assert {span.parent for span in spans} - {None} <= places
    assert {span.place.trace_id for span in spans} == {run.request.session_id}
    assert all(span.end is not None and span.start <= span.end for span in spans)
    assert {span.error for span in spans} == {None}

    (submit,) = named(spans, "submit")
    (tool,) = named(spans, "execute_tool")
    first, second = named(spans, "chat")
    wakes = {span.place: span for span in named(spans, "wake")}
    assert (submit.kind, submit.parent) == (Kind.SERVER, root.place)
    assert {span.parent for span in named(spans, "create response")} <= {submit.place, *wakes}
    assert {span.parent for span in named(spans, "retrieve response")} <= wakes.keys()
    assert {span.parent for span in [first, second, *wakes.values()]} == {root.place}
    assert tool.name == "execute_tool work"
    assert tool.parent in wakes
    assert tool.attributes["gen_ai.tool.call.id"]
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert second.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert [first.attributes["dormouse.turn"], second.attributes["dormouse.turn"]] == [1, 2]
    assert first.attributes["gen_ai.response.id"] != second.attributes["gen_ai.response.id"]
    tokens = [each.attributes["gen_ai.usage.output_tokens"] for each in (first, second)]
    assert root.attributes["gen_ai.usage.output_tokens"] == sum(map(int, map(str, tokens))) > 0
    assert root.attributes["dormouse.status"] == "completed"
    assert [event.name for event in root.events][:2] == ["created", "turn_started"]
    assert "looked" in [event.name for wake in wakes.values() for event in wake.events]


async def test_names_are_those_of_the_conventions_and_nothing_that_was_written_is_in_it(rig: Rig) -> None:
    call = {"name": "work", "arguments": {"label": "Nobody-may-read-this-result"}}
    await rig.model.script("s", [{"calls": [call]}, {"text": "Nobody may read this text."}])
    traced_rig, spans = traced(rig)
    await traced_rig.run_to_end(PROMPT, title="Nobody may read this title", metadata={"k": "Nobody may read this"})
    used = {name for span in spans for name in span.attributes if name.startswith("gen_ai.")}
    assert used <= KNOWN
    assert "Nobody" not in repr(spans)


async def test_what_was_said_is_in_it_where_the_app_is_set_to_that(rigs: NewRig) -> None:
    rig = await rigs(trace_content=True, tool_output_bytes=100_000)
    call = {"name": "work", "arguments": {"label": "x" * 5_000}}
    await rig.model.script("s", [{"calls": [call]}, {"text": "The end."}])
    traced_rig, spans = traced(rig)
    await traced_rig.run_to_end(PROMPT)
    assert {name for span in spans for name in span.attributes if name.startswith("gen_ai.")} <= KNOWN
    first, second = (
        [json.loads(str(span.attributes[f"gen_ai.{way}.messages"])) for span in named(spans, name)]
        for way, name in (("input", "create response"), ("output", "chat"))
    )
    (asked, brought), (called, said) = first, second
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
    ((call_part,),) = [message["parts"] for message in called]
    assert (call_part["type"], call_part["name"], len(call_part["arguments"])) == ("tool_call", "work", LONGEST + 1)
    assert [message["role"] for message in brought] == ["tool"]
    assert said == [{"role": "assistant", "parts": [{"type": "text", "content": "The end."}]}]
    (tool,) = named(spans, "execute_tool")
    assert str(tool.attributes["gen_ai.tool.call.arguments"]).endswith("x…")
    assert str(tool.attributes["gen_ai.tool.call.result"]).startswith("worked on")


async def test_a_batch_is_a_trace_and_its_runs_are_linked_to_it(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    traced_rig, spans = traced(rig)
    batch_id = (await submit(traced_rig, *["[script:s]"] * 2)).batch.id
    host = Driver(traced_rig)
    for _ in range(60):
        await host.pass_time(30)
    assert (await load(traced_rig, batch_id)).status.terminal
    (root,) = named(spans, "batch")
    assert (root.place, root.parent) == (root_of(batch_id), None)
    assert root.attributes["dormouse.items.completed"] == 2
    wakes = {span.place for span in named(spans, "wake") if span.parent == root.place}
    submits = named(spans, "submit")
    assert len(submits) == 2
    assert {link for span in submits for link in span.links} <= wakes
    assert all(span.links for span in submits)


async def test_what_failed_says_why_in_a_word(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "stumble", "arguments": {"label": "x"}}]}, {"status": "failed"}])
    traced_rig, spans = traced(rig)
    run = await traced_rig.run_to_end()
    (root,), (tool,) = named(spans, "invoke_agent"), named(spans, "execute_tool")
    assert root.error == run.result.error_code
    assert tool.error == "tool_error"
    assert named(spans, "chat")[-1].error is not None


async def test_a_provider_that_does_not_answer_is_an_error_of_the_request(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Late.", "faults": {"retrieve": [{"status": 500}]}}])
    traced_rig, spans = traced(rig)
    await traced_rig.run_to_end()
    retrieved = named(spans, "retrieve response")
    assert [span.error for span in retrieved] == ["http_500", None]
    assert len(named(spans, "chat")) == 1
    assert "no_news" in [event.name for wake in named(spans, "wake") for event in wake.events]


async def test_a_callback_is_in_the_trace(rigs: NewRig, sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", [{"text": "Done."}])
    receiver.answers = [500]
    traced_rig, spans = traced(sending)
    run_id = await traced_rig.start(callback_url=receiver.url)
    await traced_rig.finish(run_id)
    first, second = named(spans, "send callback")
    assert [first.error, second.error] == ["http_500", None]
    assert second.attributes["http.response.status_code"] == 204
    assert first.attributes["dormouse.event"] == "completed"


async def test_a_run_that_is_cancelled_has_its_root(rig: Rig) -> None:
    from shared.runs.commands.cancel import cancel

    await rig.model.script("s", [{"stuck": True}])
    traced_rig, spans = traced(rig)
    run_id = await traced_rig.start()
    await cancel(traced_rig.app.ports, run_id)
    await traced_rig.finish(run_id)
    (root,) = named(spans, "invoke_agent")
    assert root.attributes["dormouse.status"] == "cancelled"
    assert len(named(spans, "cancel response")) == 1


async def test_the_provider_is_told_which_span_asks(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    sent: list[str | None] = []
    trace = rig.provider._trace

    def seen() -> dict[str, str]:
        headers = trace()
        sent.append(headers.get("traceparent"))
        return headers

    rig.provider._trace = seen  # type: ignore[method-assign]
    await rig.run_to_end()
    assert set(sent) == {None}
    sent.clear()
    traced_rig, spans = traced(rig)
    await traced_rig.run_to_end()
    requests = [*named(spans, "create response"), *named(spans, "retrieve response")]
    assert sorted(map(str, sent)) == sorted(span.place.traceparent for span in requests)
