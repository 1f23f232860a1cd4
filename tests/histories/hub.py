"""A task hub in memory: it runs the app's own orchestrators, gives activities to processes, and may lose everything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.drivers.activity import wake
from shared.drivers.durable import POLL, batch, life, polls, step
from shared.drivers.sweep import poll
from shared.runs.commands.adopt import adopt
from shared.runs.model.ids import is_batch_id
from tests.histories.provider import Made
from tests.histories.world import World

if TYPE_CHECKING:
    from tests.histories.process import Process


@dataclass(frozen=True, slots=True)
class _Activity:
    name: str
    given: Any


@dataclass(eq=False, slots=True)
class _Timer:
    fire_at: datetime
    is_completed: bool = False

    def cancel(self) -> None:
        """It is not waited for any more."""


@dataclass(eq=False, slots=True)
class _Event:
    name: str


@dataclass(eq=False, slots=True)
class _Any:
    tasks: list[_Timer | _Event]


@dataclass(frozen=True, slots=True)
class _All:
    activities: list[_Activity]


@dataclass(eq=False, slots=True)
class Instance:
    """An orchestration, and what ``life`` takes for its context."""

    hub: TaskHub
    instance_id: str
    given: Any = None
    signalled: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: bool = False

    def get_input(self) -> Any:
        return self.given

    @property
    def current_utc_datetime(self) -> datetime:
        return self.hub.world.now()

    def call_activity(self, name: str, given: Any) -> _Activity:
        return _Activity(name, given)

    def wait_for_external_event(self, name: str) -> _Event:
        return _Event(name)

    def create_timer(self, fire_at: datetime) -> _Timer:
        return _Timer(fire_at)

    def task_any(self, tasks: list[_Timer | _Event]) -> _Any:
        return _Any(tasks)

    def task_all(self, activities: list[_Activity]) -> _All:
        return _All(activities)

    def continue_as_new(self, given: dict[str, Any]) -> None:
        self.given, self.goes_on = given, True


Orchestrator = Callable[[Any], Generator[Any, Any, None]]


class TaskHub:
    """Orchestrations by their ids, as the Durable extension keeps them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._running: dict[str, tuple[Instance, asyncio.Task[None]]] = {}
        self._telling: set[asyncio.Task[None]] = set()

    def start(self, subject: str, wait: float) -> bool:
        """Start the orchestrator of a run or batch; False when there is one."""
        orchestrator = batch if is_batch_id(subject) else life
        return self._start(orchestrator, subject, {"wait": wait} if wait > 0 else None)

    def start_step(self, subject: str) -> bool:
        """Start a step; False when one runs."""
        return self._start(step, f"{subject}-step", None)

    def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """Start what polls these pieces."""
        self._start(polls, name, pieces)

    def signal(self, subject: str) -> None:
        """Signal an orchestrator; start it where there is none."""
        found = self._running.get(subject)
        if found is None:
            self.start(subject, 0.0)
        else:
            found[0].signalled.set()

    def lose_everything(self) -> None:
        """The hub is emptied; activities that run go on."""
        for _, task in self._running.values():
            task.cancel()
        self._running.clear()

    def _start(self, orchestrator: Orchestrator, instance_id: str, given: object) -> bool:
        if instance_id in self._running:
            return False
        instance = Instance(self, instance_id, given)
        task = asyncio.get_running_loop().create_task(self._run(orchestrator, instance))
        self._running[instance_id] = (instance, task)
        return True

    async def _run(self, orchestrator: Orchestrator, instance: Instance) -> None:
        try:
            while True:
                instance.goes_on = False
                await self._run_generation(orchestrator(instance), instance)
                if not instance.goes_on:
                    return
        except (ConnectionError, ActivityFailed):
            return  # a step whose activity failed
        finally:
            if self._running.get(instance.instance_id, (None,))[0] is instance:
                del self._running[instance.instance_id]

    async def _run_generation(self, orchestration: Generator[Any, Any, None], instance: Instance) -> None:
        try:
            awaited = next(orchestration)
            while True:
                try:
                    result = await self._awaited(awaited, instance)
                except ActivityFailed as error:
                    awaited = orchestration.throw(error)
                else:
                    awaited = orchestration.send(result)
        except StopIteration:
            return

    async def _awaited(self, awaited: Any, instance: Instance) -> Any:
        match awaited:
            case _Activity():
                return await self._run_activity(awaited)
            case _All(activities):
                ended = await asyncio.gather(*map(self._run_activity, activities), return_exceptions=True)
                for error in (each for each in ended if isinstance(each, BaseException)):
                    raise error
                return ended
            case _Timer():
                await self._until(awaited)
                return None
            case _Any(tasks=[_Event() as event, _Timer() as timer]):
                return await self._first(event, timer, instance)
        raise AssertionError(awaited)

    async def _until(self, timer: _Timer) -> None:
        await asyncio.sleep(max(0.0, (timer.fire_at - self.world.now()).total_seconds()))
        timer.is_completed = True

    async def _first(self, event: _Event, timer: _Timer, instance: Instance) -> _Event | _Timer:
        try:
            async with asyncio.timeout(max(0.0, (timer.fire_at - self.world.now()).total_seconds())):
                await instance.signalled.wait()
        except TimeoutError:
            timer.is_completed = True
            return timer
        instance.signalled.clear()
        return event

    async def _run_activity(self, activity: _Activity) -> dict[str, Any]:
        """In some process; in two, now and then, as where the first was thought to be dead."""
        world = self.world
        if world.happens("doubled"):
            loop = asyncio.get_running_loop()
            beside = loop.create_task(self._quietly(activity))
            self._telling.add(beside)
            beside.add_done_callback(self._telling.discard)
        try:
            return await world.in_some_process(lambda process: _do(process, activity))
        except ConnectionError as error:
            # The extension finds out when the lease of the dead process's partition runs out.
            await asyncio.sleep(world.random.uniform(1.0, 90.0))
            raise ActivityFailed from error
        except Exception as error:
            world.seen[f"activity raised {type(error).__name__}"] += 1
            raise ActivityFailed from error

    async def _quietly(self, activity: _Activity) -> None:
        try:
            await self.world.in_some_process(lambda process: _do(process, activity))
        except Exception as error:
            self.world.seen[f"activity raised {type(error).__name__}"] += 1

    # --- the provider's webhooks -------------------------------------------------------------------------

    def tell_of(self, made: Made) -> None:
        """Have the provider tell the app of a response's end, or of its beginning, perhaps."""
        if not made.background or not self.world.happens("webhook"):
            return
        for _ in range(self.world.random.choice([1, 1, 2])):
            task = asyncio.get_running_loop().create_task(self._tell(made))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, made: Made) -> None:
        random = self.world.random
        await asyncio.sleep(random.choice([0.0, made.turn.think, made.turn.think + 100.0]) + random.random())
        try:
            await self.world.in_some_process(lambda process: take_webhook(process, made.id))
        except Exception as error:  # the provider would send it again
            self.world.seen[f"webhook raised {type(error).__name__}"] += 1


class ActivityFailed(Exception):
    """What an orchestrator meets when the process of its activity is gone, or the activity raised."""


async def _do(process: Process, activity: _Activity) -> dict[str, Any]:
    seen = process.world.seen
    if activity.name == POLL:
        ended = await poll(process.ports, process.driver(), activity.given)
        seen["polled for a sweep"] += ended["polled"]
        return {}
    seen["wake"] += 1
    outcome = await wake(process.ports, activity.given, process.driver())
    return {"wake_in": outcome.wake_in}


async def take_webhook(process: Process, response_id: str) -> None:
    """What the route of the provider's webhooks does."""
    process.world.seen["command webhook"] += 1
    run_id = await adopt(process.ports, response_id)
    if run_id is not None:
        await process.driver().wake(run_id)
