"""What the app counts and measures, fact by fact."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import opentelemetry.semconv._incubating.metrics.gen_ai_metrics as conventions

from shared.drivers.sweep import sweep
from shared.runs.model.phases import Pending
from shared.runs.model.run import Run
from shared.telemetry import metrics
from shared.telemetry.metrics import METRICS, Metric
from shared.telemetry.spans import Measured, Recording
from tests.parts.receiver import Receiver
from tests.unit.runs.conftest import Rig


def measured(rig: Rig) -> tuple[Rig, list[Measured]]:
    """The same process with telemetry, and what that measures."""
    found: list[Measured] = []

    def take(measured: Measured) -> None:
        assert set(measured.attributes) <= set(measured.metric.attributes), measured
        found.append(measured)

    telemetry = Recording(lambda span: None, rig.clock, measures=take)
    return replace(rig, app=replace(rig.app, ports=replace(rig.app.ports, telemetry=telemetry))), found


def of(found: list[Measured], metric: Metric) -> list[Measured]:
    return [each for each in found if each.metric is metric]


def total(found: list[Measured], metric: Metric) -> float:
    return sum(each.value for each in of(found, metric))


async def test_a_run_with_tools(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "work", "arguments": {"label": "x"}}]}, {"text": "Done."}])
    traced, found = measured(rig)
    run: Run = await traced.run_to_end()
    agent = {"gen_ai.agent.name": "workshop"}
    assert [each.attributes for each in of(found, metrics.RUNS_SUBMITTED)] == [agent]
    assert [each.attributes for each in of(found, metrics.RUNS_ENDED)] == [{**agent, "dormouse.status": "completed"}]
    (seconds,) = of(found, metrics.RUN_SECONDS)
    assert seconds.value == (run.updated_at - run.request.created_at).total_seconds() > 0
    turns = of(found, metrics.TURN_SECONDS)
    assert [each.attributes["gen_ai.operation.name"] for each in turns] == ["chat", "chat"]
    tokens = Counter({"input": 0, "output": 0})
    for each in of(found, metrics.TURN_TOKENS):
        tokens[str(each.attributes["gen_ai.token.type"])] += int(each.value)
    usage = run.counters.usage
    assert tokens == {"input": usage.input_tokens, "output": usage.output_tokens}
    assert [each.attributes for each in of(found, metrics.TOOL_SECONDS)] == [{"gen_ai.tool.name": "work"}]
    assert not of(found, metrics.PROVIDER_ERRORS)
    assert not of(found, metrics.WAKE_LAG), "each wake came when it was due"


async def test_a_late_wake_has_a_lag(rig: Rig) -> None:
    await rig.model.script("s", [{"text": "Done."}])
    traced, found = measured(rig)
    run_id = await traced.start()
    rig.clock.move(12.0)
    pending = (await traced.run(run_id)).phase
    assert isinstance(pending, Pending)
    await traced.wake(run_id)
    (lag,) = of(found, metrics.WAKE_LAG)
    assert lag.value == (rig.clock() - pending.next_look).total_seconds() > 10


async def test_what_goes_wrong_is_counted_by_its_code(rig: Rig) -> None:
    faults = {"retrieve": [{"status": 500}, {"status": 429}]}
    await rig.model.script("s", [{"calls": [{"name": "stumble", "arguments": {"label": "x"}}], "faults": faults}])
    traced, found = measured(rig)
    await traced.run_to_end()
    codes = Counter(each.attributes["error.type"] for each in of(found, metrics.PROVIDER_ERRORS))
    assert codes["http_500"] == codes["http_429"] == 1
    assert [each.attributes["error.type"] for each in of(found, metrics.TOOL_SECONDS)] == ["tool_error"]
    assert total(found, metrics.RUN_LOOKS) >= 2


async def test_a_run_that_waits_for_a_person_is_counted_once(rig: Rig) -> None:
    await rig.model.script("s", [{"calls": [{"name": "send", "arguments": {"label": "x"}}]}])
    traced, found = measured(rig)
    await traced.follow(await traced.start())
    assert (total(found, metrics.WAITS_BEGUN), total(found, metrics.WAITS_ENDED)) == (1, 1)
    (ended,) = of(found, metrics.RUNS_ENDED)
    assert ended.attributes["error.type"] == "answer_timeout"


async def test_callbacks_are_counted_by_what_became_of_them(sending: Rig, receiver: Receiver) -> None:
    await sending.model.script("s", [{"text": "Done."}])
    receiver.answers = [500]
    traced, found = measured(sending)
    await traced.finish(await traced.start(callback_url=receiver.url))
    outcomes = [each.attributes["dormouse.outcome"] for each in of(found, metrics.CALLBACKS)]
    assert outcomes == ["failed", "delivered"]


async def test_a_sweep_counts_its_rows(rig: Rig) -> None:
    await rig.model.script("s", [{"stuck": True}])
    traced, found = measured(rig)
    await traced.start()
    rig.clock.move(61)
    ends = await sweep(traced.app.ports, traced.driver())
    assert {each.attributes["dormouse.outcome"]: each.value for each in of(found, metrics.SWEPT)} == ends


def test_names_are_given_once_and_have_their_prefix() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert {name.partition(".")[0] for name in names} == {"dormouse", "gen_ai"}
    declared = {value for value in vars(metrics).values() if isinstance(value, Metric)}
    assert declared == set(METRICS)
    of_models = {name for name in names if name.startswith("gen_ai")}
    assert of_models <= {value for name, value in vars(conventions).items() if name.startswith("GEN_AI_")}
