"""The durable driver: what an orchestrator makes of a wake's outcome, and the hub of the host's answers."""

from __future__ import annotations

import ast
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.drivers.durable import Hub, batch, life, polls, step

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ID = "run_0123456789abcdef0123456789abcdef_1"
BATCH = "batch_0123456789abcdef0123456789abcdef"


@dataclass
class Task:
    name: str
    is_completed: bool = False
    log: list[str] = field(default_factory=list)

    def cancel(self) -> None:
        self.log.append(f"cancel {self.name}")


@dataclass
class Context:
    """Notes in order what the orchestrator asks for."""

    instance_id: str = ID
    current_utc_datetime: datetime = NOW
    log: list[str] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    given: Any = None

    def get_input(self) -> Any:
        return self.given

    def _note(self, name: str) -> Task:
        self.log.append(name)
        return self.tasks.setdefault(name, Task(name, log=self.log))

    def call_activity(self, name: str, given: object) -> Task:
        return self._note(f"{name}({given})")

    def wait_for_external_event(self, name: str) -> Task:
        return self._note(f"event {name}")

    def create_timer(self, at: datetime) -> Task:
        return self._note(f"timer {(at - NOW).total_seconds():g}")

    def task_any(self, tasks: list[Task]) -> list[Task]:
        self.log.append("any")
        return tasks

    def task_all(self, tasks: list[Task]) -> list[Task]:
        self.log.append("all")
        return tasks

    def continue_as_new(self, given: object) -> None:
        self.log.append(f"anew {given}")


def begin(context: Context, outcome: dict[str, Any] | Exception) -> Generator[Any, Any, None]:
    """The orchestrator after its activity has answered; ends up at its ``task_any``, or is over."""
    running = life(context)
    next(running)
    if isinstance(outcome, Exception):
        running.throw(outcome)
    else:
        running.send(outcome)
    return running


def end(running: Generator[Any, Any, None], value: object = None) -> None:
    with pytest.raises(StopIteration):
        running.send(value)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        ({"wake_in": 5.0}, "5"),
        ({"wake_in": 0.0}, "0"),
        ({"wake_in": 0.1}, "0.1"),
        ({"wake_in": 4.01}, "5"),
        ({"wake_in": 604_800.0}, "86400"),
    ],
)
def test_it_sleeps_as_long_as_the_row_says_and_begins_anew(outcome: dict[str, Any], seconds: str) -> None:
    context = Context()
    running = begin(context, outcome)
    end(running, context.tasks[f"timer {seconds}"])
    assert context.log == [f"advance({ID})", "event wake", f"timer {seconds}", "any", "anew {'failures': 0}"]


def test_after_failed_activities_it_looks_again_ever_later() -> None:
    given: dict[str, float] | None = None
    waits = []
    for _ in range(6):
        context = Context(given=given)
        running = begin(context, RuntimeError("the worker died"))
        end(running, next(task for name, task in context.tasks.items() if name.startswith("timer")))
        waits.append(context.log[2])
        given = ast.literal_eval(context.log[-1].removeprefix("anew "))
    assert waits == [f"timer {seconds}" for seconds in (5, 10, 20, 40, 60, 60)]
    context = Context(given=given)
    end(begin(context, {"wake_in": 3.0}), context.tasks["timer 3"])
    assert context.log[-1] == "anew {'failures': 0}"


def test_it_begins_with_the_wait_that_is_known_and_then_wakes() -> None:
    context = Context(given={"wait": 1.9})
    running = life(context)
    next(running)
    end(running, context.tasks["timer 2"])
    assert context.log == ["event wake", "timer 2", "any", "anew {'failures': 0}"]


def test_a_signal_ends_the_first_wait_too() -> None:
    context = Context(given={"wait": 2.0})
    running = life(context)
    next(running)
    assert running.send(context.tasks["event wake"]) is context.tasks["timer 0"]
    end(running)
    assert context.log[2:] == ["any", "cancel timer 2", "timer 0", "anew {'failures': 0}"]


def test_it_ends_only_when_there_is_nothing_left_to_wake_for() -> None:
    context = Context()
    with pytest.raises(StopIteration):
        begin(context, {"wake_in": None, "status": "completed"})
    assert context.log == [f"advance({ID})"]


@pytest.mark.parametrize(("fired", "cancels"), [(False, ["cancel timer 60"]), (True, [])])
def test_a_signal_cancels_the_timer_and_waits_a_moment_before_it_begins_anew(fired: bool, cancels: list[str]) -> None:
    context = Context()
    running = begin(context, {"wake_in": 60.0})
    context.tasks["timer 60"].is_completed = fired
    assert running.send(context.tasks["event wake"]) is context.tasks["timer 0"]
    end(running)
    assert context.log[3:] == ["any", *cancels, "timer 0", "anew {'failures': 0}"]


