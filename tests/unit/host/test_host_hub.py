"""Orchestrations on a running host: nothing is lost, and the upstream defects are there to be written around."""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import aiohttp
import azure.durable_functions as df
import azure.functions as func
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from local.host import Host, MovableClock, server
from local.host.durable.hub import ConflictError, InvalidIdError
from tests.parts.waiting import eventually

HOUR = timedelta(hours=1)


class Signals:
    """Pattern A: the inbox is written first, the event is only a signal, the activity drains the inbox."""

    def __init__(self) -> None:
        self.inbox: Counter[str] = Counter()
        self.handled: Counter[str] = Counter()
        self.wakes: Counter[str] = Counter()
        self.failing = 0.0
        self.app = df.DFApp()
        self.app.activity_trigger(input_name="run")(self.advance_function())
        self.app.orchestration_trigger(context_name="context")(life)

    def advance_function(self) -> Any:
        async def advance(run: str) -> dict[str, Any]:
            self.wakes[run] += 1
            taken = self.inbox.pop(run, 0)
            self.handled[run] += taken
            await asyncio.sleep(random.random() * 0.01)  # a signal may come while the inbox has been read already
            if random.random() < self.failing:
                raise RuntimeError("by chance")
            return {"wake_in": 3600}

        return advance

    async def send(self, host: Host, run: str) -> None:
        await asyncio.sleep(random.random() * 0.5)
        self.inbox[run] += 1
        instance = host.hub.get(run)
        assert instance is not None
        host.hub.raise_event(instance, "wake", '"null"')


def life(context: Any) -> Any:
    try:
        out = yield context.call_activity("advance", context.instance_id)
    except Exception:
        out = {"wake_in": 3600}
    wake = context.wait_for_external_event("wake")
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=out["wake_in"]))
    if (yield context.task_any([wake, timer])) == wake:
        if not timer.is_completed:
            timer.cancel()
        yield context.create_timer(context.current_utc_datetime)
    context.continue_as_new(None)


@pytest.mark.parametrize("failing", [0.0, 0.3])
@pytest.mark.slow
async def test_hundreds_of_racing_signals_are_all_handled(failing: float) -> None:
    random.seed(7)
    signals = Signals()
    signals.failing = failing
    runs = [f"run{number}" for number in range(25)]
    async with Host(signals.app, port=0) as host:
        for run in runs:
            host.hub.start("life", run, None)
        await asyncio.gather(*[signals.send(host, run) for run in runs for _ in range(12)])

        await eventually(lambda: signals.handled.total() == 300)

        assert not signals.inbox
        assert {host.hub.get(run).status for run in runs} == {"Running"}  # type: ignore[union-attr]


@pytest.mark.slow
async def test_hundreds_of_instances_wake_by_their_timers() -> None:
    signals = Signals()
    clock = MovableClock()
    async with Host(signals.app, port=0, clock=clock) as host:
        for number in range(200):
            host.hub.start("life", f"run{number}", None)
        for round_ in range(1, 3):
            await eventually(lambda n=round_: len(signals.wakes) == 200 and min(signals.wakes.values()) == n)
            await eventually(lambda: not any(one.busy for one in host.hub.query()) and not host.hub._activities)
            clock.advance(3601)
        await eventually(lambda: min(signals.wakes.values()) == 3)

        assert set(signals.wakes.values()) == {3}


