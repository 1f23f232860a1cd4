"""Replay of one episode of an orchestration. Pure: a history and the actions in, decisions out.

The Durable extension walks the list of actions that azure-functions-durable returned and awaits each, while the
history is handed to it event by event. The same is done here, defects included: a cancelled timer completes
at once, so that an event behind it counts as unprocessed (durable-extension #2606), and an open task or timer
holds back the end of the orchestration.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from local.host.durable.events import Event, Kind, parse_time

Action = Mapping[str, Any]
Ending = Literal["Completed", "Failed", "Terminated", "ContinuedAsNew"]

# A suspended instance takes nothing in but what ends the suspension.
_SUSPENSION = (Kind.EXECUTION_RESUMED, Kind.EXECUTION_TERMINATED)


@dataclass(frozen=True, slots=True)
class Decision:
    """Something new to be scheduled: an activity, a sub-orchestration or a timer."""

    kind: Literal[Kind.TASK_SCHEDULED, Kind.SUB_ORCHESTRATION_CREATED, Kind.TIMER_CREATED]
    sequence: int
    name: str = ""
    input: str | None = None
    instance_id: str | None = None
    version: str | None = None
    fire_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How an execution ended. `output` is its result, its failure text or the next generation's input."""

    status: Ending
    output: Any
    carried: tuple[Event, ...] = ()
    """Events that came after continue_as_new was reached: the next generation gets them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decisions of one episode, and the end if it is one."""

    decisions: tuple[Decision, ...]
    end: End | None


@dataclass(frozen=True, slots=True)
class FunctionNames:
    """The names of the functions that may be called."""

    activities: Collection[str]
    orchestrators: Collection[str]


class RefusedError(Exception):
    """The orchestrator asked for what this host, or any, does not do."""


class _Task:
    """Something that the replay may wait for."""

    __slots__ = ("done", "failed", "then")

    def __init__(self, *, done: bool = False) -> None:
        self.done = done
        self.failed = False
        self.then: Callable[[], None] | None = None

    def complete(self, *, failed: bool = False) -> None:
        self.done, self.failed = True, failed
        if self.then is not None:
            self.then()


class _Group(_Task):
    """whenAny or whenAll."""

    __slots__ = ("children", "enough")

    def __init__(self, children: list[_Task], enough: Callable[[list[bool]], bool]) -> None:
        super().__init__()
        self.children, self.enough = children, enough
        for child in children:
            child.then = self._look
        self._look()

    def _look(self) -> None:
        if not self.done and self.enough([child.done for child in self.children]):
            self.complete()


def replay(history: Sequence[Event], state: Mapping[str, Any], known: FunctionNames) -> Outcome:
    """Replay the actions of `state` (what the orchestrator function returned) against the history.

    A refusal (an unknown function, an entity, a changed orchestrator) is an end with status Failed.
    """
    # The list has all actions since the start of the execution each time, one entry for each yield.
    replayed = _Replay(history, state["actions"][0] if state["actions"] else [], known)
    try:
        replayed.run()
    except RefusedError as refusal:
        return Outcome((), End("Failed", str(refusal)))
    return Outcome(tuple(replayed.decisions), replayed.end(state))


