"""A run as it happens."""

from __future__ import annotations

from local.openapi import wire
from local.openapi.operation import Answer, Operation, Parameter
from shared import errors

EVENT_ID = {"type": "string", "pattern": r"^([1-9][0-9]{0,5}\.[1-9][0-9]{0,5}\.(0|[1-9][0-9]{0,9})|end)?$"}

OPERATIONS = (
    Operation(
        function="watch_run",
        tag="runs",
        summary="Watch a run",
        text="Server-Sent Events. First `state`, the whole run; then what happens, to the `end`. A client keeps one "
        "text, which `snapshot` replaces and `delta` continues; at the end it is the run's. After `stale` the text "
        "shown stays as it is until a `snapshot` makes it good. The connection ends by itself after some minutes: come "
        "back with the last `id`, and nothing is lost. A run that was submitted without `stream` shows no `delta`.",
        parameters=(
            Parameter(
                name="Last-Event-ID",
                place="header",
                text="Go on exactly after this event; goes before `after`.",
                schema=EVENT_ID,
            ),
            Parameter(
                name="after",
                place="query",
                text="The same, for who cannot set headers.",
                schema=EVENT_ID,
                example="1.1.42",
            ),
        ),
        answers={
            200: Answer(
                text="The events, each with one line of JSON, until the connection or the run ends.",
                media="text/event-stream",
                events={
                    "state": wire.Run,
                    "status": wire.Run,
                    "snapshot": wire.Piece,
                    "delta": wire.Piece,
                    "tool_started": wire.ToolCall,
                    "tool_progress": wire.ToolCall,
                    "tool_finished": wire.ToolCall,
                    "stale": wire.Position,
                    "end": wire.Run,
                },
            ),
            204: Answer(text="The run has ended and the caller has its end."),
        },
        problems=(errors.RunNotFound, errors.InvalidEventId, errors.TooManyViewers),
    ),
)
