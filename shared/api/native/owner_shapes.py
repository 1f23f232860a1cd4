"""What the calls for an owner's data take and answer with."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, StringConstraints
from typing_extensions import TypedDict

from shared.api.http import time_on_the_wire
from shared.api.native.batch_shapes import Batch, BatchItem, batch_on_the_wire, item_on_the_wire
from shared.api.native.deliveries import Delivery, deliveries_on_the_wire
from shared.api.native.fields import BatchId, Count, RunId, SessionId, Time
from shared.api.native.run_details import (
    TimelineEntry,
    WholeToolCall,
    timeline_on_the_wire,
    whole_call_on_the_wire,
)
from shared.api.native.run_shapes import Run, run_on_the_wire
from shared.api.native.runs import own_model, run_url
from shared.api.native.schedules import Schedule, schedule_on_the_wire
from shared.runs.model.batch import Batch as BatchRecord
from shared.runs.model.ids import run_id
from shared.runs.model.schedules import RunSchedule as ScheduleRecord
from shared.runs.model.session import Session as SessionRecord
from shared.runs.owners.erase import Erased as ErasedKind
from shared.runs.owners.erase import Erasure as ErasureRecord
from shared.runs.owners.erase import Remaining as RemainingKind
from shared.runs.queries.owners import (
    REQUESTS,
    Owned,
    OwnedCall,
    OwnedItem,
    OwnedItems,
    OwnedRow,
    OwnedRun,
    OwnedText,
    Withheld,
)
from shared.runs.store.index import KeyRecord
from shared.runs.store.rows import moment_of
from shared.wiring import App

CURSOR = r"[A-Za-z0-9_-]{1,3000}"

OwnerName = Annotated[
    str, StringConstraints(max_length=1_000, pattern=r"^(function|(user|principal|key):[^\x00-\x1f\x7f]+)$")
]


class OwnerBody(BaseModel):
    """Whose data, and where to go on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    owner: OwnerName
    """`user:…`, `principal:…`, `key:…`, or `function` for all callers with a function key."""

    cursor: Annotated[str, StringConstraints(pattern=f"^{CURSOR}$")] | None = None
    """`next_cursor` of the answer before; without it from the beginning."""


class OwnedSession(TypedDict):
    """A conversation; its runs are entries of their own."""

    id: SessionId
    """The session's id."""

    agent: str
    """The agent that it is with."""

    active_run: RunId | None
    """The run that is active; null when none is."""

    created_at: Time
    """When its first run was submitted."""

    last_activity: Time
    """When a run of it last began or ended."""


class RequestKey(TypedDict):
    """What is kept of an `Idempotency-Key`, for 24 hours."""

    sha256: str
    """Of key and owner."""

    request_sha256: str
    """Of the request."""

    created_at: Time
    """When it was first sent."""


