"""What is too long for the run itself: its input, its timeline, and each tool call with all of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from shared.api.http import json_response, not_modified, time_on_the_wire
from shared.api.native.call_shapes import ToolCall, call_on_the_wire, state_of
from shared.api.native.fields import Count, RunId, Time
from shared.api.native.runs import TAG, own_run, run_url
from shared.api.operations import IF_NONE_MATCH, UNCHANGED, Answer, operation
from shared.errors import RunNotFound, ToolCallNotFound
from shared.runs.model.calls import ToolCall as CallRecord
from shared.runs.model.journal import Line, LineKind
from shared.runs.model.run import Run
from shared.runs.queries.conversation import input_of
from shared.runs.queries.runs import WholeCall, calls_of, whole_call
from shared.wiring import App


class InputMessage(TypedDict):
    """A message as it was sent to the model."""

    role: str
    """Who says it: `user`."""

    content: str | list[dict[str, Any]] | None
    """Text, or the parts that the caller sent."""


class RunInput(TypedDict):
    """The whole input of a run."""

    run_id: RunId
    """The run."""

    input: list[InputMessage]
    """As it was given; a text is one message."""


class WholeToolCall(ToolCall):
    """A tool call with all that the run shows only the beginning of."""

    whole_arguments: str
    """All of the JSON text that the model wrote."""

    whole_result: str | None
    """All that the model was given; null until the call is finished."""


class TimelineEntry(TypedDict):
    """What happened at one time, or several alike that followed each other."""

    at: Time
    """When; of several the first."""

    until: Time | None
    """When the last of several was, or the work was over; null for a single moment."""

    kind: Annotated[str, Field(examples=[each.value for each in LineKind])]
    """What it is: `created`, `started` (of a run for later), `sent`, `turn_started`, `looked`, `no_answer`,
    `turn_ended`, `retry`, `tools`, `tool` (one call, from start to result), `parked`, `answered`, `waiting`, `crashed`,
    `ended`, `callback`, or `omitted` (entries left out where there were too many). Take other words too: more may come.
    """

    turn: Count | None
    """The turn's number; null where it is about the whole run."""

    count: Count
    """How many it stands for."""

    wakes: Count
    """How many of the run's wakes it stands for. Those of all entries add up to the run's."""

    milliseconds: Count
    """How long the app was at work for it."""

    code: str | None
    """A word for why, or for what became of it."""

    by: str | None
    """Who answered or cancelled: a principal, a user or the label of a run token."""

    tool: str | None
    """The tool's name, for `tool`."""


class Timeline(TypedDict):
    """What happened to a run, in order."""

    run_id: RunId
    """The run."""

    wakes: Count
    """How often the app was at work for it."""

    active_seconds: Annotated[float, Field(ge=0)]
    """How long the app was at work for it, all together."""

    data: list[TimelineEntry]
    """What happened, oldest first."""


@operation(
    tag=TAG,
    parameters=(IF_NONE_MATCH,),
    answers={200: Answer(text="The input.", shape=RunInput, headers=("ETag",)), 304: UNCHANGED},
    problems=(RunNotFound,),
)
async def get_run_input(request: Request, app: App) -> Response:
    """Read a run's whole input.

    The run itself shows the first 200 characters of it.
    """
    run = await own_run(request, app)
    items = await input_of(app.ports, run)
    body: RunInput = {
        "run_id": run.id,
        "input": [{"role": str(item.get("role", "user")), "content": item.get("content")} for item in items],
    }
    return not_modified(request, json_response(body))


@operation(
    tag=TAG,
    parameters=(IF_NONE_MATCH,),
    answers={200: Answer(text="What happened.", shape=Timeline, headers=("ETag",)), 304: UNCHANGED},
    problems=(RunNotFound,),
)
async def get_run_timeline(request: Request, app: App) -> Response:
    """See what happened to a run.

    Its wakes, turns, looks, tools, pauses and retries, with their times: looks without news are one entry, and of very
    many entries those in the middle are left out. It shows when the app was at work for the run, and when nothing was.
    """
    run = await own_run(request, app)
    return not_modified(request, json_response(timeline_on_the_wire(run, await calls_of(app.ports, run))))


def timeline_on_the_wire(run: Run, calls: Sequence[CallRecord]) -> Timeline:
    """What happened to a run, as callers see it."""
    entries = [_entry(line) for line in run.journal.lines]
    entries += [_entry_of_call(call, call.started_at, run) for call in calls if call.started_at is not None]
    return {
        "run_id": run.id,
        "wakes": run.counters.wakes,
        "active_seconds": run.counters.active_ms / 1_000,
        # Stable: what has the same time stays in the order in which it happened.
        "data": sorted(entries, key=lambda entry: entry["at"]),
    }


@operation(
    tag=TAG,
    parameters=(IF_NONE_MATCH,),
    answers={200: Answer(text="The call.", shape=WholeToolCall, headers=("ETag",)), 304: UNCHANGED},
    problems=(RunNotFound, ToolCallNotFound),
)
async def get_tool_call(request: Request, app: App) -> Response:
    """Read one tool call with all of its arguments and its result.

    The run itself shows the first 500 characters of each.
    """
    run = await own_run(request, app)
    turn, _, index = request.path_params["call"].partition(".")
    found = await whole_call(app.ports, run, int(turn), int(index))
    if found is None:
        raise ToolCallNotFound
    return not_modified(
        request, json_response(whole_call_on_the_wire(found, run_url=run_url(app, run.id), is_over=run.terminal))
    )


def whole_call_on_the_wire(found: WholeCall, *, run_url: str, is_over: bool) -> WholeToolCall:
    """A tool call with all of its texts, as callers see it."""
    shown = call_on_the_wire(found.call, run_url=run_url, is_over=is_over)
    return {
        **shown,
        "whole_arguments": found.arguments,
        "whole_result": None if shown["result"] is None else found.result,
    }


def _entry(line: Line) -> TimelineEntry:
    return {
        "at": _time(line.at),
        "until": None if line.last is None else _time(line.last),
        "kind": line.kind,
        "turn": line.turn or None,
        "count": line.count,
        "wakes": line.wakes,
        "milliseconds": line.ms,
        "code": line.code or None,
        "by": line.by or None,
        "tool": None,
    }


def _entry_of_call(call: CallRecord, started_at: datetime, run: Run) -> TimelineEntry:
    return {
        "at": time_on_the_wire(started_at),
        "until": time_on_the_wire(call.finished_at or run.completed_at),
        "kind": "tool",
        "turn": call.turn,
        "count": call.starts,
        "wakes": 0,  # the entry `tools` has those
        "milliseconds": 0,
        "code": state_of(call, is_over=run.terminal),
        "by": None,
        "tool": call.name,
    }


def _time(milliseconds: int) -> str:
    return time_on_the_wire(datetime.fromtimestamp(milliseconds / 1_000, tz=UTC))