def test_a_step_is_one_wake_of_the_run_that_its_id_names() -> None:
    context = Context(instance_id=f"{ID}-step")
    running = step(context)
    next(running)
    end(running, {"wake_in": 5.0})
    assert context.log == [f"advance({ID})"]


def test_a_batch_lives_like_a_run_by_wakes_of_its_own() -> None:
    context = Context(instance_id=BATCH)
    running = batch(context)
    next(running)
    running.send({"wake_in": 5.0})
    end(running, context.tasks["timer 5"])
    assert context.log == [f"advance_batch({BATCH})", "event wake", "timer 5", "any", "anew {'failures': 0}"]


def test_a_step_of_a_batch_is_one_wake_of_it() -> None:
    context = Context(instance_id=f"{BATCH}-step")
    running = step(context)
    next(running)
    end(running, {"wake_in": 5.0})
    assert context.log == [f"advance_batch({BATCH})"]


def test_each_piece_of_what_is_handed_out_is_an_activity_and_all_run_side_by_side() -> None:
    context = Context(instance_id="polls-1", given=[{"first": "a"}, {"first": "b"}])
    running = polls(context)
    assert next(running) == [*context.tasks.values()]
    end(running, [{}, {}])
    assert context.log == ["poll({'first': 'a'})", "poll({'first': 'b'})", "all"]


class Client:
    """Notes what is asked of the host; what is refused raises."""

    def __init__(self, **refusals: str) -> None:
        self.refusals = refusals
        self.log: list[str] = []

    async def start_new(self, name: str, instance_id: str, given: object = None) -> str:
        self.log.append(f"{name} {instance_id}" if given is None else f"{name} {instance_id} {given}")
        return self._answer("start_new")

    async def raise_event(self, instance_id: str, name: str) -> str:
        self.log.append(f"{name} -> {instance_id}")
        return self._answer("raise_event")

    def _answer(self, call: str) -> str:
        if call in self.refusals:
            raise Exception(self.refusals[call])
        return ""


THERE = "An Orchestration instance with the status Running already exists."
LOST = "No instance with ID found."


@pytest.mark.parametrize(
    ("call", "refusals", "asked"),
    [
        ("start_if_absent", {}, [f"life {ID}"]),
        ("start_if_absent", {"start_new": THERE}, [f"life {ID}"]),
        ("start_step", {}, [f"step {ID}-step"]),
        ("start_step", {"start_new": THERE}, [f"step {ID}-step"]),
        ("wake", {}, [f"wake -> {ID}"]),
        ("wake", {"raise_event": LOST}, [f"wake -> {ID}", f"life {ID}"]),
        ("wake", {"raise_event": LOST, "start_new": THERE}, [f"wake -> {ID}", f"life {ID}"]),
    ],
)
async def test_what_the_hub_asks_of_the_host(call: str, refusals: dict[str, str], asked: list[str]) -> None:
    client = Client(**refusals)
    await getattr(Hub(client), call)(ID)
    assert client.log == asked


async def test_the_hub_knows_a_batch_by_its_id() -> None:
    client = Client(raise_event=LOST)
    hub = Hub(client)
    await hub.start_if_absent(BATCH)
    await hub.start_step(BATCH)
    await hub.wake(BATCH)
    assert client.log == [f"batch {BATCH}", f"step {BATCH}-step", f"wake -> {BATCH}", f"batch {BATCH}"]


async def test_the_hub_starts_an_orchestrator_with_the_wait_that_is_known() -> None:
    client = Client()
    await Hub(client).start_if_absent(ID, wait=2.0)
    assert client.log == [f"life {ID} {{'wait': 2.0}}"]


async def test_the_hub_starts_what_polls_pieces_under_its_name() -> None:
    client = Client()
    await Hub(client).start_polls("polls-1", [{"first": "a"}])
    assert client.log == ["polls polls-1 [{'first': 'a'}]"]


@pytest.mark.parametrize("call", ["start_if_absent", "start_step", "wake"])
async def test_a_host_that_is_out_of_order_is_no_secret(call: str) -> None:
    client = Client(start_new="The operation failed: 503", raise_event="The operation failed: 503")
    with pytest.raises(Exception, match="503"):
        await getattr(Hub(client), call)(ID)


def test_durations_are_those_of_the_clock_that_replays() -> None:
    context = Context(current_utc_datetime=NOW + timedelta(hours=1))
    begin(context, {"wake_in": 5.0})
    assert context.log[2] == "timer 3605"
