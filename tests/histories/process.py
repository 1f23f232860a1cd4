"""One process of the app: its own ports over the shared store and provider. It may end, or stand still, anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from local.model.records import LoggedRequest
from shared import wiring
from shared.agentkit import faults
from shared.agentkit.agent import Agent, AgentResponse, Item, RunOptions
from shared.agentkit.tools import Tool, ToolContext, tool
from shared.drivers.driver import Driver
from shared.drivers.durable import Hub
from shared.runs.model.callbacks import NoShare, Sent, Share
from shared.runs.ports import Ports
from shared.runs.store.due import ANNOUNCE_AGAIN
from shared.runs.store.tables import StoreUnavailable
from tests.histories.provider import Made, ModelAgent, response_of
from tests.histories.store import ProcessTables
from tests.histories.world import LATENCY, Killed, Received, World
from tests.parts.invariants import ToolStart

if TYPE_CHECKING:
    from tests.histories.hub import TaskHub

T = TypeVar("T")

_current: ContextVar[Process] = ContextVar("_current")
"""Whose code runs: the tools are the same in all processes."""

MENDED_AFTER = 500.0
"""Seconds until a process that stood still over a write has announced again what it wrote: it may do so twice."""

CHECKED = 0.03
"""Share of the writes after which what must always hold is looked at."""


class Process:
    """A process from its start to its end. ``lacks_agent``: it is of a build that does not know the agents."""

    def __init__(self, world: World, *, lacks_agent: bool = False) -> None:
        self.world = world
        self.alive = True
        self.ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._frozen_until = 0.0
        agents = {} if lacks_agent else _agents_of(self)
        tables = ProcessTables(self, world.backend)
        ports = wiring.build(world.settings, agents, cast(Any, tables), world.now).ports
        # No thread is ever started: tools of a history are coroutines.
        self.ports: Ports = replace(
            ports, random=world.random.random, sender=_Sender(self), can_create=self._is_not_its_first_submit
        )
        self._is_new = True

    def driver(self) -> Driver:
        """What a call of this process starts and wakes runs with."""
        return Driver(self.ports, cast(Hub, HubClient(self, self.world.hub)))

    async def carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns or raises; ``ConnectionError`` when the process ends meanwhile."""
        context = copy_context()
        context.run(_current.set, self)
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([task])
        if task.cancelled() or not self.alive:
            if not task.cancelled():
                task.exception()
            raise ConnectionError("the process is gone")
        error = task.exception()
        if isinstance(error, Killed):
            raise ConnectionError("the process is gone")
        return task.result()

    def _is_not_its_first_submit(self) -> bool:
        was_new, self._is_new = self._is_new, False
        return not was_new

    def cut(self) -> None:
        """End it, in the middle of whatever it does."""
        if self.alive:
            self.alive = False
            self.ended.set()
            self.world.seen["process cut"] += 1
            for task in [*self._tasks]:
                task.cancel()

    # --- one operation: something outside of the process, which may go wrong -----------------------------

    async def _before(self) -> None:
        world = self.world
        if self.alive and world.happens("cut"):
            self.cut()
        if not self.alive:
            raise Killed
        if world.happens("freeze"):
            self._frozen_until = world.seconds() + world.random.uniform(1.0, 200.0)
        most = 12.0 if world.happens("slow") else LATENCY
        await asyncio.sleep(max(world.random.random() * most, self._frozen_until - world.seconds()))
        if not self.alive:
            raise Killed

    async def _after(self) -> None:
        world = self.world
        if self.alive and world.happens("cut"):
            self.cut()
        # Its latency came before it: between the two, nobody else sees a difference.
        slow = world.random.random() * 12.0 if world.happens("slow") else 0.0
        if (gap := max(slow, self._frozen_until - world.seconds())) > 0.0:
            await asyncio.sleep(gap)
        if not self.alive:
            raise Killed

    async def store_operation(self, do: Callable[[], T], *, writes: bool) -> T:
        """One operation of the store."""
        world = self.world
        began = world.seconds()
        await self._before()
        if world.happens("outage_before"):
            raise StoreUnavailable("out of reach")
        result = do()
        if writes and world.seconds() - began > ANNOUNCE_AGAIN.total_seconds():
            world.stood_still_until = world.seconds() + MENDED_AFTER
        if writes and world.random.random() < CHECKED:
            world.at_writes()
        await self._after()
        if world.happens("outage_after"):
            raise StoreUnavailable("the answer is lost")
        return result

    def may_raise(self, where: str) -> None:
        """What nobody expects."""
        if self.world.happens("raises"):
            self.world.happened[f"raised {where}"] += 1
            raise KeyError(where)

    # --- the provider ------------------------------------------------------------------------------------

    async def create(self, messages: Sequence[Item], previous: str | None, options: RunOptions) -> AgentResponse:
        """One create. Raises its faults."""
        world, said = self.world, dict(options.metadata)
        await self._before()
        if world.happens("not_accepted"):
            raise faults.NotAccepted("too many", code="http_429", retry_after=world.random.choice([None, 5.0]))
        if world.happens("denied"):
            world.blame("denied", said["run"])
            raise faults.AccessDenied("no role", code="http_403")
        if previous is not None and world.happens("previous_missing"):
            raise faults.PreviousResponseMissing("gone", code="previous_response_not_found")
        if previous is not None and int(said["turn"]) > 1 and world.happens("outputs_refused"):
            raise faults.ToolOutputsRefused("No tool call found", code="refused")
        logged = LoggedRequest(time=world.seconds(), method="POST", path="/", operation="create", metadata=said)
        world.model.requests.append(logged)
        if world.happens("lost_request"):
            world.blame("unknown", said["run"])
            raise faults.PerhapsAccepted("cut off", code="http_500")
        made = world.model.create(messages, previous, options, world.seconds())
        logged.accepted, logged.response_id = True, made.id
        return await self._answered(made, said["run"])

    async def _answered(self, made: Made, run_id: str) -> AgentResponse:
        world = self.world
        world.hub.tell_of(made)
        if not made.background:
            await asyncio.sleep(made.turn.think)
        if world.happens("late_answer"):
            world.blame("unknown", run_id)
            await asyncio.sleep(world.random.uniform(20.0, 50.0))
        await self._after()
        if world.happens("lost_answer"):
            world.blame("unknown", run_id)
            raise faults.PerhapsAccepted("the answer is lost", code="http_502")
        return response_of(made, world.seconds())

    async def look(self, response_id: str) -> AgentResponse:
        """How a response stands. Raises the faults of a question."""
        self.may_raise("look")
        made = await self._found(response_id)
        if self.world.happens("missing"):
            self.world.blame("missing", made.metadata["run"])
            raise faults.ResponseMissing("not found", code="http_404")
        await self._after()
        return response_of(made, self.world.seconds())

    async def cancel_response(self, response_id: str) -> AgentResponse:
        """Cancel a response; one that has ended stays as it is."""
        made = await self._found(response_id)
        if made.cancelled_at is None:
            made.cancelled_at = self.world.seconds()
        await self._after()
        return response_of(made, self.world.seconds())

    async def delete_response(self, response_id: str) -> None:
        """Delete the copy of a response; one that is gone is fine."""
        try:
            made = await self._found(response_id)
        except faults.ResponseMissing:
            return
        made.deleted = True
        await self._after()

    async def _found(self, response_id: str) -> Made:
        await self._before()
        if self.world.happens("no_news"):
            raise faults.NoNews("no answer", code="http_500")
        made = self.world.model.made.get(response_id)
        if made is None or made.deleted:
            raise faults.ResponseMissing("not found", code="http_404")
        return made

    # --- callbacks ---------------------------------------------------------------------------------------

    async def deliver(self, webhook_id: str, body: str) -> Sent:
        """One attempt at a callback."""
        world = self.world
        await self._before()
        self.may_raise("callback")
        world.received.append(Received(webhook_id, body.encode(), json.loads(body)))
        await self._after()
        if world.happens("gone"):
            return Sent(status=410)
        return Sent(status=503) if world.happens("receiver") else Sent(status=204)


