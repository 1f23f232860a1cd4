"""History events: the kinds, and the fields of each in the order the Durable extension writes them."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

Event = dict[str, Any]


class Kind(IntEnum):
    """`EventType` of a history event."""

    EXECUTION_STARTED = 0
    EXECUTION_COMPLETED = 1
    EXECUTION_TERMINATED = 3
    TASK_SCHEDULED = 4
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    SUB_ORCHESTRATION_CREATED = 7
    SUB_ORCHESTRATION_COMPLETED = 8
    SUB_ORCHESTRATION_FAILED = 9
    TIMER_CREATED = 10
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    ORCHESTRATOR_COMPLETED = 13
    EVENT_RAISED = 15
    EXECUTION_SUSPENDED = 19
    EXECUTION_RESUMED = 20


@dataclass(frozen=True, slots=True)
class Parent:
    """Who waits for a sub-orchestration."""

    name: str
    instance_id: str
    execution_id: str
    sequence: int


def format_time(when: datetime) -> str:
    """A time as .NET writes it: no trailing zeros in the fraction of a second."""
    text = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text}Z"


def parse_time(text: str) -> datetime:
    """Read a time from an event or an action (seven digits of a second are cut to six)."""
    # A time without a zone is UTC: an orchestrator may make a timer with a naive one.
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def compact_json(value: object) -> str:
    """JSON as .NET writes it: no blanks."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def event(kind: Kind, when: datetime, *, event_id: int = -1, **fields: object) -> Event:
    """A history event: its own fields between the type and the ones that all have."""
    return {
        "EventType": int(kind),
        **fields,
        # Results and raised events have -1: only what an orchestrator schedules is numbered.
        "EventId": event_id,
        "IsPlayed": False,
        "Timestamp": format_time(when),
    }


def execution_started(
    when: datetime,
    *,
    name: str,
    instance_id: str,
    execution_id: str,
    input_text: str | None,
    version: str | None = None,
    generation: int | None = None,
    parent: Parent | None = None,
) -> Event:
    """`generation` counts the starts of an id by a client; others (a new generation, a child) have none."""
    parent_instance = parent and {
        "Name": parent.name,
        "OrchestrationInstance": {"InstanceId": parent.instance_id, "ExecutionId": parent.execution_id},
        "TaskScheduleId": parent.sequence,
        "Version": None,
    }
    started = event(
        Kind.EXECUTION_STARTED,
        when,
        ParentInstance=parent_instance,
        Name=name,
        Version=version,
        Input=input_text,
        Tags=None,
        Correlation=None,
        ParentTraceContext=None,
        ScheduledStartTime=None,
        Generation=generation,
        GenerateNewTrace=False,
    )
    return {"OrchestrationInstance": {"InstanceId": instance_id, "ExecutionId": execution_id}, **started}


def task_completed(when: datetime, sequence: int, result: str | None) -> Event:
    """An activity's result, as JSON text."""
    return event(Kind.TASK_COMPLETED, when, TaskScheduledId=sequence, Result=result)


def task_failed(when: datetime, sequence: int, reason: str, details: str) -> Event:
    """An activity that raised. `details` is the long JSON of .NET."""
    return _failed(Kind.TASK_FAILED, when, sequence, reason, details)


def child_completed(when: datetime, sequence: int, result: str) -> Event:
    """A sub-orchestration's output, as JSON text."""
    return event(Kind.SUB_ORCHESTRATION_COMPLETED, when, TaskScheduledId=sequence, Result=result)


def child_failed(when: datetime, sequence: int, reason: str) -> Event:
    """A sub-orchestration that did not complete."""
    return _failed(Kind.SUB_ORCHESTRATION_FAILED, when, sequence, reason, failure_details(reason, ""))


def _failed(kind: Kind, when: datetime, sequence: int, reason: str, details: str) -> Event:
    return event(kind, when, TaskScheduledId=sequence, Reason=reason, Details=details, FailureDetails=None)


def event_raised(when: datetime, name: str, input_text: str | None) -> Event:
    """An external event; `input_text` is JSON text."""
    return event(Kind.EVENT_RAISED, when, Name=name, Input=input_text, ParentTraceContext=None)


def failure_details(text: str, stack: str) -> str:
    """The details of a failed activity: a .NET exception as JSON."""
    return compact_json(
        {
            "$type": "System.Exception, System.Private.CoreLib",
            "ClassName": "System.Exception",
            # The blank is the extension's own.
            "Message": f" {text}",
            "Data": None,
            "InnerException": {
                "$type": "Microsoft.Azure.WebJobs.Script.Workers.Rpc.RpcException, Microsoft.Azure.WebJobs.Script.Grpc",
                "ClassName": "Microsoft.Azure.WebJobs.Script.Workers.Rpc.RpcException",
                "Message": f"Result: Failure\nException: {text}\nStack: {stack}",
            },
        }
    )