class Exported(TypedDict):
    """One piece of what is stored of an owner. `kind` says which of the other fields are there."""

    kind: Literal[
        "session",
        "run",
        "tool_call",
        "text",
        "items",
        "batch",
        "batch_item",
        "schedule",
        "repeated_request",
        "active_place",
        "being_deleted",
        "unreadable",
    ]
    """What it is. Take other words too: more may come."""

    within: SessionId | BatchId | None
    """The session or batch that it belongs to; null where it belongs to none."""

    id: str | None
    """Of the session, run, batch or schedule; of all that belongs to a run, the run's. Null where there is none."""

    session: NotRequired[OwnedSession]
    """`session`."""

    run: NotRequired[Run]
    """`run`: as `GET /api/runs/{id}` shows it."""

    options: NotRequired[Any]
    """`run`: options of the model that its caller set; null without any."""

    timeline: NotRequired[list[TimelineEntry]]
    """`run`: what happened."""

    deliveries: NotRequired[list[Delivery]]
    """`run`: the latest attempts at its callbacks, newest first."""

    provider_responses: NotRequired[list[str]]
    """`run`: ids of the responses that the model provider has of it."""

    request_key: NotRequired[RequestKey | None]
    """`run`: what is kept of its `Idempotency-Key`; null without one, and after its time."""

    tool_call: NotRequired[WholeToolCall]
    """`tool_call`: with all of its arguments and its result."""

    why: NotRequired[str | None]
    """`tool_call`: what a person was told who was to approve it; null where nobody was."""

    name: NotRequired[str]
    """`text`: which of the run's, `instructions`, `tools` (functions of its caller), `outputs` (of tools, which it goes
    on from) or `history` (what was said before it, where it begins a branch).
    """

    index: NotRequired[Count]
    """`text`, `items`: its place among several."""

    text: NotRequired[str]
    """`text`: in full. All but `instructions` are JSON."""

    items: NotRequired[list[dict[str, Any]]]
    """`items`: what was appended to the conversation at one time, in the shape of the Responses API; the first are the
    input. Where that is much it is in several pieces with the same `index`, in their order.
    """

    batch: NotRequired[Batch]
    """`batch`: as `GET /api/batches/{id}` shows it."""

    item: NotRequired[BatchItem]
    """`batch_item`: as `GET /api/batches/{id}/items` shows it."""

    schedule: NotRequired[Schedule]
    """`schedule`: as `GET /api/schedules/{id}` shows it."""

    asked: NotRequired[Any]
    """`batch_item`, `schedule`: what it asks for; null for an item that was refused."""

    created_at: NotRequired[Time]
    """`repeated_request` (of an OpenAI client that repeats by itself), `active_place` (in the limit of active runs)."""

    deleted_at: NotRequired[Time]
    """`being_deleted`: since when. Nobody reads it any more, and the app is removing it."""

    reason: NotRequired[str]
    """`unreadable`: why. `encryption_key_unavailable`, `row_unreadable` or `parts_missing`."""


class Elsewhere(TypedDict):
    """A place that has, or may have, something of an owner."""

    where: str
    """A word for it: `tombstones`, `provider`, `task_hub`, `callbacks`, `logs`, `backups`. More may come."""

    what: str
    """What is there, for how long, and what to do about it."""


class Export(TypedDict):
    """A page of what is stored of an owner."""

    data: list[Exported]
    """The pieces, those of one session or batch one after the other. There may be none, and a next page."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next page; not there on the last."""

    elsewhere: NotRequired[list[Elsewhere]]
    """On the last page: where else something of the owner is."""


class ErasedCounts(TypedDict):
    """What was erased now, by this call."""

    sessions: Count
    """Conversations."""

    runs: Count
    """Runs of these."""

    batches: Count
    """Batches."""

    schedules: Count
    """Schedules."""

    keys: Count
    """What was kept of `Idempotency-Key`s, and of requests that a client repeats by itself."""


class RemainingCounts(TypedDict):
    """What is still there, as far as this call has counted. Only the last calls count: add up all answers."""

    tombstones: Count
    """Rows of deleted sessions, runs and batches without any text, which the app removes after 48 hours."""

    provider_copies: Count
    """Responses that the model provider may still have: the app deletes them, and tries that for 30 days."""


class EraseFailure(TypedDict):
    """A session, run, batch or schedule that could not be erased."""

    id: str
    """Its id."""

    reason: str
    """`encryption_key_unavailable`; `row_unreadable`; `agents_own`, of a schedule that stands in the code; or `busy`:
    erase again.
    """


class Erasure(TypedDict):
    """What was erased of an owner, and what remains."""

    erased: ErasedCounts
    """What was erased now."""

    remaining: RemainingCounts
    """What is still there."""

    failed: list[EraseFailure]
    """What could not be erased."""

    next_cursor: NotRequired[str]
    """The `cursor` of the next call; not there once all is done."""

    elsewhere: NotRequired[list[Elsewhere]]
    """At the end: where else something of the owner remains."""


EXAMPLE_OWNERS = {"whose": {"owner": "user:ann"}}