class _Replay:
    def __init__(self, history: Sequence[Event], actions: Sequence[Action], known: FunctionNames) -> None:
        self._history = history
        self._actions = actions
        self._known = known
        self._recorded = {
            event["EventId"]: event
            for event in history
            if event["EventType"] in (Kind.TASK_SCHEDULED, Kind.SUB_ORCHESTRATION_CREATED, Kind.TIMER_CREATED)
        }
        # Activities, timers and children take a number each, waits for events take none.
        self._sequence = 0
        self._position = 0
        self._current: _Task | None = None
        self._open: dict[int, _Task] = {}
        self._waits: defaultdict[str, list[_Task]] = defaultdict(list)
        self._early: defaultdict[str, deque[Event]] = defaultdict(deque)
        self._suspended = False
        self._withheld: deque[Event] = deque()
        self._carried: list[Event] = []
        self._next_input: str | None = None
        self._continued = False
        self._terminated: End | None = None
        self._now = datetime.min.replace(tzinfo=UTC)
        self.decisions: list[Decision] = []

    def run(self) -> None:
        for event in self._history:
            if event["EventType"] == Kind.ORCHESTRATOR_STARTED:
                self._now = parse_time(event["Timestamp"])
            elif self._suspended and event["EventType"] not in _SUSPENSION:
                self._withheld.append(event)
            else:
                self._take(event)
        # Something was scheduled that this replay did not ask for: the code has changed under the instance.
        if unclaimed := [event for number, event in self._recorded.items() if number >= self._sequence]:
            raise RefusedError(_changed(unclaimed[0]))

    def end(self, state: Mapping[str, Any]) -> End | None:
        if self._terminated is not None:
            return self._terminated
        # An open timer or activity keeps the instance from ending, and continue_as_new from taking effect.
        if self._open or self._position < len(self._actions):
            return None
        if state.get("error"):
            return End("Failed", state["error"])
        if self._continued:
            return End("ContinuedAsNew", self._next_input, tuple(self._carried))
        if state.get("isDone"):
            return End("Completed", state.get("output"))
        return None

    def _take(self, event: Event) -> None:
        match event["EventType"]:
            case Kind.EXECUTION_STARTED:
                pass
            case Kind.TASK_COMPLETED | Kind.SUB_ORCHESTRATION_COMPLETED:
                self._close(event["TaskScheduledId"])
            case Kind.TASK_FAILED | Kind.SUB_ORCHESTRATION_FAILED:
                self._close(event["TaskScheduledId"], failed=True)
            case Kind.TIMER_FIRED:
                self._close(event["TimerId"])
            # Only events after continue_as_new are carried over; those buffered before are lost (durable-python #331).
            case Kind.EVENT_RAISED if self._continued:
                self._carried.append(event)
            case Kind.EVENT_RAISED:
                # The extension ignores the case of event names, though the package does not.
                name = event["Name"].lower()
                if self._waits[name]:
                    self._waits[name].pop().complete()  # the latest wait is served first
                else:
                    self._early[name].append(event)
            case Kind.EXECUTION_SUSPENDED:
                self._suspended = True
            case Kind.EXECUTION_RESUMED:
                self._suspended = False
                while self._withheld:
                    self._take(self._withheld.popleft())
            case Kind.EXECUTION_TERMINATED:
                self._terminated = End("Terminated", event["Input"])
            case _:
                return
        self._advance()

    def _close(self, sequence: int, *, failed: bool = False) -> None:
        # Unknown: the timer was cancelled, and its message came all the same.
        if task := self._open.pop(sequence, None):
            task.complete(failed=failed)

    def _advance(self) -> None:
        while self._position < len(self._actions):
            if self._current is None:
                self._current = self._start(self._actions[self._position])
            if not self._current.done:
                return
            self._current = None
            self._position += 1

    def _start(self, action: Action) -> _Task:
        match action["actionType"]:
            case 0 | 2:
                return self._call(action)
            case 1 | 3:
                return self._retry(action)
            case 4:
                self._next_input, self._continued = action["input"], True
                return _Task(done=True)
            case 5:
                return self._timer(parse_time(action["fireAt"]), cancelled=action["isCanceled"])
            case 6:
                return self._wait(action["externalEventName"].lower())
            case 11:
                return _Group([self._start(child) for child in action["compoundActions"]], any)
            case 12:
                return _Group([self._start(child) for child in action["compoundActions"]], all)
            case 7 | 9:
                raise RefusedError("this local host has no entities; run the app with `func start`")
            case 8:
                raise RefusedError("this local host has no call_http; run the app with `func start`")
            case other:
                raise RefusedError(f"this local host does not know action {other}")

    def _schedule(self, decision: Decision) -> _Task:
        recorded = self._recorded.get(decision.sequence)
        self._sequence = decision.sequence + 1
        if recorded is None:
            self.decisions.append(decision)
        # As in the real one: names are compared, inputs are not.
        elif recorded["EventType"] != decision.kind or recorded.get("Name", "") != decision.name:
            raise RefusedError(_changed(recorded))
        task = self._open[decision.sequence] = _Task()
        return task

    def _call(self, action: Action) -> _Task:
        name = action["functionName"]
        if action["actionType"] in (0, 1):
            check(name, self._known.activities, "activity")
            return self._schedule(Decision(Kind.TASK_SCHEDULED, self._sequence, name, action["input"]))
        check(name, self._known.orchestrators, "orchestrator")
        decision = Decision(
            Kind.SUB_ORCHESTRATION_CREATED,
            self._sequence,
            name,
            action["input"],
            instance_id=action.get("instanceId"),
            version=action.get("version"),
        )
        return self._schedule(decision)

    def _timer(self, fire_at: datetime, *, cancelled: bool = False) -> _Task:
        task = self._schedule(Decision(Kind.TIMER_CREATED, self._sequence, fire_at=fire_at))
        # As the extension does: a cancelled timer is created all the same, and takes a number in the history.
        if cancelled:
            del self._open[self._sequence - 1]
            task.complete()
        return task

    def _wait(self, name: str) -> _Task:
        if self._early[name]:
            self._early[name].popleft()
            return _Task(done=True)
        task = _Task()
        self._waits[name].append(task)
        return task

    def _retry(self, action: Action) -> _Task:
        """Attempts with a timer behind each that failed, and one without delay behind the last."""
        options = action["retryOptions"]
        delay = timedelta(milliseconds=options["firstRetryIntervalInMilliseconds"])
        whole = _Task()

        # Retries are the host's: numbers are given out as they happen, and the package reads them in the history.
        def attempt(left: int) -> None:
            try_ = self._call(action)
            try_.then = lambda: settle(try_, left - 1)

        def settle(try_: _Task, left: int) -> None:
            if not try_.failed:
                whole.complete()
                return
            pause = self._timer(self._now + (delay if left else timedelta()))
            pause.then = lambda: attempt(left) if left else whole.complete(failed=True)

        attempt(options["maxNumberOfAttempts"])
        return whole


def check(name: str, known: Collection[str], what: Literal["activity", "orchestrator"]) -> None:
    """Raise RefusedError, in the extension's words, when there is no such function."""
    if name not in known:
        names = ", ".join(f"'{one}'" for one in known)
        raise RefusedError(
            f"The function '{name}' doesn't exist, is disabled, or is not an {what} function. "
            f"Additional info: The following are the known {what} functions: {names}."
        )


def _changed(recorded: Event) -> str:
    return (
        "Non-Deterministic workflow detected: a previous execution of this orchestration scheduled "
        f"'{recorded.get('Name', 'a timer')}' as number {recorded['EventId']}, this one did not."
    )