class HubClient:
    """The task hub as this process reaches it: messages may be lost, and starts refused. It is a ``Hub``."""

    def __init__(self, process: Process, hub: TaskHub) -> None:
        self._process, self._hub = process, hub

    async def _reached(self) -> None:
        await self._process._before()
        if self._process.world.happens("hub_refuses"):
            raise RuntimeError("the host is busy")

    async def start_if_absent(self, run_id: str, *, wait: float = 0.0) -> bool:
        """As ``Hub`` does."""
        await self._reached()
        return self._hub.start(run_id, wait)

    async def wake(self, run_id: str) -> None:
        """As ``Hub`` does."""
        await self._reached()
        if not self._process.world.happens("lost_wake"):
            self._hub.signal(run_id)

    async def start_step(self, run_id: str) -> bool:
        """As ``Hub`` does."""
        await self._reached()
        return self._hub.start_step(run_id)

    async def start_polls(self, name: str, pieces: Sequence[Mapping[str, str]]) -> None:
        """As ``Hub`` does."""
        await self._reached()
        self._hub.start_polls(name, pieces)

    async def purge_before(self, _moment: object) -> int:
        """Histories are nothing that is kept here."""
        return 0


@dataclass(frozen=True, slots=True)
class _Share:
    def release(self) -> None:
        """Nothing was taken."""


@dataclass(frozen=True, slots=True)
class _Sender:
    process: Process

    def problem(self, url: str) -> str | None:
        return None

    def reserve(self, url: str, owner: str) -> Share | NoShare:
        return NoShare(2.0) if self.process.world.random.random() < 0.02 else _Share()

    async def send(self, url: str, webhook_id: str, body: str, share: Share) -> Sent:
        return await self.process.deliver(webhook_id, body)


def _agents_of(process: Process) -> dict[str, Agent]:
    return {
        "talker": cast(Agent, ModelAgent(process, "talker", TOOLS)),
        "caller": cast(Agent, ModelAgent(process, "caller", TOOLS, background=False)),
    }


async def _started(context: ToolContext, seconds: float) -> str:
    process = _current.get()
    world = process.world
    if not process.alive:
        raise Killed
    world.starts.append(ToolStart(key=context.idempotency_key, start=context.start, at=world.now()))
    world.seen["tool start"] += 1
    await asyncio.sleep(seconds)
    return f"worked {seconds}"


@tool
async def work(context: ToolContext, seconds: float) -> str:
    """Work."""
    return await _started(context, seconds)


@tool(at_most_once=True)
async def pay(context: ToolContext, seconds: float) -> str:
    """Pay."""
    return await _started(context, seconds)


@tool(requires_approval=True)
async def send(context: ToolContext, seconds: float) -> str:
    """Send."""
    return await _started(context, seconds)


TOOLS: Mapping[str, Tool] = {each.name: each for each in (work, pay, send)}
