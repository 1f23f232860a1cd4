"""All that is stored of an owner, one record after the other, so that it can be cut off and continued anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any

from shared.agentkit.agent import Item
from shared.errors import RunNotFound
from shared.runs.model.batch import Batch, Deleted
from shared.runs.model.calls import ToolCall
from shared.runs.model.deliveries import Delivery
from shared.runs.model.ids import run_id
from shared.runs.model.owners import OwnerPlace
from shared.runs.model.run import Run, Text
from shared.runs.model.schedules import RunSchedule
from shared.runs.model.session import Session
from shared.runs.ports import Ports
from shared.runs.queries.batches import FullItem, items_of_batch
from shared.runs.queries.runs import FullRun, WholeCall, deliveries_of, in_full, is_gone
from shared.runs.store.index import KeyRecord
from shared.runs.store.sealer import KeyUnavailable
from shared.runs.store.tables import Row
from shared.runs.store.unreadable import RowUnreadable

SESSIONS, BATCHES, SCHEDULES, REQUESTS, PLACES = "sessions", "batches", "schedules", "requests", "places"
STAGES = (SESSIONS, BATCHES, SCHEDULES, REQUESTS, PLACES)
"""The stages, in this order."""

PAGE = 16
"""Sessions, or batches, that one query brings."""

PART_BYTES = 500_000
"""Bytes of JSON from which on items that were appended together are exported in several pieces."""

ITEMS = 8
"""Items of a batch that are read together."""


class PieceKind(IntEnum):
    """What a run is exported in, in this order."""

    RUN = 1
    CALL = 2
    TEXT = 3
    HISTORY = 4
    ITEMS = 5


TEXTS = ("instructions", "tools", "outputs")
"""What a caller brought besides the input, and what an earlier run's tools gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRun:
    """A run with all that its row has, but for what lies in rows of its own."""

    full: FullRun
    deliveries: Sequence[Delivery]

    key: KeyRecord | None
    """What is kept of the ``Idempotency-Key`` that it was submitted with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedCall:
    """One tool call of a run, whole."""

    run: Run
    whole: WholeCall


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedText:
    """Something long that belongs to a run: of ``TEXTS``, or ``history``, what was said before a branch began."""

    run: Run
    name: str
    text: str
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedItems:
    """What was appended to a run's conversation at one time, or a part of it; the first is the input."""

    run: Run
    index: int
    items: Sequence[Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedItem:
    """One item of a batch, and what it asked for."""

    batch: Batch
    full: FullItem

    asked: Any
    """The request as JSON; None where that was no request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedRow:
    """A row that has no text: one try of a request, or a place in the limit of active runs."""

    stage: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What nobody may read any more, or nobody can: named, so that it is known to be there."""

    id: str
    within: str
    """The session, or the batch; empty for a schedule."""

    deleted_at: datetime | None = None
    """When it was deleted; None: it cannot be read."""

    reason: str = ""
    """Why it cannot be read."""


Owned = Session | OwnedRun | OwnedCall | OwnedText | OwnedItems | Batch | OwnedItem | RunSchedule | OwnedRow | Withheld


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One record, and where to go on after it."""

    found: Owned | None
    """None: a page that had nothing."""

    after: OwnerPlace


async def all_of_owner(ports: Ports, owner: str, place: OwnerPlace) -> AsyncIterator[Step]:
    """All that is stored of an owner, from that place on.

    Raises ``ValueError`` for a place that none of its steps gave out; ``StoreUnavailable``.
    """
    begun = place.stage or SESSIONS
    for stage in STAGES[STAGES.index(begun) :]:
        first = replace(place, stage=stage) if stage == begun else OwnerPlace(stage=stage)
        steps = {SESSIONS: _sessions, BATCHES: _batches, SCHEDULES: _schedules}.get(stage, _rows)
        async for step in steps(ports, owner, first):
            yield step


async def _sessions(ports: Ports, owner: str, place: OwnerPlace) -> AsyncIterator[Step]:
    while True:
        page, following = await ports.owners.sessions(owner, place.page, PAGE)
        for each in page:
            # In the order of their ids: those before the one that was begun are done.
            if each.session_id < place.subject:
                continue
            begun = place if each.session_id == place.subject else OwnerPlace(stage=SESSIONS, page=place.page)
            async for step in _session(ports, each.session_id, each.session, begun):
                yield step
        if following is None:
            return
        place = OwnerPlace(stage=SESSIONS, page=following)
        yield Step(found=None, after=place)


async def _session(ports: Ports, session_id: str, session: Session | None, begun: OwnerPlace) -> AsyncIterator[Step]:
    at = replace(begun, subject=session_id)
    if session is None or session.deleted_at is not None:
        deleted_at = None if session is None else session.deleted_at
        withheld = Withheld(id=session_id, within=session_id, deleted_at=deleted_at, reason="row_unreadable")
        if not at.number:
            yield Step(found=withheld, after=replace(at, number=10**8))
        return
    if not at.number:
        at = replace(at, number=1)
        yield Step(found=session, after=at)
    for number in range(at.number, session.next_number):
        at = at if number == at.number else replace(at, number=number, piece=(0, 0, 0))
        done = replace(at, number=number + 1, piece=(0, 0, 0))
        try:
            async for kind, found in _run(ports, run_id(session_id, number), at.piece):
                yield Step(found=found, after=replace(at, piece=kind))
        except (RowUnreadable, KeyUnavailable, LookupError, RunNotFound) as error:
            name = run_id(session_id, number)
            withheld = Withheld(id=name, within=session_id, reason=_reason(error))
            # Deleted while it was read: what was given out of it is not taken back.
            yield Step(found=None if await _was_deleted(ports, name, error) else withheld, after=done)
        else:
            yield Step(found=None, after=done)


async def _run(
    ports: Ports, name: str, after: tuple[int, int, int]
) -> AsyncIterator[tuple[tuple[int, int, int], Owned]]:
    stored = await ports.runs.load(name)
    if stored is None or stored.value.is_deleted:
        return
    run = stored.value
    # Not by the counter: a run that takes answers about an earlier one's calls has these, and has asked for none.
    calls = [stored.value for stored in await ports.runs.calls(run)]
    if after < (PieceKind.RUN, 0, 0):
        key = await ports.index.key(run.request.fingerprint)  # without a key it is a random value, and no key's
        full = await in_full(ports, run, calls)
        yield (PieceKind.RUN, 0, 0), OwnedRun(full=full, deliveries=await deliveries_of(ports, run), key=key)
    for call in calls:
        if after < (at := (PieceKind.CALL, call.turn, call.index)):
            yield at, await _call(ports, run, call)
    texts: list[tuple[str, Text]] = [(text, getattr(run.request, text)) for text in TEXTS]
    for index, (text, value) in enumerate(texts):
        if value and after < (at := (PieceKind.TEXT, index, 0)):
            yield at, OwnedText(run=run, name=text, text=await ports.runs.load_text(run, value))
    for index, long in enumerate(run.request.history):
        if after < (at := (PieceKind.HISTORY, index, 0)):
            text = await ports.runs.load_text(run, long)
            yield at, OwnedText(run=run, name="history", index=index, text=text)
    for index in range(run.chain.items):
        if after[:2] > (PieceKind.ITEMS, index):
            continue
        for part, items in enumerate(_in_parts(await ports.runs.items_at(run, index))):
            if after < (at := (PieceKind.ITEMS, index, part)):
                yield at, OwnedItems(run=run, index=index, items=items)


def _in_parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items some at a time: what the tools of one turn gave may be ninety megabytes."""
    part: list[Item] = []
    size = 0
    for item in items:
        part.append(item)
        size += len(json.dumps(item))
        if size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


async def _call(ports: Ports, run: Run, call: ToolCall) -> OwnedCall:
    arguments = await ports.runs.load_text(run, call.arguments)
    result = await ports.runs.load_text(run, call.result)
    return OwnedCall(run=run, whole=WholeCall(call=call, arguments=arguments, result=result))


async def _batches(ports: Ports, owner: str, place: OwnerPlace) -> AsyncIterator[Step]:
    while True:
        page, following = await ports.owners.batches(owner, place.page, PAGE)
        # By their place in the page: the list sorts by time, which the id does not tell.
        first = page.index(place.subject) if place.subject in page else 0
        for batch_id in page[first:]:
            begun = place if batch_id == place.subject else OwnerPlace(stage=BATCHES, page=place.page)
            async for step in _batch(ports, owner, replace(begun, subject=batch_id)):
                yield step
        if following is None:
            return
        place = OwnerPlace(stage=BATCHES, page=following)
        yield Step(found=None, after=place)


async def _batch(ports: Ports, owner: str, at: OwnerPlace) -> AsyncIterator[Step]:
    """From item ``number`` - 1 on; 0: from the batch itself."""
    done = replace(at, number=10**8)
    try:
        stored = await ports.batches.load(at.subject)
        # Absent: a submit that is under way, or was cut off.
        if stored is None or stored.value.request.owner != owner or at.number >= done.number:
            return
        batch = stored.value
        if isinstance(batch.phase, Deleted):
            yield Step(found=Withheld(id=batch.id, within=batch.id, deleted_at=batch.phase.deleted_at), after=done)
            return
        if not at.number:
            yield Step(found=batch, after=replace(at, number=1))
        index: int | None = max(at.number - 1, 0)
        while index is not None:
            page = await items_of_batch(ports, batch, index, ITEMS, frozenset())
            for full in page.items:
                asked = await _asked(ports, batch, full.item.index)
                following = replace(at, number=full.item.index + 2)
                yield Step(found=OwnedItem(batch=batch, full=full, asked=asked), after=following)
            index = page.following
    except (RowUnreadable, KeyUnavailable, LookupError) as error:
        yield Step(found=Withheld(id=at.subject, within=at.subject, reason=_reason(error)), after=done)


async def _asked(ports: Ports, batch: Batch, index: int) -> Any:
    item = await ports.batches.item(batch.id, index)
    if item is None:
        return None
    text = await ports.batches.load_text(batch.id, index, item.asked)
    return json.loads(text) if text else None


async def _schedules(ports: Ports, owner: str, place: OwnerPlace) -> AsyncIterator[Step]:
    while True:
        page, following = await ports.owners.schedules(owner, place.page, PAGE)
        for schedule_id in page:
            if schedule_id <= place.subject:
                continue
            after = replace(place, subject=schedule_id)
            try:
                stored = await ports.schedules.load(owner, schedule_id)
            except (RowUnreadable, KeyUnavailable) as error:
                yield Step(found=Withheld(id=schedule_id, within="", reason=_reason(error)), after=after)
            else:
                yield Step(found=None if stored is None else stored.value, after=after)
        if following is None:
            return
        place = OwnerPlace(stage=SCHEDULES, page=following)
        yield Step(found=None, after=place)


async def _rows(ports: Ports, owner: str, place: OwnerPlace) -> AsyncIterator[Step]:
    read = ports.owners.tries if place.stage == REQUESTS else ports.owners.places
    while True:
        rows: Sequence[Row]
        rows, following = await read(owner, place.page, PAGE)
        after = OwnerPlace(stage=place.stage, page=following)
        for row in rows:
            if row.key > place.subject:
                yield Step(found=OwnedRow(stage=place.stage, values=row.values), after=replace(place, subject=row.key))
        if following is None:
            return
        place = after
        yield Step(found=None, after=place)


async def _was_deleted(ports: Ports, name: str, error: Exception) -> bool:
    if isinstance(error, RunNotFound):
        return True
    return isinstance(error, LookupError) and await is_gone(ports, name)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyUnavailable):
        return "encryption_key_unavailable"
    return "parts_missing" if isinstance(error, LookupError) else "row_unreadable"
