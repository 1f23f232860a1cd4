"""One orchestration instance, and how it is described to clients."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from local.host.durable.events import Event, Kind, Parent, format_time

Status = Literal["Pending", "Running", "Suspended", "Completed", "Failed", "Terminated"]


@dataclass(slots=True)
class Instance:
    """The state of an instance. Belongs to the task hub; all others only read it."""

    id: str
    name: str
    execution_id: str
    created: datetime
    updated: datetime
    input: str | None
    """JSON text."""
    history: list[Event]
    generation: int | None = None
    version: str | None = None
    parent: Parent | None = None
    status: Status = "Pending"
    output: Any = None
    custom_status: Any = None
    inbox: list[Event] = field(default_factory=list)
    fresh: bool = False
    """A generation that continue_as_new began and that has not run yet."""
    busy: bool = False
    gone: bool = False
    """Purged or replaced: nothing that still comes in counts."""

    @property
    def finished(self) -> bool:
        return self.status in ("Completed", "Failed", "Terminated")


def describe(
    instance: Instance,
    *,
    show_input: bool = True,
    show_history: bool = False,
    show_history_output: bool = False,
) -> dict[str, Any]:
    """The status document of an instance, as the management routes answer it."""
    document = {
        "name": instance.name,
        "instanceId": instance.id,
        "runtimeStatus": instance.status,
        "input": json.loads(instance.input) if show_input and instance.input is not None else None,
        "customStatus": instance.custom_status,
        "output": instance.output,
        # Whole seconds, as the real host answers.
        "createdTime": format_time(instance.created.replace(microsecond=0)),
        "lastUpdatedTime": format_time(instance.updated.replace(microsecond=0)),
    }
    if show_history:
        document["historyEvents"] = render_history(instance.history, show_output=show_history_output)
    return document


_DROPPED = ("EventType", "EventId", "IsPlayed", "TaskScheduledId", "TimerId", "OrchestrationInstance", "Version")
_NAMES = {
    Kind.EXECUTION_STARTED: "ExecutionStarted",
    Kind.EXECUTION_COMPLETED: "ExecutionCompleted",
    Kind.EXECUTION_TERMINATED: "ExecutionTerminated",
    Kind.TASK_SCHEDULED: "TaskScheduled",
    Kind.TASK_COMPLETED: "TaskCompleted",
    Kind.TASK_FAILED: "TaskFailed",
    Kind.SUB_ORCHESTRATION_CREATED: "SubOrchestrationInstanceCreated",
    Kind.SUB_ORCHESTRATION_COMPLETED: "SubOrchestrationInstanceCompleted",
    Kind.SUB_ORCHESTRATION_FAILED: "SubOrchestrationInstanceFailed",
    Kind.TIMER_CREATED: "TimerCreated",
    Kind.TIMER_FIRED: "TimerFired",
    Kind.EVENT_RAISED: "EventRaised",
    Kind.EXECUTION_SUSPENDED: "ExecutionSuspended",
    Kind.EXECUTION_RESUMED: "ExecutionResumed",
}


def render_history(history: list[Event], *, show_output: bool) -> list[dict[str, Any]]:
    """The history for people: kinds by name, and what was scheduled folded into its completion."""
    scheduled = {event["EventId"]: event for event in history if event["EventId"] >= 0}
    done = {event.get("TaskScheduledId", event.get("TimerId")) for event in history}
    entries: list[dict[str, Any]] = []
    for event in history:
        kind = Kind(event["EventType"])
        # The start and end of episodes are no news for people, and what is done shows in its completion.
        if kind not in _NAMES or 0 <= event["EventId"] in done:
            continue
        entry: dict[str, Any] = {"EventType": _NAMES[kind]}
        entry |= {key: value for key, value in event.items() if key not in _DROPPED and key != "Name"}
        if kind in (Kind.EXECUTION_STARTED, Kind.TASK_SCHEDULED, Kind.SUB_ORCHESTRATION_CREATED):
            for key in ("Tags", "ParentInstance", "ClientSpanId"):
                entry.pop(key, None)
            entry["FunctionName"] = event["Name"]
        elif kind is Kind.EVENT_RAISED:
            entry["Name"] = event["Name"]
        _fold(entry, event, scheduled, show_output=show_output)
        entries.append(entry)
    return entries


def _fold(entry: dict[str, Any], event: Event, scheduled: Mapping[int, Event], *, show_output: bool) -> None:
    if isinstance(event.get("Result"), str) and event["EventType"] != Kind.EXECUTION_COMPLETED:
        # JSON text in the history, but a value in the status document.
        entry["Result"] = json.loads(event["Result"])
    if not show_output:
        entry.pop("Result", None)
    if (cause := scheduled.get(event.get("TaskScheduledId", -1))) is not None:
        entry["ScheduledTime"] = cause["Timestamp"].removesuffix("Z") + "+00:00"
        entry["FunctionName"] = cause["Name"]
        entry["Input"] = None
