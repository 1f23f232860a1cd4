"""The task hub: all orchestration instances, in memory, and their execution."""

import asyncio
import json
import logging
import re
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from local.host.clock import Clock
from local.host.durable.caller import Caller, FunctionFailedError
from local.host.durable.events import (
    Event,
    Kind,
    Parent,
    child_completed,
    child_failed,
    compact_json,
    event,
    event_raised,
    execution_started,
    failure_details,
    format_time,
    task_completed,
    task_failed,
)
from local.host.durable.instance import Instance
from local.host.durable.replay import Decision, End, FunctionNames, RefusedError, check, replay
from local.host.durable.timer_queue import TimerQueue

_log = logging.getLogger("local.host.durable")
_BAD_ID = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_CUSTOM_STATUS_BYTES = 16 * 1024


class ConflictError(Exception):
    """The instance already exists and still runs."""


class InvalidIdError(Exception):
    """An instance id that storage would not take."""


class StillRunningError(Exception):
    """Only finished instances are purged."""


class Hub:
    """Starts, executes and keeps instances. Everything but `close` must be called on the event loop."""

    def __init__(
        self,
        caller: Caller,
        clock: Clock,
        known: FunctionNames,
        *,
        max_activities: int = 10,
        max_orchestrators: int = 10,
        any_state_overridable: bool = False,
    ) -> None:
        self.caller = caller
        self._clock = clock
        self._known = known
        self._overridable = any_state_overridable
        self._activity_slots = asyncio.Semaphore(max_activities)
        self._orchestrator_slots = asyncio.Semaphore(max_orchestrators)
        self._instances: dict[str, Instance] = {}
        self._timers = TimerQueue(clock)
        self._tasks: set[asyncio.Task[None]] = set()
        # Kept: the event loop holds only weak references to its tasks.
        self._activities: set[asyncio.Task[None]] = set()

    # --- for clients ---

    def start(self, name: str, instance_id: str | None, input_text: str | None, version: str | None = None) -> Instance:
        """Start an instance. An orchestrator that does not exist is accepted, and the instance then fails.

        Raises ConflictError when the id still runs, InvalidIdError when the id is none.
        """
        instance_id = instance_id or uuid4().hex
        # What the real storage takes as a key; `@` begins the ids of entities.
        if len(instance_id) > 256 or instance_id.startswith("@") or _BAD_ID.search(instance_id):
            raise InvalidIdError(
                "Instance IDs must not be longer than 256 characters, start with '@' or contain "
                "'/', '\\', '#', '?' or control characters."
            )
        old = self._instances.get(instance_id)
        if old is not None and not old.finished and not self._overridable:
            raise ConflictError(f"An Orchestration instance with the status {old.status} already exists.")
        generation = 0 if old is None else (old.generation or 0) + 1
        return self._begin(name, instance_id, str(uuid4()), input_text, version, generation)

    def get(self, instance_id: str) -> Instance | None:
        return self._instances.get(instance_id)

    def query(
        self,
        *,
        created_from: datetime | None = None,
        created_to: datetime | None = None,
        statuses: Iterable[str] = (),
        prefix: str = "",
    ) -> list[Instance]:
        """The instances that meet every condition given, in the order of their ids."""
        wanted = {status.lower() for status in statuses}
        return [
            instance
            for _, instance in sorted(self._instances.items())
            if instance.id.startswith(prefix)
            and (created_from is None or instance.created >= created_from)
            and (created_to is None or instance.created <= created_to)
            and (not wanted or instance.status.lower() in wanted)
        ]

    def raise_event(self, instance: Instance, name: str, input_text: str | None) -> None:
        self._deliver(instance, event_raised(self._clock.now(), name, input_text))

    def terminate(self, instance: Instance, reason: str) -> None:
        self._deliver(instance, event(Kind.EXECUTION_TERMINATED, self._clock.now(), Input=reason))

    def suspend(self, instance: Instance, reason: str) -> None:
        self._deliver(instance, event(Kind.EXECUTION_SUSPENDED, self._clock.now(), Reason=reason))

    def resume(self, instance: Instance, reason: str) -> None:
        self._deliver(instance, event(Kind.EXECUTION_RESUMED, self._clock.now(), Reason=reason))

    def purge(self, instance: Instance) -> None:
        """Forget a finished instance. Raises StillRunningError."""
        if not instance.finished:
            raise StillRunningError(
                "Only orchestrations in a terminal state can be purged, but the orchestration with "
                f"instance ID {instance.id} has status {instance.status}"
            )
        # Tasks still hold the object: what they deliver later must find that it no longer counts.
        instance.gone = True
        del self._instances[instance.id]

    # --- opening and closing ---

    def open(self) -> None:
        self._spawn(self._timers.run())

    async def close(self, grace: float) -> None:
        """Wait up to `grace` seconds for running activities, then drop everything."""
        # As the platform with SIGTERM: running activities get a chance to write their result.
        if self._activities:
            _log.info("waiting up to %g s for %d running activities", grace, len(self._activities))
            await asyncio.wait(self._activities, timeout=grace)
        left = self._tasks | self._activities
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # --- executing instances ---

    def _begin(
        self,
        name: str,
        instance_id: str,
        execution_id: str,
        input_text: str | None,
        version: str | None,
        generation: int | None,
        parent: Parent | None = None,
    ) -> Instance:
        if (old := self._instances.get(instance_id)) is not None:
            old.gone = True
        now = self._clock.now()
        instance = Instance(
            id=instance_id,
            name=name,
            execution_id=execution_id,
            created=now,
            updated=now,
            input=input_text,
            history=[],
            generation=generation,
            version=version,
            parent=parent,
        )
        self._instances[instance_id] = instance
        self._deliver(instance, self._started(instance))
        return instance

    def _started(self, instance: Instance) -> Event:
        return execution_started(
            instance.created,
            name=instance.name,
            instance_id=instance.id,
            execution_id=instance.execution_id,
            input_text=instance.input,
            version=instance.version,
            generation=instance.generation if not instance.fresh else None,
            parent=instance.parent,
        )

    def _deliver(self, instance: Instance, message: Event, execution_id: str | None = None) -> None:
        """Put a message into the inbox; one for an earlier execution is dropped."""
        if instance.gone or instance.finished or execution_id not in (None, instance.execution_id):
            return
        instance.inbox.append(message)
        # One episode at a time: the history must not change under an orchestrator that replays it.
        if not instance.busy:
            instance.busy = True
            self._spawn(self._run(instance))

    async def _run(self, instance: Instance) -> None:
        try:
            while (instance.fresh or instance.inbox) and not (instance.gone or instance.finished):
                async with self._orchestrator_slots:
                    await self._episode(instance)
        except Exception as error:
            _log.exception("instance %s: the host failed", instance.id)
            self._finish(instance, End("Failed", f"the local host failed: {error!r}"))
        finally:
            instance.busy = False

    async def _episode(self, instance: Instance) -> None:
        # A new generation runs before anything else is taken in, unless it is to be ended.
        urgent = any(message["EventType"] == Kind.EXECUTION_TERMINATED for message in instance.inbox)
        new = [*instance.history] if instance.fresh else []
        if not instance.fresh or urgent:
            messages, instance.inbox = instance.inbox, []
            instance.history += [event(Kind.ORCHESTRATOR_STARTED, self._clock.now()), *messages]
            new += messages
        instance.fresh = False
        # Others run meanwhile: the instance may be purged or started anew before this episode has its outcome.
        end, decisions = await self._decide(instance)
        if instance.gone:
            return
        instance.updated = now = self._clock.now()
        for one in new:
            one["IsPlayed"] = one["EventType"] != Kind.ORCHESTRATOR_STARTED
        self._follow_suspension(instance, new)
        for decision in decisions:
            self._act(instance, decision, discard=end is not None)
        if end is None:
            instance.history.append(event(Kind.ORCHESTRATOR_COMPLETED, now))
        else:
            self._finish(instance, end)

    async def _decide(self, instance: Instance) -> tuple[End | None, tuple[Decision, ...]]:
        state: Mapping[str, Any]
        try:
            check(instance.name, self._known.orchestrators, "orchestrator")
            state = await self.caller.orchestrator(instance.name, _context(instance))
        except RefusedError as refusal:
            return End("Failed", str(refusal)), ()
        except FunctionFailedError as failure:
            return End("Failed", failure.text), ()
        if state.get("customStatus") is not None:
            # The extension fails the orchestration above 16 KB, so that an app finds out here.
            size = len(compact_json(state["customStatus"]).encode("utf-16-le"))
            if size > _CUSTOM_STATUS_BYTES:
                text = "The UTF-16 size of the JSON-serialized payload must not exceed 16 KB."
                return End("Failed", f"{text} The current payload is {size / 1024:.0f} KB."), ()
            instance.custom_status = state["customStatus"]
        outcome = replay(instance.history, state, self._known)
        return outcome.end, outcome.decisions

    def _follow_suspension(self, instance: Instance, new: list[Event]) -> None:
        instance.status = "Running" if instance.status == "Pending" else instance.status
        for one in new:
            if one["EventType"] in (Kind.EXECUTION_SUSPENDED, Kind.EXECUTION_RESUMED):
                suspended = one["EventType"] == Kind.EXECUTION_SUSPENDED
                instance.status = "Suspended" if suspended else "Running"
                instance.output = one["Reason"]

    def _finish(self, instance: Instance, end: End) -> None:
        now = instance.updated = self._clock.now()
        if end.status == "ContinuedAsNew":
            self._continue(instance, end)
            return
        instance.status = end.status
        instance.output = end.output
        if end.status == "Failed":
            instance.output = f"Orchestrator function '{instance.name}' failed: {end.output}"
            _log.warning("instance %s failed: %s", instance.id, end.output)
        completed = event(
            Kind.EXECUTION_COMPLETED,
            now,
            OrchestrationStatus=end.status,
            Result=instance.output,
            FailureDetails=None,
        )
        instance.history.append(completed)
        instance.inbox.clear()
        if instance.parent is not None:
            self._notify_parent(instance, instance.parent)

    def _continue(self, instance: Instance, end: End) -> None:
        instance.fresh = True
        # A new one: what timers and activities of the generation before deliver is dropped.
        instance.execution_id = uuid4().hex
        # What is already here for the old execution is dropped too: its numbers begin anew in the next one.
        instance.inbox = [one for one in instance.inbox if not one.keys() & {"TaskScheduledId", "TimerId"}]
        instance.created = self._clock.now()
        instance.input = json.dumps(end.output)
        carried = [{**one, "IsPlayed": False} for one in end.carried]
        instance.history = [
            event(Kind.ORCHESTRATOR_STARTED, instance.created),
            self._started(instance),
            *carried,
            event(Kind.ORCHESTRATOR_COMPLETED, instance.created),
        ]

    def _notify_parent(self, child: Instance, parent: Parent) -> None:
        waiting = self._instances.get(parent.instance_id)
        if waiting is None:
            return
        now, number = self._clock.now(), parent.sequence
        if child.status == "Completed":
            message = child_completed(now, number, compact_json(child.output))
        else:
            message = child_failed(now, number, str(child.output))
        self._deliver(waiting, message, parent.execution_id)

    # --- scheduling what an orchestrator has asked for ---

    def _act(self, instance: Instance, decision: Decision, *, discard: bool) -> None:
        """Note the decision in the history and carry it out, unless the execution is over."""
        now, number = self._clock.now(), decision.sequence
        fields: dict[str, object]
        match decision.kind:
            case Kind.TASK_SCHEDULED:
                fields = {"Version": "", "Input": None, "ParentTraceContext": None, "Tags": None}
                noted = event(decision.kind, now, event_id=number, Name=decision.name, **fields)
                if not discard:
                    self._start_activity(instance, decision)
            case Kind.TIMER_CREATED:
                assert decision.fire_at is not None
                fire_at = format_time(decision.fire_at)
                noted = event(decision.kind, now, event_id=number, FireAt=fire_at)
                if not discard:
                    # The extension stamps the message when it sends it, not when it is due.
                    fired = event(Kind.TIMER_FIRED, now, TimerId=number, FireAt=fire_at)
                    execution_id = instance.execution_id
                    self._timers.schedule(decision.fire_at, lambda: self._deliver(instance, fired, execution_id))
            case Kind.SUB_ORCHESTRATION_CREATED:
                child_id = decision.instance_id or f"{instance.execution_id}:{number:x}"
                fields = {"InstanceId": child_id, "Input": None, "ClientSpanId": None, "Tags": None}
                noted = event(
                    decision.kind, now, event_id=number, Name=decision.name, Version=decision.version, **fields
                )
                if not discard:
                    parent = Parent(instance.name, instance.id, instance.execution_id, number)
                    input_text = json.dumps(decision.input)
                    self._begin(decision.name, child_id, uuid4().hex, input_text, decision.version, None, parent)
        instance.history.append(noted)

    def _start_activity(self, instance: Instance, decision: Decision) -> None:
        work = self._activity(instance, instance.execution_id, decision)
        task = asyncio.create_task(work, name=f"activity {decision.name}")
        self._activities.add(task)
        task.add_done_callback(self._activities.discard)

    async def _activity(self, instance: Instance, execution_id: str, decision: Decision) -> None:
        number = decision.sequence
        async with self._activity_slots:
            try:
                result = await self.caller.activity(decision.name, decision.input or "null")
                message = task_completed(self._clock.now(), number, compact_json(json.loads(result)))
            except Exception as error:
                failure = error if isinstance(error, FunctionFailedError) else FunctionFailedError(repr(error))
                # Two blanks after the colon, as the extension writes it: apps compare this text.
                reason = f"Activity function '{decision.name}' failed:  {failure.text}"
                details = failure_details(failure.text, failure.stack)
                message = task_failed(self._clock.now(), number, reason, details)
        self._deliver(instance, message, execution_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _context(instance: Instance) -> str:
    """What the orchestrator function gets."""
    started = next(one for one in instance.history if one["EventType"] == Kind.EXECUTION_STARTED)
    return json.dumps(
        {
            "history": instance.history,
            "input": None if instance.input is None else json.loads(instance.input),
            "instanceId": instance.id,
            "isReplaying": started["IsPlayed"],
            "parentInstanceId": instance.parent and instance.parent.instance_id,
            # What the real extension sends: the package needs the schema fields, and ignores unknown ones.
            "upperSchemaVersion": 1,
            "upperSchemaVersionNew": 3,
            "longRunningTimerIntervalDuration": "3.00:00:00",
            "maximumShortTimerDuration": "6.00:00:00",
            "defaultHttpAsyncRequestSleepTimeMillseconds": 30000,
        }
    )