@pytest.mark.slow
async def test_signals_sent_through_http_and_the_durable_client_are_all_handled() -> None:
    signals = Signals()

    @signals.app.route(route="send/{run}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
    @signals.app.durable_client_input(client_name="client")
    async def send(req: Request, client: df.DurableOrchestrationClient) -> JSONResponse:
        run = req.path_params["run"]
        signals.inbox[run] += 1
        with contextlib.suppress(Exception):  # it runs already: "ensure"
            await client.start_new("life", run)
        await client.raise_event(run, "wake")
        return JSONResponse({"sent": run}, status_code=202)

    async with Host(signals.app, port=0) as host, aiohttp.ClientSession(host.url) as session:

        async def post(run: str) -> int:
            async with session.post(f"/api/send/{run}") as response:
                return response.status

        statuses = await asyncio.gather(*[post(f"run{n % 20}") for n in range(200)])
        assert set(statuses) == {202}
        await eventually(lambda: signals.handled.total() == 200)

        assert len(host.hub.query()) == 20
        assert not signals.inbox


async def test_an_activity_that_is_cancelled_from_within_fails_instead_of_hanging() -> None:
    async def cancelled(given: Any) -> None:
        raise asyncio.CancelledError

    def caller(context: Any) -> Any:
        yield context.call_activity("cancelled")

    async with Host(orchestrator(caller, cancelled), port=0) as host:
        instance = host.hub.start("caller", "c", None)
        await eventually(lambda: instance.status == "Failed")


def orchestrator(function: Any, *activities: Any) -> df.DFApp:
    app = df.DFApp()
    app.orchestration_trigger(context_name="context")(function)
    for activity in activities:
        app.activity_trigger(input_name="given")(activity)
    return app


@pytest.mark.parametrize("safe", [False, True])
async def test_an_event_is_handed_over_again_unless_something_is_yielded_after_the_cancel(safe: bool) -> None:
    """durable-extension #2606, as the real host has it: a loop that waits first spins on one event."""
    wakes: list[int] = []

    def spins(context: Any) -> Any:
        wake = context.wait_for_external_event("wake")
        timer = context.create_timer(context.current_utc_datetime + HOUR)
        if (yield context.task_any([wake, timer])) == wake:
            if not context.is_replaying:
                wakes.append(1)
            timer.cancel()
            if safe:
                yield context.create_timer(context.current_utc_datetime)
        context.continue_as_new(None)

    async with Host(orchestrator(spins), port=0) as host:
        instance = host.hub.start("spins", "s", None)
        await eventually(lambda: instance.status == "Running")
        first = instance.execution_id
        host.hub.raise_event(instance, "wake", '"null"')
        await eventually(lambda: instance.execution_id != first and not instance.busy if safe else len(wakes) > 20)

        assert len(wakes) == 1 or not safe
        host.hub.terminate(instance, "enough")
        await eventually(lambda: instance.status == "Terminated")


async def test_a_timer_that_fires_while_the_next_generation_begins_is_none_of_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The losing timer has the number 0, as the next generation's activity has."""

    def waits_first(context: Any) -> Any:
        if context.get_input() == "again":
            return (yield context.call_activity("answer", None))
        timer = context.create_timer(context.current_utc_datetime + HOUR)
        yield context.task_any([context.wait_for_external_event("wake"), timer])
        timer.cancel()
        yield context.create_timer(context.current_utc_datetime)
        context.continue_as_new("again")
        return None

    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(given: Any) -> int:
        asked.set()
        await go_on.wait()
        return 42

    clock = MovableClock()
    async with Host(orchestrator(waits_first, answer), port=0, clock=clock) as host:
        ask = host.hub.caller.orchestrator

        async def ask_while_the_timer_fires(name: str, context: str) -> Any:
            state = await ask(name, context)
            if any(action["actionType"] == 4 for action in state["actions"][0]):  # continue_as_new
                clock.advance(3601)
                await eventually(lambda: instance.inbox)
            return state

        monkeypatch.setattr(host.hub.caller, "orchestrator", ask_while_the_timer_fires)
        instance = host.hub.start("waits_first", "w", None)
        await eventually(lambda: instance.status == "Running")
        host.hub.raise_event(instance, "wake", '"null"')
        await eventually(lambda: asked.is_set() and not instance.busy)
        go_on.set()
        await eventually(lambda: instance.status == "Completed")
        assert instance.output == 42


async def test_an_open_timer_blocks_the_end_until_it_fires() -> None:
    def blocked(context: Any) -> Any:
        wake = context.wait_for_external_event("wake")
        yield context.task_any([wake, context.create_timer(context.current_utc_datetime + HOUR)])
        return "over"

    clock = MovableClock()
    async with Host(orchestrator(blocked), port=0, clock=clock) as host:
        instance = host.hub.start("blocked", "b", None)
        host.hub.raise_event(instance, "wake", '"null"')
        await eventually(lambda: len(instance.history) > 4 and not instance.busy)
        assert instance.status == "Running"

        clock.advance(3601)
        await eventually(lambda: instance.status == "Completed")
        assert instance.output == "over"


async def test_an_early_event_completes_every_later_wait_of_the_sdk_but_not_of_the_host() -> None:
    """durable-python #507: the instance is stuck although its function has returned."""
    returned: list[str] = []

    def waits(context: Any) -> Any:
        yield context.call_activity("slow")
        yield context.wait_for_external_event("go")
        yield context.wait_for_external_event("go")
        returned.append("over")
        return "over"

    gate = asyncio.Event()

    async def slow(given: Any) -> None:
        await gate.wait()

    async with Host(orchestrator(waits, slow), port=0) as host:
        instance = host.hub.start("waits", "w", None)
        host.hub.raise_event(instance, "go", '"1"')
        await eventually(lambda: len(instance.history) > 3 and not instance.busy)
        gate.set()
        await eventually(lambda: returned and not instance.busy)
        assert instance.status == "Running"

        host.hub.raise_event(instance, "go", '"2"')
        await eventually(lambda: instance.status == "Completed")


def waiting(context: Any) -> Any:
    got = yield context.wait_for_external_event("go")
    return got


async def test_a_running_id_is_not_started_again_and_a_finished_one_is() -> None:
    async with Host(orchestrator(waiting), port=0) as host:
        first = host.hub.start("waiting", "one", None)
        with pytest.raises(ConflictError, match="already exists"):
            host.hub.start("waiting", "one", None)
        host.hub.raise_event(first, "go", '"1"')
        await eventually(lambda: first.status == "Completed")

        second = host.hub.start("waiting", "one", None)
        assert second is not first
        assert second.generation == 1


async def test_any_state_lets_a_running_id_be_replaced() -> None:
    settings = {"extensions": {"durableTask": {"overridableExistingInstanceStates": "AnyState"}}}
    async with Host(orchestrator(waiting), port=0, host_json=settings) as host:
        first = host.hub.start("waiting", "one", None)
        second = host.hub.start("waiting", "one", None)
        host.hub.raise_event(first, "go", '"old"')
        host.hub.raise_event(second, "go", '"new"')
        await eventually(lambda: second.status == "Completed")

        assert second.output == "new"
        assert not first.finished


@pytest.mark.parametrize("bad", ["a/b", "a\\b", "a#b", "a?b", "@a", "a\nb", "x" * 257])
async def test_an_id_that_storage_would_refuse_is_refused(bad: str) -> None:
    async with Host(orchestrator(waiting), port=0) as host:
        with pytest.raises(InvalidIdError):
            host.hub.start("waiting", bad, None)


async def test_a_suspended_instance_handles_its_events_when_it_is_resumed() -> None:
    async with Host(orchestrator(waiting), port=0) as host:
        instance = host.hub.start("waiting", "s", None)
        host.hub.suspend(instance, "stop")
        await eventually(lambda: instance.status == "Suspended")
        host.hub.raise_event(instance, "go", '"1"')
        await eventually(lambda: not instance.busy)
        assert instance.status == "Suspended"

        host.hub.resume(instance, "on")
        await eventually(lambda: instance.status == "Completed")


async def test_a_failed_child_is_an_exception_in_its_parent() -> None:
    def bad(context: Any) -> Any:
        yield context.create_timer(context.current_utc_datetime)
        raise ValueError("no good")

    def parent(context: Any) -> Any:
        try:
            yield context.call_sub_orchestrator("bad", 1, "the-child")
        except Exception as error:
            return str(error)

    app = orchestrator(parent)
    app.orchestration_trigger(context_name="context")(bad)
    async with Host(app, port=0) as host:
        instance = host.hub.start("parent", "p", None)
        await eventually(lambda: instance.finished)

        assert str(instance.output).startswith("Orchestrator function 'bad' failed: no good")
        assert host.hub.get("the-child").status == "Failed"  # type: ignore[union-attr]


async def test_as_many_activities_run_at_a_time_as_host_json_allows() -> None:
    running, most = 0, 0

    async def work(given: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    def fan(context: Any) -> Any:
        yield context.task_all([context.call_activity("work", n) for n in range(12)])

    settings = {"extensions": {"durableTask": {"maxConcurrentActivityFunctions": 3}}}
    async with Host(orchestrator(fan, work), port=0, host_json=settings) as host:
        instance = host.hub.start("fan", "f", None)
        await eventually(lambda: instance.status == "Completed")

    assert most == 3


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_activity_past_function_timeout_fails(kind: str) -> None:
    release = threading.Event()

    async def hangs(given: Any) -> None:
        await asyncio.sleep(60)

    def blocks(given: Any) -> None:
        release.wait(60)

    def caller(context: Any) -> Any:
        try:
            yield context.call_activity("hangs" if kind == "async" else "blocks")
        except Exception as error:
            return str(error)

    try:
        async with Host(
            orchestrator(caller, hangs, blocks), port=0, host_json={"functionTimeout": "00:00:00.1"}
        ) as host:
            instance = host.hub.start("caller", "c", None)
            await eventually(lambda: instance.finished)
    finally:
        release.set()

    assert "Timeout value of 0.1 s was exceeded by function: Functions." in str(instance.output)


async def test_blocking_activities_run_beside_the_loop() -> None:
    names: set[str] = set()

    def blocks(given: Any) -> str:
        names.add(threading.current_thread().name)
        return "done"

    def caller(context: Any) -> Any:
        got = yield context.call_activity("blocks")
        return got

    async with Host(orchestrator(caller, blocks), port=0) as host:
        instance = host.hub.start("caller", "c", None)
        await eventually(lambda: instance.output == "done")

    assert all(name.startswith("function") for name in names)


async def test_a_custom_status_over_16_kb_fails_the_instance() -> None:
    def big(context: Any) -> Any:
        context.set_custom_status("x" * 9000)
        yield context.create_timer(context.current_utc_datetime)

    async with Host(orchestrator(big), port=0) as host:
        instance = host.hub.start("big", "b", None)
        await eventually(lambda: instance.status == "Failed")

    assert "must not exceed 16 KB" in str(instance.output)


async def test_an_idle_host_stops_without_waiting_for_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GRACE", 600)
    async with asyncio.timeout(60), Host(orchestrator(waiting), port=0, grace=600) as host:
        host.hub.start("waiting", "w", None)


async def test_running_activities_are_given_time_at_the_end() -> None:
    finished: list[int] = []
    began = asyncio.Event()

    async def work(given: Any) -> None:
        began.set()
        await asyncio.sleep(0.2)
        finished.append(1)

    def caller(context: Any) -> Any:
        yield context.call_activity("work")

    async with Host(orchestrator(caller, work), port=0) as host:
        host.hub.start("caller", "c", None)
        await began.wait()

    assert finished == [1]


async def test_timer_functions_never_overlap_themselves_and_a_late_one_runs_once() -> None:
    app = func.FunctionApp()
    running, most, runs = 0, 0, 0
    clock = MovableClock()

    @app.timer_trigger(arg_name="timer", schedule="*/10 * * * * *")
    async def tick(timer: func.TimerRequest) -> None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        clock.advance(25)  # the body takes longer than the schedule
        await asyncio.sleep(0.01)
        running -= 1

    async with Host(app, port=0, clock=clock):
        assert runs == 0
        clock.advance(10)
        await eventually(lambda: runs >= 5)  # back to back from here on

    assert most == 1


async def test_a_jump_of_an_hour_fires_a_timer_once() -> None:
    app = func.FunctionApp()
    seen: list[bool] = []
    clock = MovableClock()

    @app.timer_trigger(arg_name="timer", schedule="00:10:00", run_on_startup=True)
    async def tick(timer: func.TimerRequest) -> None:
        seen.append(timer.past_due)

    async with Host(app, port=0, clock=clock) as host:
        await eventually(lambda: seen == [False])
        clock.advance(3600)
        await eventually(lambda: len(seen) == 2)
        await host._timers.fire(host.index.functions[0])
        clock.advance(599)
        await asyncio.sleep(0)

        assert len(seen) == 3