def exported_on_the_wire(app: App, found: Owned) -> Exported:
    """One piece of an export."""
    match found:
        case SessionRecord():
            return {
                "kind": "session",
                "within": found.session_id,
                "id": found.session_id,
                "session": _session(found),
            }
        case OwnedRun():
            return _run(app, found)
        case OwnedCall(run=run, whole=whole):
            call = whole_call_on_the_wire(whole, run_url=run_url(app, run.id), is_over=run.terminal)
            why = whole.call.why or None
            return {"kind": "tool_call", "within": _session_of(run), "id": run.id, "tool_call": call, "why": why}
        case OwnedText(run=run):
            return {
                "kind": "text",
                "within": _session_of(run),
                "id": run.id,
                "name": found.name,
                "index": found.index,
                "text": found.text,
            }
        case OwnedItems(run=run):
            items = [dict(item) for item in found.items]
            return {"kind": "items", "within": _session_of(run), "id": run.id, "index": found.index, "items": items}
        case BatchRecord():
            url = f"{app.settings.base_url}/api/batches/{found.id}"
            return {"kind": "batch", "within": found.id, "id": found.id, "batch": batch_on_the_wire(found, url=url)}
        case OwnedItem(batch=batch, full=full):
            item = item_on_the_wire(batch, full, run_url=None if full.run is None else run_url(app, full.run.id))
            return {"kind": "batch_item", "within": batch.id, "id": batch.id, "item": item, "asked": found.asked}
        case ScheduleRecord():
            schedule = schedule_on_the_wire(app, found)
            asked = json.loads(found.request)
            return {"kind": "schedule", "within": None, "id": found.id, "schedule": schedule, "asked": asked}
        case OwnedRow():
            return _row(found)
        case Withheld(deleted_at=datetime() as deleted_at):
            at = time_on_the_wire(deleted_at)
            return {"kind": "being_deleted", "within": found.within, "id": found.id, "deleted_at": at}
        case Withheld():
            return {"kind": "unreadable", "within": found.within or None, "id": found.id, "reason": found.reason}


def erasure_on_the_wire(done: ErasureRecord) -> Erasure:
    """What was erased."""
    return {
        "erased": {
            "sessions": done.erased[ErasedKind.SESSIONS],
            "runs": done.erased[ErasedKind.RUNS],
            "batches": done.erased[ErasedKind.BATCHES],
            "schedules": done.erased[ErasedKind.SCHEDULES],
            "keys": done.erased[ErasedKind.KEYS],
        },
        "remaining": {
            "tombstones": done.remaining[RemainingKind.TOMBSTONES],
            "provider_copies": done.remaining[RemainingKind.PROVIDER_COPIES],
        },
        "failed": [{"id": each.id, "reason": each.reason} for each in done.failures],
    }


def _session_of(run: Any) -> str:
    return str(run.request.session_id)


def _session(session: SessionRecord) -> OwnedSession:
    return {
        "id": session.session_id,
        "agent": session.agent,
        "active_run": None if session.active_run is None else run_id(session.session_id, session.active_run),
        "created_at": time_on_the_wire(session.created_at),
        "last_activity": time_on_the_wire(session.last_activity),
    }


def _run(app: App, found: OwnedRun) -> Exported:
    run, key = found.full.run, found.key
    model = own_model(app, run.request.agent)
    return {
        "kind": "run",
        "within": _session_of(run),
        "id": run.id,
        "run": run_on_the_wire(found.full, url=run_url(app, run.id), model=model),
        "options": json.loads(run.request.options) if run.request.options else None,
        "timeline": timeline_on_the_wire(run, found.full.calls)["data"],
        "deliveries": deliveries_on_the_wire(run, found.deliveries)["data"],
        "provider_responses": [*run.chain.response_ids],
        "request_key": None if key is None else _key(key),
    }


def _key(key: KeyRecord) -> RequestKey:
    return {"sha256": key.digest, "request_sha256": key.payload, "created_at": time_on_the_wire(key.created_at)}


def _row(found: OwnedRow) -> Exported:
    if found.stage == REQUESTS:
        at = time_on_the_wire(moment_of(found.values.get("created_at")))
        return {"kind": "repeated_request", "within": None, "id": None, "created_at": at}
    at = time_on_the_wire(moment_of(found.values.get("taken_at")))
    return {"kind": "active_place", "within": None, "id": str(found.values.get("run", "")), "created_at": at}
